//! Dave: our membership in the call's MLS group, on an arbiter where no packet waits for it.

use actix::{Actor, ActorContext, Addr, ArbiterHandle, Context, Handler, Message, WeakRecipient};

use super::{
    driven::{Alarm, Driven, Exit, now},
    meters::meters,
};
use crate::{
    call::Cause,
    gateway::payload::{Command, DaveEvent},
    id::UserId,
    transport::dave::{Action, E2eeState, Fingerprints, Group, KeyChange, SenderKey},
};

impl Message for KeyChange {
    type Result = ();
}

/// **Call → Dave.** What the voice gateway, or the transport, says.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum DaveInput {
    /// The Session Description has named this protocol version.
    Described(u16),
    /// These users are in the call.
    ClientsConnect(Vec<UserId>),
    /// This user has left.
    ClientDisconnect(UserId),
    /// A DAVE message came.
    Event(DaveEvent),
    /// The voice session goes on after a loss of the websocket.
    Resumed,
    /// Too many frames in a row did not open.
    FailedFrames,
    /// The voice session is over.
    Stop,
}

/// **CallHandle → Call → Dave.** What a verification code with this member is worked out from.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Fingerprints>")]
pub(super) struct GetFingerprints(pub(super) UserId);

/// **Dave → Call.** What the group with this number orders and reports.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FromDave {
    pub(super) generation: u64,
    pub(super) report: Report,
}

#[derive(Debug)]
pub(super) enum Report {
    Send(Command),
    Install(KeyChange),
    /// Frames can leave, or there is nobody to hear them.
    Settled,
    State(E2eeState),
    UnannouncedMember(UserId),
    Exited(Cause),
}

/// The actor over [`Group`].
pub(super) struct Dave {
    generation: u64,
    group: Group,
    owner: WeakRecipient<FromDave>,
    alarm: Alarm,
    exit: Exit,
}

impl Dave {
    pub(super) fn new(generation: u64, group: Group, owner: WeakRecipient<FromDave>) -> Self {
        Self { generation, group, owner, alarm: Alarm::default(), exit: Exit::Unforeseen }
    }

    /// Starts on this arbiter, or else on the caller's.
    pub(super) fn start_on(
        arbiter: Option<&ArbiterHandle>,
        dave: impl FnOnce() -> Self + Send + 'static,
    ) -> Addr<Self> {
        let (sender, receiver) = actix::dev::channel::channel(MAX_BEHIND);
        let run = move || {
            actix_rt::spawn(Context::with_receiver(receiver).into_future(dave()));
        };
        match arbiter {
            Some(arbiter) => {
                // An arbiter that is gone runs nothing: whoever sends to the actor is told so.
                arbiter.spawn_fn(run);
            }
            None => run(),
        }
        Addr::new(sender)
    }

    fn report(&self, report: Report) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(FromDave { generation: self.generation, report });
        }
    }
}

impl Driven for Dave {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.group.poll(now()) {
            match action {
                Action::Send(command) => self.report(Report::Send(command)),
                Action::Install(change) => {
                    if matches!(change, KeyChange::Sender(SenderKey::Epoch { .. })) {
                        meters().e2ee_epoch();
                    }
                    self.report(Report::Install(change));
                }
                Action::State(state) => self.report(Report::State(state)),
                Action::UnannouncedMember(user) => self.report(Report::UnannouncedMember(user)),
                Action::Notice(notice) => tracing::debug!(%notice, "DAVE"),
                Action::Fail(error) => {
                    self.exit = Exit::Failed(Cause::E2ee(error));
                    return ctx.stop();
                }
            }
        }
        if self.group.is_settled() {
            self.report(Report::Settled);
        }
        self.alarm.set(self.group.deadline(), ctx);
    }
}

impl Actor for Dave {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(cause) = self.exit.cause("Dave") {
            self.report(Report::Exited(cause));
        }
    }
}

impl Handler<DaveInput> for Dave {
    type Result = ();

    fn handle(&mut self, tell: DaveInput, ctx: &mut Context<Self>) {
        match tell {
            DaveInput::Described(version) => self.group.described(version),
            DaveInput::ClientsConnect(users) => self.group.clients_connect(&users),
            DaveInput::ClientDisconnect(user) => self.group.client_disconnect(user),
            DaveInput::Event(event) => {
                let began = now();
                self.group.event(event, began);
                meters().e2ee_took(now() - began);
            }
            DaveInput::Resumed => self.group.resumed(now()),
            DaveInput::FailedFrames => self.group.failed_frames(now()),
            DaveInput::Stop => {
                self.exit = Exit::Asked;
                return ctx.stop();
            }
        }
        self.drive(ctx);
    }
}

impl Handler<GetFingerprints> for Dave {
    type Result = Option<Fingerprints>;

    fn handle(&mut self, GetFingerprints(user): GetFingerprints, _: &mut Context<Self>) -> Self::Result {
        self.group.fingerprints(user)
    }
}

/// How many messages of the voice gateway the group may be behind: seconds of the worst comings and goings.
const MAX_BEHIND: usize = 1_000;

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Dave);
