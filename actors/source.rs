//! Source: where audio comes from. Any actor that handles [`Demand`] is one.
//!
//! A source is asked for frames by [`Demand`] and answers through the [`Supplier`] in it, at once or later: five
//! frames when a track starts, one more for each that was taken. [`Player`] runs an ordinary
//! [`Source`]; [`Pusher`] takes Opus packets from anywhere.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, WrapFuture,
};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinError,
};

use crate::{
    audio::{
        frame::{FRAME, Frame},
        opus::{self, OpusError},
    },
    source::{Decoding, Source},
    speaker::{FrameFormat, TrackEnd, TrackId},
};

/// **Speaker → Source.** Supply so many more frames.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Demand {
    /// How many frames may be supplied on top of those asked for before.
    pub frames: usize,
    /// In which form they are of use; a source that has only the other may supply it.
    pub format: FrameFormat,
    /// Where they go.
    pub supplier: Supplier,
}

/// **Source → Speaker.** A frame, or the end.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Supply {
    pub(super) track: TrackId,
    pub(super) what: Supplied,
}

#[derive(Clone)]
pub(super) enum Supplied {
    Frame(Frame),
    End(TrackEnd),
}

/// Takes the frames of one track.
#[derive(Clone)]
pub struct Supplier {
    track: TrackId,
    to: Recipient<Supply>,
    credit: Arc<Credit>,
    listening: watch::Receiver<()>,
}

/// How much more a source may supply. It is kept on the source's side of the speaker's mailbox, which has no bound itself.
#[derive(Debug, Default)]
pub(super) struct Credit {
    frames: AtomicUsize,
    refused: AtomicU64,
    ended: AtomicBool,
}

impl Credit {
    pub(super) fn grant(&self, frames: usize) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
    }

    /// Frames that were supplied without credit, and dropped.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Spends the credit for one frame, or counts it as refused.
    fn spend(&self) -> bool {
        let spent =
            self.frames.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |frames| frames.checked_sub(1));
        if spent.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        spent.is_ok()
    }
}

impl Demand {
    pub(super) fn new(frames: usize, format: FrameFormat, supplier: Supplier) -> Self {
        Self { frames, format, supplier }
    }
}

impl Supplier {
    /// `listening` closes when the track is over.
    pub(super) fn new(
        track: TrackId,
        to: Recipient<Supply>,
        credit: Arc<Credit>,
        listening: watch::Receiver<()>,
    ) -> Self {
        Self { track, to, credit, listening }
    }

    /// The track that the frames are for.
    #[must_use]
    pub fn track(&self) -> TrackId {
        self.track
    }

    /// Whether the track is over, so that nothing supplied will be played.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.listening.has_changed().is_err()
    }

    /// Waits until the track is over.
    pub async fn closed(&self) {
        // Nothing is ever sent: the only change is the end.
        let _ = self.listening.clone().changed().await;
    }

    /// Supplies 20 ms; more than was asked for is dropped and counted.
    pub fn supply(&self, frame: Frame) {
        if self.credit.spend() {
            self.send(Supplied::Frame(frame));
        }
    }

    /// Says that there are no more frames.
    pub fn finish(&self) {
        self.end(TrackEnd::Finished);
    }

    /// Says that something went wrong; the track ends after what was supplied.
    pub fn fail(&self, why: impl ToString) {
        self.end(TrackEnd::Failed(why.to_string()));
    }

    /// The first end counts.
    fn end(&self, end: TrackEnd) {
        if !self.credit.ended.swap(true, Ordering::Relaxed) {
            self.send(Supplied::End(end));
        }
    }

    /// Once the speaker is gone there is nobody to miss the frame.
    fn send(&self, what: Supplied) {
        self.to.do_send(Supply { track: self.track, what });
    }
}

/// Runs a [`Source`] on a thread of its own while it works, so that one that blocks or panics harms nobody.
pub struct Player<S> {
    source: Option<Decoding<S>>,
    outstanding: usize,
    format: FrameFormat,
    supplier: Option<Supplier>,
}

impl<S: Source + Unpin> Player<S> {
    /// A player of this source; start it, and attach its address.
    pub fn new(source: S) -> Self {
        Self { source: Some(Decoding::new(source)), outstanding: 0, format: FrameFormat::Any, supplier: None }
    }

    fn pull(&mut self, ctx: &mut Context<Self>) {
        let Some(supplier) = self.supplier.clone().filter(|_| self.outstanding > 0) else { return };
        let Some(source) = self.source.take() else { return };
        let frames = std::mem::take(&mut self.outstanding);
        let format = self.format;
        let pulling = actix_rt::task::spawn_blocking(move || pull(source, frames, format, &supplier));
        ctx.spawn(pulling.into_actor(self).map(|pulled, player, ctx| player.pulled(pulled, ctx)));
    }

    fn pulled(&mut self, pulled: Result<Option<Decoding<S>>, JoinError>, ctx: &mut Context<Self>) {
        match pulled {
            Ok(Some(source)) => {
                self.source = Some(source);
                self.pull(ctx);
            }
            Ok(None) => ctx.stop(),
            Err(error) => {
                if let (Some(supplier), Ok(panic)) = (&self.supplier, error.try_into_panic()) {
                    supplier.end(TrackEnd::Panicked(describe(&*panic)));
                }
                ctx.stop();
            }
        }
    }
}

/// Supplies frames from the source, and gives it back unless it has ended.
fn pull<S: Source>(
    mut source: Decoding<S>,
    frames: usize,
    format: FrameFormat,
    supplier: &Supplier,
) -> Option<Decoding<S>> {
    for _ in 0..frames {
        match source.next_frame(format) {
            Ok(Some(frame)) => supplier.supply(frame),
            Ok(None) => {
                supplier.finish();
                return None;
            }
            Err(error) => {
                supplier.fail(error);
                return None;
            }
        }
    }
    Some(source)
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

impl<S: Source + Unpin> Actor for Player<S> {
    type Context = Context<Self>;
}

impl<S: Source + Unpin> Handler<Demand> for Player<S> {
    type Result = ();

    fn handle(&mut self, demand: Demand, ctx: &mut Context<Self>) {
        self.outstanding += demand.frames;
        self.format = demand.format;
        self.supplier = Some(demand.supplier);
        self.pull(ctx);
    }
}

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

/// The source at the other end of a [`Pusher`].
pub struct PushSource {
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

/// Packets that may wait in a pusher, besides the five that the speaker holds.
const PUSHED_AHEAD: usize = 5;
