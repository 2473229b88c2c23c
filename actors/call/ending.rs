//! The end of a call, in two steps: it tells its end and takes note of what it is asked, until the manager has read of that.
//!
//! ```text
//!             end        the children's figures       Release
//!   Running ─────▶ AwaitFinalStats ─────▶ AwaitRelease ─────▶ Released
//!              tracks stop       CallEnded             Released, with what was asked too late
//! ```

use std::time::Duration;

use actix::{ActorContext, AsyncContext, Context};
use tokio::sync::oneshot;

use super::{Backlog, Call, CallContext, CallEnded, Released};
use crate::{
    actors::{event::CallEventKind, listener, speaker, stats::CallStats},
    bridge::{CallRequest, Request},
    call::EndReason,
    speaker::TrackEnd,
};

/// How far the end of a call is, and who waits for it.
#[derive(Default)]
pub(super) struct Ending {
    pub(super) state: EndState,
    pub(super) waiters: Vec<oneshot::Sender<CallStats>>,
    /// What was asked when it was too late: it is for the next call.
    pub(super) backlog: Backlog,
}

#[derive(Default)]
pub(super) enum EndState {
    #[default]
    Running,
    /// The last figures of the children are awaited.
    AwaitFinalStats(EndReason),
    /// The end is told; the manager may still send what it asked before it read of that.
    AwaitRelease,
    Released,
}

impl Call {
    pub(super) fn end(&mut self, reason: EndReason, ctx: &mut Context<Self>) {
        self.joins.answer(&Err(reason.clone().into()));
        self.ending.state = EndState::AwaitFinalStats(reason);
        self.speaker.send(speaker::Stop);
        self.listening.listener.send(listener::Stop);
        ctx.run_later(FINAL_STATS_TIMEOUT, |call, ctx| call.finish(ctx));
    }

    /// Finishes as soon as the last counts of the children are in.
    pub(super) fn finish_early(&mut self, ctx: &mut Context<Self>) {
        if self.speaker.is_none() && self.transports_alive == 0 && self.listening.listener.is_none() {
            self.finish(ctx);
        }
    }

    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        let EndState::AwaitFinalStats(reason) = &self.ending.state else { return };
        let reason = reason.clone();
        self.forget_and_answer();
        // Those of a speaker that has not told its end in time.
        self.end_tracks(&TrackEnd::Stopped);
        self.publish_end(reason);
        if self.owner.released.upgrade().is_some_and(|owner| owner.connected()) {
            ctx.run_later(RELEASE_TIMEOUT, |call, ctx| call.release(ctx));
        } else {
            ctx.stop();
        }
    }

    /// Whether the end is told.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.ending.state, EndState::AwaitRelease | EndState::Released)
    }

    pub(super) fn answer_disconnects(&mut self) {
        for waiter in self.ending.waiters.drain(..) {
            // Whoever asked may no longer wait.
            let _ = waiter.send(self.stats.clone());
        }
    }

    /// Answers once the bridge has forgotten the call, which it does after it has told the main gateway that the bot leaves: so that
    /// a bot that logs out upon the answer does not overtake that.
    fn forget_and_answer(&mut self) {
        let CallContext { guild, generation, bridge, .. } = &self.context;
        let forgotten =
            bridge.send(CallRequest { guild: *guild, generation: *generation, request: Request::Forget });
        let (waiters, stats) = (std::mem::take(&mut self.ending.waiters), self.stats.clone());
        actix_rt::spawn(async move {
            // A bridge that is gone, or stuck, tells nobody anything any more.
            let _ = actix::clock::timeout(FORGET_TIMEOUT, forgotten).await;
            for waiter in waiters {
                // Whoever asked may no longer wait.
                let _ = waiter.send(stats.clone());
            }
        });
    }

    fn publish_end(&mut self, reason: EndReason) {
        self.ending.state = EndState::AwaitRelease;
        if let Some(owner) = self.owner.end.upgrade() {
            let event = self.event(CallEventKind::Ended(reason));
            owner.do_send(CallEnded { generation: self.context.generation, event });
        }
    }

    pub(super) fn release(&mut self, ctx: &mut Context<Self>) {
        self.hand_back();
        ctx.stop();
    }

    /// The last report: what was asked too late is for the next call.
    fn hand_back(&mut self) {
        self.ending.state = EndState::Released;
        let CallContext { guild, generation, .. } = self.context;
        if let Some(owner) = self.owner.released.upgrade() {
            let backlog = std::mem::take(&mut self.ending.backlog);
            owner.do_send(Released { guild, generation, backlog });
        }
    }

    /// What is left of the end once the actor has stopped.
    pub(super) fn complete_end(&mut self) {
        if !self.is_finished() {
            self.finish_after_panic();
        }
        if matches!(self.ending.state, EndState::AwaitRelease) {
            self.hand_back();
        }
    }

    /// After a panic, or when the whole system is stopped: the children would live on without a parent, and the bot stay
    /// in voice.
    fn finish_after_panic(&mut self) {
        let reason = if std::thread::panicking() { EndReason::Panicked } else { EndReason::Stopped };
        self.close();
        self.speaker.send(speaker::Stop);
        self.listening.listener.send(listener::Stop);
        self.joins.answer(&Err(reason.clone().into()));
        self.ask_bridge(Request::Leave);
        self.ask_bridge(Request::Forget);
        self.end_tracks(&TrackEnd::SpeakerLost);
        self.publish_end(reason);
    }
}

/// How long the children may take to tell what they have done.
const FINAL_STATS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the bridge may take to read that the call is over.
const FORGET_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the manager may take to read of the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
