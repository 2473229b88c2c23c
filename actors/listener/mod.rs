//! Listener: makes of the packets of one call what its listeners hear. It runs where no packet is sent or received.

mod message;
mod outlet;

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, MessageResult, WeakRecipient};

pub(super) use self::message::{
    AddListener, FromListener, GetHeardStats, HeardStats, Report, SpeakerLeft, Stop,
};
pub use self::message::{Ears, Listen, StopListening};
use self::outlet::{Brought, Outlet};
use super::{
    driven::{Alarm, Driven, Exit, now},
    packet_inbox::{PacketInbox, PacketsArrived},
};
use crate::{
    hearing::{Action, Hearing, ListenId, VoicePacket},
    id::GuildId,
};

/// The actor over [`Hearing`].
pub(super) struct Listener {
    generation: u64,
    machine: Hearing,
    inbox: PacketInbox,
    outlets: BTreeMap<ListenId, Outlet>,
    owner: WeakRecipient<FromListener>,
    /// What was taken from the inbox, and keeps its memory.
    taken: Vec<VoicePacket>,
    overflowed: u64,
    undelivered: u64,
    alarm: Alarm,
    exit: Exit,
}

impl Listener {
    pub(super) fn new(
        generation: u64,
        guild: GuildId,
        inbox: PacketInbox,
        owner: WeakRecipient<FromListener>,
    ) -> Self {
        Self {
            generation,
            machine: Hearing::new(guild),
            inbox,
            outlets: BTreeMap::new(),
            owner,
            taken: Vec::new(),
            overflowed: 0,
            undelivered: 0,
            alarm: Alarm::default(),
            exit: Exit::Unforeseen,
        }
    }

    fn report(&self, report: Report) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(FromListener { generation: self.generation, report });
        }
    }

    fn take_packets(&mut self) {
        self.inbox.take(&mut self.taken);
        for packet in self.taken.drain(..) {
            self.machine.packet(packet, now());
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.machine.poll(now()) {
            let (id, brought) = match action {
                Action::Frame(id, heard) => (id, self.outlets.get(&id).map(|outlet| outlet.frame(heard))),
                Action::Tick(id, tick) => (id, self.outlets.get(&id).map(|outlet| outlet.tick(tick))),
                Action::Talk(talk) => {
                    self.report(Report::Talk(talk));
                    continue;
                }
            };
            match brought {
                Some(Brought::Taken) | None => {}
                Some(Brought::Dropped) => self.undelivered += 1,
                Some(Brought::Closed) => {
                    self.remove(id);
                    self.report(Report::Gone(id));
                }
            }
        }
    }

    fn remove(&mut self, id: ListenId) {
        self.machine.stop(id);
        self.outlets.remove(&id);
    }

    fn stats(&mut self) -> HeardStats {
        self.overflowed += self.inbox.take_overflowed();
        let (overflowed, undelivered) = (self.overflowed, self.undelivered);
        HeardStats { speakers: self.machine.stats(), overflowed, undelivered }
    }
}

impl Driven for Listener {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        let deadline = loop {
            self.take_packets();
            self.carry_out();
            match self.machine.deadline() {
                Some(deadline) => break Some(deadline.min(next_look(now()))),
                None if self.inbox.sleep() => break None,
                None => {}
            }
        };
        self.alarm.set(deadline, ctx);
    }
}

/// When to look for packets next: all calls of an arbiter look at the same moments, so that one wake-up serves them all.
fn next_look(now: Instant) -> Instant {
    static EPOCH: LazyLock<Instant> = LazyLock::new(super::driven::now);
    let into = now.saturating_duration_since(*EPOCH).as_nanos() % LOOK.as_nanos();
    now + LOOK - Duration::from_nanos(into as u64)
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.inbox.attach(ctx.address().recipient());
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        let cause = self.exit.cause("Listener");
        let stats = self.stats();
        self.report(Report::Exited { cause, stats });
    }
}

impl Handler<PacketsArrived> for Listener {
    type Result = ();

    fn handle(&mut self, _: PacketsArrived, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }
}

impl Handler<AddListener> for Listener {
    type Result = ();

    fn handle(&mut self, AddListener { id, listen, .. }: AddListener, _: &mut Context<Self>) {
        let Listen { preset, format, selection, to, .. } = listen;
        self.machine.listen(id, preset, format, selection, to.shape());
        self.outlets.insert(id, Outlet::new(to));
    }
}

impl Handler<StopListening> for Listener {
    type Result = ();

    fn handle(&mut self, StopListening(id): StopListening, _: &mut Context<Self>) {
        self.remove(id);
    }
}

impl Handler<SpeakerLeft> for Listener {
    type Result = ();

    fn handle(&mut self, SpeakerLeft(user): SpeakerLeft, ctx: &mut Context<Self>) {
        self.take_packets();
        self.machine.left(user);
        self.drive(ctx);
    }
}

impl Handler<GetHeardStats> for Listener {
    type Result = MessageResult<GetHeardStats>;

    fn handle(&mut self, _: GetHeardStats, ctx: &mut Context<Self>) -> Self::Result {
        self.drive(ctx);
        MessageResult(self.stats())
    }
}

impl Handler<Stop> for Listener {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.take_packets();
        self.machine.finish();
        self.carry_out();
        self.exit = Exit::Asked;
        ctx.stop();
    }
}

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Listener);

/// How often packets are looked for while they come.
const LOOK: Duration = Duration::from_millis(10);
