//! Heartbeater: beats apart from everything else, so that no flood of messages can delay a heartbeat.

use actix::{Actor, Context, Handler, Message, WeakRecipient};

use super::{
    driven::{Alarm, Driven, Exit, now},
    meters::meters,
};
use crate::gateway::heartbeat::{Action, Heartbeat};

/// **Gateway → Heartbeater.** The other side acknowledged the beat with this nonce.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct HeartbeatAck(pub(super) u64);

/// **Gateway → Heartbeater.** The other side asks for a beat at once.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct BeatNow;

/// **Gateway → Heartbeater.** The connection is gone.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

/// **Heartbeater → Gateway.** What the heartbeats come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub(super) enum Beat {
    /// Send a heartbeat with this nonce.
    Due(u64),
    /// A beat was answered after this time.
    RoundTrip(std::time::Duration),
    /// The other side no longer answers.
    Zombie,
    /// The heartbeater is no more.
    Exited,
}

/// The actor over [`Heartbeat`].
pub(super) struct Heartbeater {
    heartbeat: Heartbeat,
    owner: WeakRecipient<Beat>,
    alarm: Alarm,
    exit: Exit,
}

impl Heartbeater {
    pub(super) fn new(heartbeat: Heartbeat, owner: WeakRecipient<Beat>) -> Self {
        Self { heartbeat, owner, alarm: Alarm::default(), exit: Exit::Unforeseen }
    }

    fn report(&self, beat: Beat) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(beat);
        }
    }
}

impl Driven for Heartbeater {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.heartbeat.poll(now()) {
            self.report(match action {
                Action::Beat { nonce } => Beat::Due(nonce),
                Action::Zombie => Beat::Zombie,
            });
        }
        self.alarm.set(self.heartbeat.deadline(), ctx);
    }
}

impl Actor for Heartbeater {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if self.exit.cause("Heartbeater").is_some() {
            self.report(Beat::Exited);
        }
    }
}

impl Handler<HeartbeatAck> for Heartbeater {
    type Result = ();

    fn handle(&mut self, HeartbeatAck(nonce): HeartbeatAck, ctx: &mut Context<Self>) {
        if let Some(round_trip) = self.heartbeat.acknowledge(nonce, now()) {
            meters().gateway_round_trip(round_trip);
            self.report(Beat::RoundTrip(round_trip));
        }
        self.drive(ctx);
    }
}

impl Handler<BeatNow> for Heartbeater {
    type Result = ();

    fn handle(&mut self, _: BeatNow, ctx: &mut Context<Self>) {
        self.heartbeat.requested(now());
        self.drive(ctx);
    }
}

impl Handler<Stop> for Heartbeater {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.exit = Exit::Asked;
        actix::ActorContext::stop(ctx);
    }
}

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Heartbeater);
