//! Simulated members: they need no client, hear everyone in their channel and can speak.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::dave::Participant;
use crate::netem::Trace;
use crate::opus::{SILENCE, SILENCE_FRAMES};
use crate::recorder::Hearing;
use crate::relay::{MalformedPacket, PacketShape, Tap};
use crate::server::{SharedParticipant, SimulatedMember};
use crate::shared::Shared;
use crate::speech::Speech;

#[cfg(test)]
mod tests;

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

    /// Says something as Discord's client does: each talkspurt is announced, its packets are sent when they are due, and the
    /// media clock goes on over what is not sent. Returns when the last packet is sent.
    pub async fn say_all(&self, speech: &Speech) {
        let began = Instant::now();
        let (mut said, mut speaking) = (0, false);
        for packet in &speech.packets {
            sleep_until(began + packet.at).await;
            let paused = packet.time.saturating_sub(said);
            if paused > 0 && said > 0 {
                self.shared.relay.skip(self.ssrc, u32::try_from(paused).unwrap_or(u32::MAX));
            }
            if !speaking || paused > PAUSE_SAMPLES {
                self.announce(0);
                self.announce(MICROPHONE);
                speaking = true;
            }
            self.say(packet.opus.clone());
            said = packet.time + u64::from(packet.samples());
        }
        self.announce(0);
    }

    /// Sends one Opus packet now; see [`Self::announce`].
    pub fn say(&self, opus: Bytes) {
        self.shared.relay.send_opus(self.call, self.user_id, self.ssrc, opus);
    }

    /// Sends one Opus packet now that is not encrypted end to end, as passthrough frames are while a group forms.
    pub fn say_plainly(&self, opus: &Bytes) {
        self.shared.relay.send_payload(self.call, self.user_id, self.ssrc, opus, opus.clone());
    }

    /// Sends one Opus packet now that no key of the call opens; nothing while it has none of its own.
    pub fn say_with_wrong_key(&self, opus: &Bytes) {
        let sealed = self.participant.lock().unwrap_or_else(PoisonError::into_inner).encrypt(opus);
        let Some(mut frame) = sealed.filter(|sealed| sealed[..] != opus[..]) else { return };
        frame[0] ^= 0x55;
        self.shared.relay.send_payload(self.call, self.user_id, self.ssrc, opus, frame.into());
    }

    /// Sends something now that is no ordinary audio packet.
    pub fn send(&self, malformed: MalformedPacket) {
        self.shared.relay.send_malformed(self.call, self.user_id, self.ssrc, malformed);
    }

    /// Loses and delays what it says from now on, packet by packet, before it comes to the relay.
    pub fn trace(&self, trace: Trace) {
        self.shared.relay.trace(self.ssrc, trace);
    }

    /// Chooses what its packets look like from now on: padding, header extensions, contributing sources.
    pub fn shape_packets(&self, shape: PacketShape) {
        self.shared.relay.shape_packets_of(self.ssrc, shape);
    }

    /// Sends from another SSRC from now on, from a random sequence and timestamp; the others learn it when it is announced next.
    pub fn change_ssrc(&mut self) {
        let new = self.shared.with(|state, _| state.change_audio_ssrc(self.member.ssrc));
        self.shared.relay.replace_stream(self.ssrc, new);
        self.ssrc = new;
    }

    /// Sends Speaking with these flags: 1 microphone, 2 soundshare, 4 priority, 0 for none.
    pub fn announce(&self, flags: u8) {
        self.shared.with(|state, now| state.set_speaking(self.member.ssrc, flags, now));
    }

    /// Leaves the channel.
    pub fn leave(&self) {
        self.shared.with(|state, now| state.remove_simulated(self.member, now));
    }
}

const MICROPHONE: u8 = 1;
const FRAME: Duration = Duration::from_millis(20);
/// 450 ms: an encoder that has nothing to transmit says so every 400.
const PAUSE_SAMPLES: u64 = 21_600;
