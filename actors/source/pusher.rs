//! Pusher: Opus packets from anywhere, as a source.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Demand, Supplier};
use crate::audio::{
    frame::{FRAME, Frame},
    opus::{self, OpusError},
};

/// Takes Opus packets of 20 ms from an application that has its own, and paces them; dropped, it ends the track.
#[derive(Clone, Debug)]
pub struct Pusher(mpsc::Sender<Bytes>);

/// Why a packet was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The track is over.
    #[error("the track is over")]
    Closed,
    /// As many packets as fit are waiting; wait with [`Pusher::push`], or drop it.
    #[error("{PUSHED_AHEAD} packets are waiting to be played")]
    Full,
    /// Not an Opus packet of 20 ms.
    #[error("not an Opus packet of 20 ms: {0}")]
    NotOpus(String),
}

/// The source at the other end of a [`Pusher`], best spoken as [live](crate::actors::Speak::live).
pub struct PushSource {
    /// None while they are being passed on.
    packets: Option<mpsc::Receiver<Bytes>>,
    outstanding: usize,
    supplier: Option<Supplier>,
}

impl Pusher {
    /// A pusher, and the source to be started and spoken.
    #[must_use]
    pub fn new() -> (Self, PushSource) {
        let (sender, packets) = mpsc::channel(PUSHED_AHEAD);
        (Self(sender), PushSource { packets: Some(packets), outstanding: 0, supplier: None })
    }

    /// Hands over a packet, as soon as there is room for it.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] and [`PushError::NotOpus`].
    pub async fn push(&self, packet: Bytes) -> Result<(), PushError> {
        check(&packet)?;
        self.0.send(packet).await.map_err(|_| PushError::Closed)
    }

    /// Hands over a packet if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] too.
    pub fn try_push(&self, packet: Bytes) -> Result<(), PushError> {
        check(&packet)?;
        self.0.try_send(packet).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PushError::Full,
            mpsc::error::TrySendError::Closed(_) => PushError::Closed,
        })
    }
}

fn check(packet: &[u8]) -> Result<(), PushError> {
    match opus::duration(packet) {
        Ok(FRAME) => Ok(()),
        Ok(other) => Err(PushError::NotOpus(format!("it lasts {other:?}"))),
        Err(OpusError::Malformed(cause)) => Err(PushError::NotOpus(cause.to_owned())),
        Err(error) => Err(PushError::NotOpus(error.to_string())),
    }
}

impl PushSource {
    fn pull(&mut self, ctx: &mut Context<Self>) {
        let Some(supplier) = self.supplier.clone().filter(|_| self.outstanding > 0) else { return };
        let Some(packets) = self.packets.take() else { return };
        let frames = std::mem::take(&mut self.outstanding);
        let passing = pass(packets, frames, supplier).into_actor(self);
        ctx.spawn(passing.map(|packets, pushed, ctx| match packets {
            Some(packets) => {
                pushed.packets = Some(packets);
                pushed.pull(ctx);
            }
            None => ctx.stop(),
        }));
    }
}

/// Passes packets on as they come, and gives the queue back unless it has ended.
async fn pass(
    mut packets: mpsc::Receiver<Bytes>,
    frames: usize,
    supplier: Supplier,
) -> Option<mpsc::Receiver<Bytes>> {
    for _ in 0..frames {
        let packet = tokio::select! {
            packet = packets.recv() => packet,
            () = supplier.closed() => return None,
        };
        match packet {
            Some(packet) => supplier.supply(Frame::Opus(packet)),
            None => {
                supplier.finish();
                return None;
            }
        }
    }
    Some(packets)
}

impl Actor for PushSource {
    type Context = Context<Self>;
}

impl Handler<Demand> for PushSource {
    type Result = ();

    fn handle(&mut self, demand: Demand, ctx: &mut Context<Self>) {
        self.outstanding += demand.frames;
        self.supplier = Some(demand.supplier);
        self.pull(ctx);
    }
}

/// Packets that may wait in a pusher, besides those that the speaker holds.
const PUSHED_AHEAD: usize = 5;
