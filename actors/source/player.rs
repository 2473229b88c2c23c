//! Player: pulls a [`Source`] where it harms nobody.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};

use super::{Demand, Supplier};
use crate::{
    actors::driven::now,
    audio::frame::{Frame, pack},
    source::{Decoding, Source},
    speaker::TrackEnd,
};

/// Runs a [`Source`]: one that never waits where the player itself runs, and any other on a thread of its own, so that one
/// that blocks or panics harms nobody.
pub struct Player<S> {
    source: Pulled<S>,
    /// On whose clock the source is pulled.
    clock: Clock,
    /// What was asked for while the source was away.
    outstanding: Option<Demand>,
    /// Whether it stops once the track is over.
    is_watched: bool,
}

/// Where a source is.
enum Pulled<S> {
    Here(Decoding<S>),
    /// On a thread of its own, which ends with the sender.
    Thread(mpsc::Sender<Demand>),
    /// At work in the runtime's pool of threads.
    Pool,
}

/// On whose clock a source is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Real,
    /// One that a test can pause, and that stands while a source is at work.
    Pausable,
}

impl<S: Source + Unpin> Player<S> {
    /// A player of this source; start it, and attach its address.
    pub fn new(source: S) -> Self {
        Self {
            source: Pulled::Here(Decoding::new(source)),
            clock: Clock::Real,
            outstanding: None,
            is_watched: false,
        }
    }

    /// A player on a clock that a test can pause.
    pub(in crate::actors) fn pausable(self) -> Self {
        Self { clock: Clock::Pausable, ..self }
    }

    /// A source that can start over after its end is kept until its track is over.
    fn watch(&mut self, supplier: &Supplier, ctx: &mut Context<Self>) {
        let Pulled::Here(source) = &self.source else { return };
        if !self.is_watched && source.can_seek() {
            self.is_watched = true;
            let supplier = supplier.clone();
            ctx.spawn(async move { supplier.closed().await }.into_actor(self).map(|(), _, ctx| ctx.stop()));
        }
    }

    fn pull(&mut self, demand: Demand, ctx: &mut Context<Self>) {
        self.watch(&demand.supplier, ctx);
        match std::mem::replace(&mut self.source, Pulled::Pool) {
            Pulled::Here(source) if !source.may_block() => self.pull_here(source, demand, ctx),
            Pulled::Here(source) if self.clock == Clock::Pausable => self.pull_in_pool(source, demand, ctx),
            Pulled::Here(source) => self.pull_on_thread(source, demand, ctx),
            Pulled::Thread(thread) => match thread.send(demand) {
                Ok(()) => self.source = Pulled::Thread(thread),
                // The source has ended.
                Err(_) => ctx.stop(),
            },
            Pulled::Pool => self.wait(demand),
        }
    }

    fn pull_here(&mut self, source: Decoding<S>, demand: Demand, ctx: &mut Context<Self>) {
        let began = now();
        match pull(source, &demand) {
            Some(source) if now() - began > SLOW => self.move_to_thread(source, &demand.supplier, ctx),
            Some(source) => self.source = Pulled::Here(source),
            None => ctx.stop(),
        }
    }

    fn pull_on_thread(&mut self, source: Decoding<S>, demand: Demand, ctx: &mut Context<Self>) {
        self.move_to_thread(source, &demand.supplier, ctx);
        if let Pulled::Thread(thread) = &self.source {
            // It cannot have ended: it has just begun.
            let _ = thread.send(demand);
        }
    }

    /// The thread is nobody's to wait for: a source that blocks for ever holds up no exit.
    fn move_to_thread(&mut self, mut source: Decoding<S>, supplier: &Supplier, ctx: &mut Context<Self>) {
        let (thread, demands) = mpsc::channel();
        let run = move || {
            while let Ok(demand) = demands.recv() {
                match pull(source, &demand) {
                    Some(back) => source = back,
                    None => return,
                }
            }
        };
        match std::thread::Builder::new().name("voice-source".into()).spawn(run) {
            Ok(_) => self.source = Pulled::Thread(thread),
            Err(error) => {
                supplier.fail(format!("no thread for the source: {error}"));
                ctx.stop();
            }
        }
    }

    fn pull_in_pool(&mut self, source: Decoding<S>, demand: Demand, ctx: &mut Context<Self>) {
        let pulling = actix_rt::task::spawn_blocking(move || pull(source, &demand));
        ctx.spawn(pulling.into_actor(self).map(|pulled, player, ctx| match pulled {
            Ok(Some(source)) => {
                player.source = Pulled::Here(source);
                if let Some(demand) = player.outstanding.take() {
                    player.pull(demand, ctx);
                }
            }
            Ok(None) | Err(_) => ctx.stop(),
        }));
    }

    fn wait(&mut self, demand: Demand) {
        self.outstanding = Some(match self.outstanding.take() {
            // What was asked for before it went on elsewhere is void.
            Some(before) if demand.seek.is_none() => {
                Demand { frames: before.frames + demand.frames, seek: before.seek, ..demand }
            }
            _ => demand,
        });
    }
}

/// Supplies what is asked for, and gives the source back unless it has ended for good.
fn pull<S: Source>(mut source: Decoding<S>, demand: &Demand) -> Option<Decoding<S>> {
    let supplier = &demand.supplier;
    match catch_unwind(AssertUnwindSafe(|| {
        sought(&mut source, demand).and_then(|()| supply(&mut source, demand))
    })) {
        Ok(None) => Some(source),
        Ok(Some(end)) => {
            supplier.end_within(end, source.last_frame());
            source.can_seek().then_some(source)
        }
        Err(panic) => {
            supplier.end(TrackEnd::Panicked(describe(&*panic)));
            None
        }
    }
}

/// Goes on from elsewhere if that is asked for; says whether there is something to be supplied.
fn sought<S: Source>(source: &mut Decoding<S>, demand: &Demand) -> Option<()> {
    if let Some(to) = demand.seek {
        match source.seek(to) {
            Ok(at) => demand.supplier.sought(at),
            Err(error) => {
                demand.supplier.refuse_seek(error);
                return None;
            }
        }
    }
    Some(())
}

/// Supplies what is asked for, in one batch unless it takes long; says how the source ended, if it did.
fn supply<S: Source>(source: &mut Decoding<S>, demand: &Demand) -> Option<TrackEnd> {
    let mut batch = Batch { frames: Vec::with_capacity(demand.frames), supplier: &demand.supplier };
    let mut began = now();
    for _ in 0..demand.frames {
        match source.next_frame(demand.format) {
            Ok(Some(frame)) => batch.frames.push(frame),
            Ok(None) => return Some(TrackEnd::Finished),
            Err(error) => return Some(TrackEnd::Failed(error.to_string())),
        }
        if source.may_block() || now() - began > LONGEST_BATCH {
            if batch.supplier.is_over() {
                return Some(TrackEnd::Stopped);
            }
            batch.send();
            began = now();
        }
    }
    None
}

/// Frames that are still to be supplied; they are, also if the next makes the source panic.
struct Batch<'a> {
    frames: Vec<Frame>,
    supplier: &'a Supplier,
}

impl Batch<'_> {
    fn send(&mut self) {
        let mut frames = std::mem::take(&mut self.frames);
        pack(&mut frames);
        self.supplier.supply_all(frames);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.send();
    }
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
        self.pull(demand, ctx);
    }
}

/// Frames of a source that takes longer than this are supplied before the batch is complete.
const LONGEST_BATCH: Duration = Duration::from_millis(10);
/// A source that takes longer over a batch shares its thread with no other any more. The others have half a second in hand,
/// and a machine that is busy for a moment is no reason.
const SLOW: Duration = Duration::from_millis(200);
