//! What a call does about hearing: who listens, and the actor that makes of packets what they hear.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actix::{Actor, ArbiterHandle, AsyncContext, Context, Handler};

use super::{Call, child::Child};
use crate::{
    actors::{
        dave::DaveInput,
        driven::{Driven, now},
        event::CallEventKind,
        listener::{self, AddListener, FromListener, Listen, Listener, StopListening},
        packet_inbox::PacketInbox,
        transport::Hear,
    },
    call::Cause,
    hearing::ListenId,
    transport::{Deafness, DeafnessRemedy},
};

/// Who listens in one call.
#[derive(Default)]
pub(super) struct Listening {
    listens: BTreeMap<ListenId, Listen>,
    pub(super) listener: Child<Listener>,
    inbox: PacketInbox,
    /// Where it runs.
    arbiter: Option<ArbiterHandle>,
    /// When the call was joined anew because nothing could be understood.
    rejoined: Option<Instant>,
}

impl Listening {
    /// Whether anyone wants to hear.
    fn is_wanted(&self) -> bool {
        !self.listens.is_empty()
    }

    /// Where opened packets go, if anyone wants to hear.
    pub(super) fn inbox(&self) -> Option<PacketInbox> {
        self.is_wanted().then(|| self.inbox.clone())
    }
}

impl Call {
    /// Sees that somebody makes of packets what is heard, if anyone listens.
    fn start_listener(&mut self, ctx: &mut Context<Self>) {
        if self.listening.listener.addr().is_some() || !self.listening.is_wanted() {
            return;
        }
        let (guild, inbox) = (self.context.guild, self.listening.inbox.clone());
        let owner = ctx.address().downgrade().recipient();
        let arbiter = self.listening.arbiter.clone();
        self.listening.listener.replace(|generation| {
            start_on(arbiter.as_ref(), move || Listener::new(generation, guild, inbox, owner))
        });
        for (id, listen) in &self.listening.listens {
            self.listening.listener.send(AddListener { id: *id, listen: listen.clone(), arbiter: None });
        }
    }

    /// Tells the transport and Discord whether anyone listens.
    fn listening_changed(&mut self) {
        self.transport.send(Hear(self.listening.inbox()));
        let before = self.joins.flags();
        self.joins.listen(self.listening.is_wanted());
        if self.joins.flags() == before {
            return;
        }
        if let Some(channel) = self.joins.channel().or(self.recovery.channel()) {
            self.ask_bridge(self.joins.request(channel));
        }
    }

    /// Others speak, and nothing of it is understood: tells it, and does what may help.
    pub(super) fn is_deaf(&mut self, deafness: Deafness, remedy: Option<DeafnessRemedy>) {
        let since = |then: Instant| now().saturating_duration_since(then);
        let lately = self.listening.rejoined.is_some_and(|then| since(then) < REJOIN_PAUSE);
        let remedy = remedy.filter(|remedy| *remedy != DeafnessRemedy::RejoinCall || !lately);
        self.publish(CallEventKind::Deaf(deafness, remedy));
        match remedy {
            Some(DeafnessRemedy::RejoinGroup) => self.tell_dave(DaveInput::FailedFrames),
            Some(DeafnessRemedy::RejoinCall) => {
                self.listening.rejoined = Some(now());
                self.recovery.transport_lost(Cause::Deaf, now());
            }
            None => {}
        }
    }

    fn stop_listening(&mut self, id: ListenId) {
        if self.listening.listens.remove(&id).is_none() {
            return;
        }
        self.listening.listener.send(StopListening(id));
        if !self.listening.is_wanted() {
            self.listening.listener.send(listener::Stop);
            self.listening_changed();
        }
    }
}

fn start_on(
    arbiter: Option<&ArbiterHandle>,
    make: impl FnOnce() -> Listener + Send + 'static,
) -> actix::Addr<Listener> {
    match arbiter {
        Some(arbiter) => Listener::start_in_arbiter(arbiter, |_| make()),
        None => Listener::create(|_| make()),
    }
}

impl Handler<AddListener> for Call {
    type Result = ();

    fn handle(&mut self, AddListener { id, listen, arbiter }: AddListener, ctx: &mut Context<Self>) {
        if self.recovery.is_over() {
            return;
        }
        self.listening.listener.send(AddListener { id, listen: listen.clone(), arbiter: None });
        self.listening.listens.insert(id, listen);
        if self.listening.listener.is_none() {
            self.listening.arbiter = arbiter;
            self.start_listener(ctx);
        }
        self.listening_changed();
        self.drive(ctx);
    }
}

impl Handler<StopListening> for Call {
    type Result = ();

    fn handle(&mut self, StopListening(id): StopListening, ctx: &mut Context<Self>) {
        self.stop_listening(id);
        self.drive(ctx);
    }
}

impl Handler<FromListener> for Call {
    type Result = ();

    fn handle(&mut self, FromListener { generation, report }: FromListener, ctx: &mut Context<Self>) {
        use listener::Report;
        if !self.listening.listener.accepts(generation) {
            return;
        }
        match report {
            Report::Talk(talk) => self.publish(CallEventKind::Talk(talk)),
            Report::Gone(id) => {
                self.stop_listening(id);
                if let Some(owner) = self.owner.deaf.upgrade() {
                    owner.do_send(StopListening(id));
                }
            }
            Report::Exited { cause, stats } => {
                self.stats.add_heard(stats);
                self.listening.listener.take();
                if cause.is_some() {
                    self.recovery.listener_lost(now());
                }
                if !self.recovery.is_over() {
                    self.start_listener(ctx);
                }
            }
        }
        self.drive(ctx);
    }
}

/// How often the call is joined anew at most because nothing can be understood.
const REJOIN_PAUSE: Duration = Duration::from_secs(600);
