//! What each opcode does to the [`Group`], and what executing a transition does.

use std::time::Instant;

use bytes::Bytes;

use super::action::{Action, E2eeState, KeyChange, Notice, Passthrough, PlainSpeech, SenderKey};
use super::error::DaveError;
use super::keys::BaseSecret;
use super::mls::{Mls, Refusal};
use super::transition::Switch;
use super::{Group, Phase, Sending, wire};
use crate::gateway::payload::Command;

impl Group {
    /// Op 21.
    pub(super) fn prepare_transition(&mut self, id: u16, version: u16, now: Instant) {
        if self.transitions.version(id) == Some(version) {
            return self.ignore(Notice::Repeated(21));
        }
        let switch = match (&self.phase, version) {
            (Phase::AwaitDescription, _) => return self.ignore(Notice::Unexpected(21)),
            (_, 0) => self.plain(),
            (Phase::Mls(mls), _) if version == mls.version() => match mls.keys() {
                Some(keys) => Switch { key: self.current_epoch(keys.own), state: keys.state },
                None => withheld(version),
            },
            (Phase::Plain, FIRST_VERSION) => withheld(version),
            _ => return self.ignore(Notice::UnknownVersion(version)),
        };
        if version == 0 {
            self.pass(Passthrough::Open);
        }
        self.prepared(id, switch, now);
    }

    /// Op 22.
    pub(super) fn execute_transition(&mut self, id: u16) {
        match self.transitions.execute(id) {
            Some(switch) => self.execute(switch),
            None => self.ignore(Notice::UnknownTransition(id)),
        }
    }

    /// Op 24: epoch 1 announces a new group; later epochs only name the version, and there is but one.
    pub(super) fn prepare_epoch(&mut self, version: u16, epoch: u64) {
        match (&self.phase, version) {
            (Phase::AwaitDescription, _) => self.ignore(Notice::Unexpected(24)),
            (_, FIRST_VERSION) => {
                if epoch == 1 {
                    self.start(version);
                }
            }
            _ => self.ignore(Notice::UnknownVersion(version)),
        }
    }

    /// Op 25.
    pub(super) fn external_sender(&mut self, payload: Bytes) {
        if wire::external_sender(&payload).is_err() {
            return self.ignore(Notice::Malformed(25));
        }
        match &mut self.phase {
            Phase::Mls(mls) if mls.is_established() => return self.ignore(Notice::WrongMoment(25)),
            // Making the pending group anew would lose the proposals it has queued.
            Phase::Mls(_) if self.external_sender.as_ref() == Some(&payload) => return,
            Phase::Mls(mls) => {
                if let Err(cause) = mls.external_sender(&payload) {
                    return self.ignore(Notice::Refused(cause));
                }
            }
            Phase::AwaitDescription | Phase::Plain => {}
        }
        self.external_sender = Some(payload);
    }

    /// Op 27.
    pub(super) fn proposals(&mut self, payload: &[u8]) {
        // Who has lost our op 31 still takes us for a member, and sends proposals to it.
        if self.rejoining_after.is_none() {
            self.unanswered_at = None;
        }
        let Phase::Mls(mls) = &mut self.phase else { return self.ignore(Notice::Unexpected(27)) };
        let mut notices = Vec::new();
        let commit = mls.proposals(payload, &self.announced, &mut notices);
        self.answer(commit, notices);
    }

    pub(super) fn answer(&mut self, commit: Option<Bytes>, notices: Vec<Notice>) {
        notices.into_iter().for_each(|notice| self.ignore(notice));
        self.actions.extend(commit.map(|commit| Action::Send(Command::CommitWelcome(commit))));
    }

    /// Ops 29 and 30: everyone's new keys are installed at once, our own with the transition.
    pub(super) fn enter_epoch(
        &mut self,
        id: u16,
        op: u8,
        now: Instant,
        enter: impl FnOnce(&mut Mls) -> Result<(), Refusal>,
    ) {
        let Phase::Mls(mls) = &mut self.phase else { return self.ignore(Notice::Unexpected(op)) };
        let keys = enter(mls)
            .and_then(|()| mls.keys().ok_or(Refusal::Invalid("the keys cannot be exported".into())));
        let keys = match keys {
            Ok(keys) => keys,
            Err(Refusal::Ignore(notice)) => return self.ignore(notice),
            Err(Refusal::Invalid(cause)) => return self.invalid(id, cause, now),
        };
        self.unanswered_at = None;
        self.rejoining_after = None;
        self.invalid = 0;
        self.counts.epochs += 1;
        self.epochs += 1;
        for (user, _) in keys.others.iter().filter(|(user, _)| !self.announced.contains(user)) {
            self.actions.push_back(Action::UnannouncedMember(*user));
        }
        let receivers = KeyChange::Receivers { epoch: self.epochs, secrets: keys.others };
        self.actions.push_back(Action::Install(receivers));
        self.prepared(id, Switch { key: self.current_epoch(keys.own), state: keys.state }, now);
    }

    /// Executes transition 0 at once; any other is answered with op 23 and waits for op 22.
    fn prepared(&mut self, id: u16, switch: Switch, now: Instant) {
        if id == 0 {
            return self.execute_now(switch);
        }
        self.transitions.prepare(id, switch, now);
        self.actions.push_back(Action::Send(Command::TransitionReady { transition_id: id }));
    }

    pub(super) fn execute_now(&mut self, switch: Switch) {
        self.transitions.executed_at_once();
        self.execute(switch);
    }

    fn execute(&mut self, switch: Switch) {
        self.counts.transitions += 1;
        let (switch, passthrough) = match switch.key {
            SenderKey::Plain => (self.downgrade(switch), Passthrough::Open),
            SenderKey::Withhold | SenderKey::Epoch { .. } => (switch, Passthrough::Close),
        };
        let sending = match switch.key {
            SenderKey::Plain => Sending::Plain,
            SenderKey::Withhold => Sending::Withheld,
            SenderKey::Epoch { epoch, .. } => Sending::Epoch(epoch),
        };
        // An epoch's key goes out only once, so that no second sealer can start over with its nonces.
        if sending != self.sending {
            self.sending = sending;
            self.actions.push_back(Action::Install(KeyChange::Sender(switch.key)));
        }
        self.pass(passthrough);
        self.report(switch.state);
        self.refuse_plain_call();
    }

    /// A call that others can listen to is no place for a bot that may not speak plainly.
    pub(super) fn refuse_plain_call(&mut self) {
        let plain = matches!(self.phase, Phase::Plain) && self.plain_speech == PlainSpeech::Refused;
        if plain && self.announced.len() > 1 {
            self.actions.push_back(Action::Fail(DaveError::NotEncrypted));
        }
    }

    fn pass(&mut self, passthrough: Passthrough) {
        if self.passthrough != passthrough {
            self.passthrough = passthrough;
            self.actions.push_back(Action::Install(KeyChange::Passthrough(passthrough)));
        }
    }

    /// Version 0 ends the group, unless a transition to an epoch of it is still open. But a lone member who has just
    /// been told to start a new group (op 24) needs no plain sender: nobody is there to hear it, and whoever comes next
    /// is to be spoken to encrypted.
    fn downgrade(&mut self, switch: Switch) -> Switch {
        match &self.phase {
            Phase::Mls(mls) if mls.is_established() && !self.transitions.any_open() => {
                self.phase = Phase::Plain;
            }
            Phase::Mls(_) if self.announced.len() == 1 => {
                return Switch { key: SenderKey::Withhold, ..switch };
            }
            _ => {}
        }
        match self.plain_speech {
            PlainSpeech::Refused => Switch { key: SenderKey::Withhold, ..switch },
            PlainSpeech::Allowed => switch,
        }
    }

    pub(super) fn plain(&self) -> Switch {
        Switch { key: SenderKey::Plain, state: E2eeState::default() }
    }

    fn current_epoch(&self, secret: BaseSecret) -> SenderKey {
        SenderKey::Epoch { epoch: self.epochs, secret }
    }

    /// Starts a new MLS session and sends its key package; media keys stay until the next executed transition.
    pub(super) fn start(&mut self, version: u16) {
        self.rejoining_after = None;
        match Mls::start(version, self.user, self.channel, &self.identity, self.external_sender.as_deref()) {
            Ok(mls) => {
                self.actions.push_back(Action::Send(Command::KeyPackage(mls.key_package.clone())));
                self.phase = Phase::Mls(Box::new(mls));
            }
            Err(error) => self.actions.push_back(Action::Fail(error)),
        }
    }

    /// What keeps being invalid will not become valid by asking again: the session is given up then.
    fn invalid(&mut self, transition_id: u16, cause: String, now: Instant) {
        self.invalid += 1;
        if self.invalid >= INVALID_MAX {
            return self.actions.push_back(Action::Fail(DaveError::Invalid { times: self.invalid, cause }));
        }
        self.recover(transition_id, Notice::Invalid { transition_id, cause }, now);
    }

    /// Leaves the group with op 31 and applies for it anew with op 26.
    pub(super) fn recover(&mut self, transition_id: u16, notice: Notice, now: Instant) {
        let Phase::Mls(mls) = &self.phase else { return };
        let version = mls.version();
        self.counts.recoveries += 1;
        self.recovered = Some(now);
        self.actions.push_back(Action::Notice(notice));
        self.actions.push_back(Action::Send(Command::InvalidCommitWelcome { transition_id }));
        self.start(version);
        self.rejoining_after = Some(transition_id);
    }

    /// Sends what may have been lost with the websocket. An op 31 goes with a key package of its own: if it was not lost,
    /// the server has dropped the one before.
    pub(super) fn send_again(&mut self, now: Instant) {
        let Some(command) = self.unanswered() else { return };
        match self.rejoining_after {
            Some(transition_id) => self.recover(transition_id, Notice::SentAgain, now),
            None => {
                self.actions.push_back(Action::Send(command));
                self.actions.push_back(Action::Notice(Notice::SentAgain));
            }
        }
    }

    /// What the server owes us an answer to: our commit, or the key package while others are in the call.
    pub(super) fn unanswered(&self) -> Option<Command> {
        let Phase::Mls(mls) = &self.phase else { return None };
        match &mls.commit {
            Some(commit) => Some(Command::CommitWelcome(commit.clone())),
            None if mls.is_established() || self.announced.len() == 1 => None,
            None => Some(Command::KeyPackage(mls.key_package.clone())),
        }
    }

    fn report(&mut self, state: E2eeState) {
        if self.state != state {
            self.state = state.clone();
            self.actions.push_back(Action::State(state));
        }
    }

    pub(super) fn ignore(&mut self, notice: Notice) {
        self.counts.ignored += 1;
        self.actions.push_back(Action::Notice(notice));
    }
}

pub(super) fn withheld(version: u16) -> Switch {
    Switch { key: SenderKey::Withhold, state: E2eeState { version, ..E2eeState::default() } }
}

/// Invalid commits and welcomes in a row, without an epoch between them, of which this one ends the session. Each is
/// answered at once, so without an end two sides that disagree for good would go on as fast as the network allows.
pub(super) const INVALID_MAX: u32 = 5;

/// The only version with encryption.
const FIRST_VERSION: u16 = 1;
