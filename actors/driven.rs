//! What all actors over a machine share: the clock, the alarm, and the reason of their end.

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, SpawnHandle};

use crate::call::Cause;

/// The one clock: real on a running system, pausable in tests.
#[must_use]
pub fn now() -> Instant {
    actix::clock::Instant::now().into_std()
}

/// An actor that carries out what its machine decides.
pub(super) trait Driven: Actor<Context = Context<Self>> {
    /// Carries out all that the machine wants done now, and sets the alarm to its deadline.
    fn drive(&mut self, ctx: &mut Self::Context);
}

/// Why an actor that a parent owns will have stopped.
#[derive(Debug)]
pub(super) enum Exit {
    /// By a panic, unless something else was noted before.
    Unforeseen,
    Asked,
    Failed(Cause),
}

impl Exit {
    /// What to report to the owner of this actor; nothing when it was asked to stop.
    pub(super) fn cause(&mut self, actor: &'static str) -> Option<Cause> {
        match std::mem::replace(self, Self::Asked) {
            Self::Asked => None,
            Self::Failed(cause) => Some(cause),
            Self::Unforeseen => Some(Cause::Panicked(actor)),
        }
    }
}

/// The one timer of an actor on a control arbiter.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<(Instant, SpawnHandle)>);

impl Alarm {
    /// Wakes the actor at `deadline`, instead of when it was to be woken before.
    pub(super) fn set<A: Driven>(&mut self, deadline: Option<Instant>, ctx: &mut Context<A>) {
        let at = deadline.map(|deadline| deadline.max(now()));
        match (&self.0, at) {
            (Some((set, _)), Some(at)) if *set == at => return,
            (Some((_, timer)), _) => {
                ctx.cancel_future(*timer);
            }
            (None, _) => {}
        }
        self.0 = at.map(|at| (at, ctx.run_later(at - now(), |actor: &mut A, ctx| actor.drive(ctx))));
    }
}
