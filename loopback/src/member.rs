//! Simulated members: they need no client, hear everyone in their channel and can speak.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::dave::Participant;
use crate::opus::{SILENCE, SILENCE_FRAMES};
use crate::recorder::Hearing;
use crate::relay::Tap;
use crate::server::{SharedParticipant, SimulatedMember};
use crate::shared::Shared;

/// A simulated member of a voice channel, made by [`Channel::listener`](crate::Channel::listener).
///
/// It stays in the channel when this handle is dropped; [`Self::leave`] takes it out.
pub struct Member {
    shared: Arc<Shared>,
    tap: Tap,
    participant: SharedParticipant,
    /// The id bots see it under.
    pub user_id: u64,
    /// The SSRC of its audio.
    pub ssrc: u32,
    /// Its call at the [relay](crate::Discord::relay).
    pub call: u64,
    member: SimulatedMember,
}

impl Member {
    pub(crate) fn join(shared: &Arc<Shared>, channel: u64, name: &str, max_dave: u16) -> Self {
        let member = shared.with(|state, now| state.simulate(channel, name, max_dave, now));
        let SimulatedMember { user: user_id, ssrc, .. } = member;
        let tap = shared.relay.tap(channel, user_id);
        let participant = Arc::new(Mutex::new(Participant::new(user_id, channel)));
        let (receiver, sender) = (Arc::clone(&participant), Arc::clone(&participant));
        let undecrypted = Arc::clone(&shared.undecrypted);
        tap.decrypt_with(Box::new(move |user, frame| {
            let mut member = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            let decrypted = member.decrypt(user, frame, Instant::now());
            decrypted.inspect_err(|_| undecrypted.notify_one()).ok()
        }));
        shared.relay.encrypt_with(
            ssrc,
            Box::new(move |frame| sender.lock().unwrap_or_else(PoisonError::into_inner).encrypt(frame)),
        );
        shared.with(|state, now| state.join_participant(ssrc, Arc::clone(&participant), now));
        Self { shared: Arc::clone(shared), tap, participant, user_id, ssrc, call: channel, member }
    }

    /// What it has heard of a user so far; `None` if nothing was.
    pub fn heard(&self, user: u64) -> Option<Hearing> {
        self.tap.heard(user)
    }

    /// Packets it has heard of a user so far.
    pub fn packets_heard(&self, user: u64) -> u64 {
        self.tap.packets(user)
    }

    /// The 30 digits that everyone in an encrypted call sees; `None` outside a group.
    pub fn privacy_code(&self) -> Option<String> {
        self.participant.lock().unwrap_or_else(PoisonError::into_inner).privacy_code()
    }

    /// The 45 digits it and another member compare; `None` unless both are in the group. Deliberately slow.
    pub fn verification_code(&self, other: u64) -> Option<String> {
        self.participant.lock().unwrap_or_else(PoisonError::into_inner).verification_code(other)
    }

    /// Speaks: says so, sends one packet each 20 ms, then five frames of silence, then says that it is over.
    ///
    /// The packets are Opus at 48 kHz, 20 ms each.
    pub async fn speak(&self, packets: impl IntoIterator<Item = Bytes>) {
        self.announce(MICROPHONE);
        let silence = std::iter::repeat_n(Bytes::from_static(&SILENCE), SILENCE_FRAMES as usize);
        let mut due = Instant::now();
        for packet in packets.into_iter().chain(silence) {
            sleep_until(due).await;
            due += FRAME;
            self.say(packet);
        }
        self.announce(0);
    }

    /// Sends one Opus packet now; see [`Self::announce`].
    pub fn say(&self, opus: Bytes) {
        self.shared.relay.send_opus(self.call, self.user_id, self.ssrc, opus);
    }

    /// Sends Speaking with these flags: 1 microphone, 2 soundshare, 4 priority, 0 for none.
    pub fn announce(&self, flags: u8) {
        self.shared.with(|state, now| state.set_speaking(self.ssrc, flags, now));
    }

    /// Leaves the channel.
    pub fn leave(&self) {
        self.shared.with(|state, now| state.remove_simulated(self.member, now));
    }
}

const MICROPHONE: u8 = 1;
const FRAME: Duration = Duration::from_millis(20);
