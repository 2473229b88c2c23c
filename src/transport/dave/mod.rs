//! Group: our membership in the call's MLS group, from which everyone's media keys come.
//!
//! ```text
//!              op 4: version 0                       op 24: epoch 1
//!             ┌───────────────▶ Plain ◀────────────┐ ┌──────────────┐
//! AwaitDescription             │  ▲ op 22 or 21:  │ │              ▼
//!             │  op 24: epoch 1│  │ version 0      │ │    ┌─▶ Mls, pending ── op 29 (our commit), op 30 ─┐
//!             └───────────────▶▼──┴────────────────┴─┴────┘         ▲                                     ▼
//!              op 4: version 1                                      └── invalid: op 31, op 26 ── Mls, established
//! ```
//!
//! MLS is slow (milliseconds), packets are fast (microseconds): `Group` runs where packets do not, and sends each change
//! of keys as a [`KeyChange`] to the [`Frames`] beside the socket.
//!
//! A resume keeps the group. A new Identify (a move, a reconnect, a crash of the actor that holds it) needs a new `Group`
//! and new [`Frames`]: the group id is the channel, and nonces must never start over under an old key.
//!
//! See <https://daveprotocol.com> and <https://discord.com/developers/docs/topics/voice-connections#endtoend-encryption-dave-protocol>.

mod action;
mod epoch;
mod error;
mod frame;
mod identity;
mod keys;
mod mls;
mod open;
mod ops;
mod transition;
mod wire;

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use action::{Action, E2eeState, GroupCounts, KeyChange, Notice, Passthrough, PlainSpeech, SenderKey};
pub use error::{DaveError, OpenError};
pub use frame::{FrameSealer, Sealed};
pub use identity::{Fingerprints, IdentityKey, IdentityKeyError};
pub use keys::BaseSecret;
pub use open::{FrameOpeners, Frames, Opened};

use self::mls::Mls;
use self::ops::withheld;
use self::transition::Transitions;
use crate::gateway::payload::DaveEvent;
use crate::id::{ChannelId, UserId};

/// Our membership in the MLS group of one voice session.
pub struct Group {
    user: UserId,
    channel: ChannelId,
    identity: IdentityKey,
    plain_speech: PlainSpeech,
    phase: Phase,
    /// What op 25 said last, kept for the next pending group.
    external_sender: Option<Bytes>,
    /// Everyone in the call, ourselves included (ops 11 and 13).
    announced: HashSet<UserId>,
    transitions: Transitions,
    /// What our sender uses now.
    sending: Sending,
    passthrough: Passthrough,
    state: E2eeState,
    /// Epochs installed so far, over all the groups of this session.
    epochs: u64,
    recovered: Option<Instant>,
    /// The transition of the last op 31, until we are a member again.
    rejoining_after: Option<u16>,
    /// Invalid commits and welcomes since the last epoch.
    invalid: u32,
    /// When to look whether the server answered what was sent before a resume.
    unanswered_at: Option<Instant>,
    actions: VecDeque<Action>,
    counts: GroupCounts,
}

/// What there is to take part in.
enum Phase {
    AwaitDescription,
    /// Version 0: no encryption, no group.
    Plain,
    Mls(Box<Mls>),
}

/// What our own frames are sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Withheld,
    Plain,
    Epoch(u64),
}

impl Group {
    /// Builds the group of one voice session, before its session description is known. At protocol version 0 it says
    /// nothing, unless [`plain_speech`](Self::plain_speech) allows it.
    pub fn new(user: UserId, channel: ChannelId, identity: IdentityKey) -> Self {
        Self {
            user,
            channel,
            identity,
            plain_speech: PlainSpeech::Refused,
            phase: Phase::AwaitDescription,
            external_sender: None,
            announced: HashSet::from([user]),
            transitions: Transitions::default(),
            sending: Sending::Withheld,
            passthrough: Passthrough::Close,
            state: E2eeState::default(),
            epochs: 0,
            recovered: None,
            rejoining_after: None,
            invalid: 0,
            unanswered_at: None,
            actions: VecDeque::new(),
            counts: GroupCounts::default(),
        }
    }

    /// Whether it may speak at protocol version 0.
    #[must_use]
    pub fn plain_speech(self, plain_speech: PlainSpeech) -> Self {
        Self { plain_speech, ..self }
    }

    /// The session description (op 4) has told the protocol version; 0 when it names none. One that comes again, with
    /// another key for the transport say, leaves the group as it is, formed or not.
    pub fn described(&mut self, version: u16) {
        if matches!(&self.phase, Phase::Mls(mls) if mls.version() == version) {
            return;
        }
        if version == 0 {
            self.phase = Phase::Plain;
            return self.execute_now(self.plain());
        }
        self.unanswered_at = None;
        self.start(version);
        if !matches!(self.sending, Sending::Epoch(_)) {
            self.execute_now(withheld(version));
        }
    }

    /// Users are in the call (op 11); they are added to the ones known, ourselves always among them.
    pub fn clients_connect(&mut self, users: &[UserId]) {
        self.announced.extend(users);
        let Phase::Mls(mls) = &mut self.phase else { return self.refuse_plain_call() };
        let mut notices = Vec::new();
        let commit = mls.announced(&self.announced, &mut notices);
        self.answer(commit, notices);
    }

    /// A user has left the call (op 13).
    pub fn client_disconnect(&mut self, user: UserId) {
        if user == self.user {
            return;
        }
        self.announced.remove(&user);
        self.actions.push_back(Action::Install(KeyChange::Forget(user)));
    }

    /// A DAVE message has come from the voice gateway (ops 21, 22, 24, 25, 27, 29, 30).
    pub fn event(&mut self, event: DaveEvent, now: Instant) {
        match event {
            DaveEvent::PrepareTransition { transition_id, protocol_version } => {
                self.prepare_transition(transition_id, protocol_version, now);
            }
            DaveEvent::ExecuteTransition { transition_id } => self.execute_transition(transition_id),
            DaveEvent::PrepareEpoch { protocol_version, epoch } => {
                self.prepare_epoch(protocol_version, epoch)
            }
            DaveEvent::ExternalSender(payload) => self.external_sender(payload),
            DaveEvent::Proposals(payload) => self.proposals(&payload),
            DaveEvent::AnnounceCommit { transition_id, commit } => {
                self.enter_epoch(transition_id, 29, now, |mls| mls.commit(&commit));
            }
            DaveEvent::Welcome { transition_id, welcome } => {
                self.enter_epoch(transition_id, 30, now, |mls| mls.welcome(&welcome));
            }
        }
    }

    /// More than 36 frames of one user in a row could not be opened (see [`FrameOpeners::take_failing`]): unless a
    /// transition explains it, the group is left and joined anew, at most every 10 s.
    pub fn failed_frames(&mut self, now: Instant) {
        let Phase::Mls(mls) = &self.phase else { return };
        let recent = self.recovered.is_some_and(|at| now.saturating_duration_since(at) < RECOVERY_PAUSE);
        if recent || self.transitions.is_waiting(now) || !mls.is_established() {
            return self.ignore(Notice::DecryptionFailingForNow);
        }
        self.recover(self.transitions.last_executed(), Notice::DecryptionFailing, now);
    }

    /// The voice gateway was resumed (op 9). The group lives on; what it replays is handled like anything else. What we
    /// sent just before the loss may have been lost with it, so it goes out again unless an answer comes.
    pub fn resumed(&mut self, now: Instant) {
        if self.unanswered().is_some() {
            self.unanswered_at = Some(now + ANSWER_TIMEOUT);
        }
    }

    /// Gives the next thing to do. Call it after every fact and at the deadline, until it gives `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.unanswered_at.is_some_and(|at| now >= at) {
            self.unanswered_at = None;
            self.send_again(now);
        }
        self.actions.pop_front()
    }

    /// When to poll again if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.unanswered_at
    }

    /// How the call is encrypted now.
    pub fn state(&self) -> &E2eeState {
        &self.state
    }

    /// What has happened so far.
    pub fn counts(&self) -> GroupCounts {
        self.counts
    }

    /// Whether our own frames can leave, be it encrypted or, at version 0, plain.
    pub fn can_send(&self) -> bool {
        self.sending != Sending::Withheld
    }

    /// Whether there is nothing to wait for before speaking: our frames can leave, or nobody else is there.
    pub fn is_settled(&self) -> bool {
        self.can_send() || (!matches!(self.phase, Phase::AwaitDescription) && self.announced.len() == 1)
    }

    /// The members of the MLS group, ourselves included; empty while there is none.
    pub fn members(&self) -> Vec<UserId> {
        match &self.phase {
            Phase::Mls(mls) if mls.is_established() => mls.members(),
            _ => Vec::new(),
        }
    }

    /// What a verification code with another member is worked out from; `None` while that user is not in the group.
    /// [`Fingerprints::verification_code`] is slow: take it elsewhere.
    pub fn fingerprints(&self, user: UserId) -> Option<Fingerprints> {
        match &self.phase {
            Phase::Mls(mls) => mls.fingerprints(user),
            _ => None,
        }
    }
}

/// A group that stays broken is left and joined anew no more often than this.
const RECOVERY_PAUSE: Duration = Duration::from_secs(10);

/// How long after a resume an answer to what went before may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
