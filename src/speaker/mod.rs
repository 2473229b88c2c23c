//! Playout: which frame goes out at which 20 ms.
//!
//! ```text
//!          a frame is ready        Speaking was sent            tracks end, or none has a frame
//!   Quiet ────────────────▶ Asking ────────────────▶ Talking ─────────────────────────────▶ Trailing
//!     ▲                                                 ▲      a frame is ready                 │
//!     │                                                 └───────────────────────────────────────┤
//!     └────────────────────────── five silence frames, Speaking 0 ──────────────────────────────┘
//! ```
//!
//! Tracks are pulled by credit: five frames when a track starts, one more for each taken. Without a link to
//! the voice server nothing is taken, so a track goes on where it was when the call comes back.

mod track;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use self::track::{Taken, Track};
pub use self::track::{TrackEnd, TrackId};
use crate::{
    audio::{
        frame::{FRAME, FRAME_SAMPLES, Frame, Pcm, SILENCE},
        mixer,
        opus::{Encoder, EncoderSettings, OpusError},
    },
    gateway::payload::SpeakingFlags,
};

/// What the speaker does next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Ask the track's source for this many more frames.
    Demand(TrackId, usize),
    /// Tell the voice gateway; answered by [`Playout::speaking_sent`].
    Speaking(SpeakingFlags),
    /// Send this frame now.
    Voice(VoiceFrame),
    /// See whether the track's source is still there; answered, if not, by [`Playout::source_lost`].
    Probe(TrackId),
    /// The first frame of the track was taken.
    Started(TrackId),
    /// The track had no frame for a while; silence is played until it has.
    Stalled(TrackId),
    /// The track is over.
    Ended(TrackId, TrackEnd),
}

/// One Opus packet of 20 ms and its place in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceFrame {
    /// The packet, as it goes into RTP, before any encryption.
    pub opus: Bytes,
    /// Samples since the packet before, 960 when nothing was skipped: by how much the RTP timestamp moves.
    pub elapsed: u32,
    /// When the packet was due.
    pub due: Instant,
}

/// What has been played, counted since the speaker was born.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames sent, silence included.
    pub frames: u64,
    /// Frames forwarded without being encoded anew.
    pub passed_through: u64,
    /// Times that a track had no frame when one was due.
    pub underruns: u64,
    /// Frame times skipped because the speaker came more than 100 ms late.
    pub skipped: u64,
    /// Frames dropped because a source supplied more than it was asked for.
    pub over_credit: u64,
    /// Packets that could not be decoded for mixing, or frames that could not be encoded.
    pub codec_errors: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.passed_through += other.passed_through;
        self.underruns += other.underruns;
        self.skipped += other.skipped;
        self.over_credit += other.over_credit;
        self.codec_errors += other.codec_errors;
    }
}

/// The machine of one speaker.
#[derive(Debug)]
pub struct Playout {
    tracks: Vec<Track>,
    encoder: Encoder,
    link: Link,
    state: State,
    flags: SpeakingFlags,
    phase: Phase,
    last_due: Option<Instant>,
    mix: Pcm,
    packet: BytesMut,
    counts: Counts,
    orders: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet { probe: Option<Instant> },
    Asking,
    Talking { due: Instant },
    Trailing { due: Instant, left: u8 },
}

/// When within every 20 ms this speaker sends; many calls are spread, so that their load is flat.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// Any instant from which the 20 ms are counted.
    pub epoch: Instant,
    /// The offset in them, below 20 ms.
    pub offset: Duration,
}

impl Phase {
    /// The first slot that is not before `now`.
    fn next(&self, now: Instant) -> Instant {
        let first = self.epoch + self.offset;
        let passed = now.saturating_duration_since(first).as_nanos().div_ceil(FRAME.as_nanos());
        first + FRAME * u32::try_from(passed).unwrap_or(u32::MAX)
    }
}

impl Playout {
    /// A speaker without tracks and without a link.
    ///
    /// # Errors
    ///
    /// When libopus refuses the settings.
    pub fn new(settings: &EncoderSettings, phase: Phase) -> Result<Self, OpusError> {
        Ok(Self {
            tracks: Vec::new(),
            encoder: Encoder::new(settings)?,
            link: Link::Down,
            state: State::Quiet { probe: None },
            flags: SpeakingFlags::NONE,
            phase,
            last_due: None,
            mix: Pcm::default(),
            packet: BytesMut::with_capacity(ARENA),
            counts: Counts::default(),
            orders: VecDeque::with_capacity(16),
        })
    }

    /// A new track; its source is asked for the first frames at once.
    pub fn attach(&mut self, id: TrackId, flags: SpeakingFlags, volume: f32) {
        self.tracks.push(Track::new(id, flags, volume));
        self.orders.push_back(Action::Demand(id, CREDIT));
    }

    /// A frame from a source. More than it was asked for is dropped and counted.
    pub fn supply(&mut self, id: TrackId, frame: Frame, now: Instant) {
        let Some(track) = self.track(id) else { return };
        if track.push(frame) {
            self.wake(now);
        } else {
            self.counts.over_credit += 1;
        }
    }

    /// The source has no more frames; what it supplied is still played.
    pub fn finish(&mut self, id: TrackId, end: TrackEnd, now: Instant) {
        let Some(track) = self.track(id) else { return };
        track.finish(end);
        if track.is_drained() {
            self.bury();
            self.fall_silent(now);
        }
    }

    /// The source is gone without a word.
    pub fn source_lost(&mut self, id: TrackId, now: Instant) {
        self.finish(id, TrackEnd::SourceLost, now);
    }

    /// Ends one track, or all, without playing what is queued.
    pub fn stop(&mut self, which: Option<TrackId>, now: Instant) {
        for track in self.tracks.iter_mut().filter(|track| which.is_none_or(|id| track.id() == id)) {
            track.cut(TrackEnd::Stopped);
        }
        self.bury();
        self.fall_silent(now);
    }

    /// The transport has a key: frames may flow. The voice session may be a new one, which must be told who speaks.
    pub fn link_up(&mut self, now: Instant) {
        self.link = Link::Up;
        self.flags = SpeakingFlags::NONE;
        self.state = State::Quiet { probe: Some(now) };
        self.wake(now);
    }

    /// The transport is gone: tracks wait where they are.
    pub fn link_down(&mut self) {
        self.link = Link::Down;
        self.state = State::Quiet { probe: None };
    }

    /// The voice gateway was told that the bot speaks.
    pub fn speaking_sent(&mut self, now: Instant) {
        if self.state == State::Asking {
            self.state = State::Talking { due: self.phase.next(now) };
        }
    }

    /// Another bitrate, in bits per second, from the next encoded frame on.
    ///
    /// # Errors
    ///
    /// When libopus refuses it.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), OpusError> {
        self.encoder.set_bitrate(bitrate)
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.orders.is_empty() {
            self.tick(now);
        }
        self.orders.pop_front()
    }

    /// When the next frame, or the next look at a silent source, is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Quiet { probe } => probe.filter(|_| !self.tracks.is_empty()),
            State::Asking => None,
            State::Talking { due } | State::Trailing { due, .. } => Some(due),
        }
    }

    /// What has been played.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn track(&mut self, id: TrackId) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.id() == id)
    }

    /// Starts to speak when there is something to say and a way to say it.
    fn wake(&mut self, now: Instant) {
        let ready = self.link == Link::Up && self.tracks.iter().any(Track::is_ready);
        match self.state {
            State::Quiet { .. } if ready => self.ask(now),
            State::Trailing { due, .. } if ready => {
                self.state = State::Talking { due };
                self.announce();
            }
            _ => {}
        }
    }

    fn ask(&mut self, now: Instant) {
        self.state = State::Asking;
        if !self.announce() {
            self.speaking_sent(now);
        }
    }

    /// Orders Speaking when the flags changed; says whether it did.
    fn announce(&mut self) -> bool {
        let flags = self.tracks.iter().fold(SpeakingFlags::NONE, |flags, track| flags | track.flags());
        let changed = flags != self.flags && !flags.is_empty();
        if changed {
            self.flags = flags;
            self.orders.push_back(Action::Speaking(flags));
        }
        changed
    }

    fn fall_silent(&mut self, now: Instant) {
        match self.state {
            State::Talking { due } if self.tracks.is_empty() => {
                self.state = State::Trailing { due, left: FAREWELL };
            }
            State::Asking if self.tracks.is_empty() => {
                self.state = State::Trailing { due: self.phase.next(now), left: FAREWELL };
            }
            _ => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        match self.state {
            State::Talking { due } if due <= now => {
                let due = self.skip(due, now);
                self.state = State::Talking { due: due + FRAME };
                self.talk(due);
            }
            State::Trailing { due, left: 0 } if due <= now => self.rest(due),
            State::Trailing { due, left } if due <= now => {
                let due = self.skip(due, now);
                self.trail(due, left);
            }
            State::Quiet { probe: Some(at) } if at <= now => {
                self.state = State::Quiet { probe: Some(now + PROBE) };
                self.orders.extend(
                    self.tracks
                        .iter()
                        .filter(|track| !track.is_ready())
                        .map(|track| Action::Probe(track.id())),
                );
            }
            _ => {}
        }
    }

    /// Up to 100 ms late, every due frame is sent; later than that, the time is skipped.
    fn skip(&mut self, due: Instant, now: Instant) -> Instant {
        let behind = now.saturating_duration_since(due);
        if behind <= CATCH_UP {
            return due;
        }
        let frames = u32::try_from(behind.as_nanos() / FRAME.as_nanos()).unwrap_or(u32::MAX);
        self.counts.skipped += u64::from(frames);
        due + FRAME * frames
    }

    /// Take frames, mix, encode, send, grant credit.
    fn talk(&mut self, due: Instant) {
        let audible = self.tracks.iter().filter(|track| track.is_ready()).count();
        self.counts.underruns += (self.tracks.len() - audible) as u64;
        if audible == 0 {
            return self.stall(due);
        }
        self.announce();
        let opus = self.passthrough().unwrap_or_else(|| self.encode());
        self.send(opus, due);
        self.bury();
        self.fall_silent(due);
    }

    fn stall(&mut self, due: Instant) {
        self.orders.extend(
            self.tracks.iter_mut().filter_map(|track| track.stall().then(|| Action::Stalled(track.id()))),
        );
        self.orders.extend(self.tracks.iter().map(|track| Action::Probe(track.id())));
        self.trail(due, FAREWELL);
    }

    /// One of the five silence frames that keep decoders from interpolating into the next speech.
    fn trail(&mut self, due: Instant, left: u8) {
        self.send(Bytes::from_static(&SILENCE), due);
        self.state = State::Trailing { due: due + FRAME, left: left - 1 };
    }

    /// The last silence frame has had its 20 ms: a call that leaves once this is said does not overtake it.
    fn rest(&mut self, due: Instant) {
        self.state = State::Quiet { probe: Some(due + PROBE) };
        self.flags = SpeakingFlags::NONE;
        self.orders.push_back(Action::Speaking(SpeakingFlags::NONE));
    }

    /// The packet of the only track, untouched, where nothing needs mixing.
    fn passthrough(&mut self) -> Option<Bytes> {
        let [track] = self.tracks.as_mut_slice() else { return None };
        let opus = track.pass()?;
        self.counts.passed_through += 1;
        self.orders.extend(track.took(Taken::Opus));
        Some(opus)
    }

    fn encode(&mut self) -> Bytes {
        self.mix.fill(0.0);
        for track in self.tracks.iter_mut().filter(|track| track.is_ready()) {
            if track.mix_into(&mut self.mix).is_err() {
                self.counts.codec_errors += 1;
            }
            self.orders.extend(track.took(Taken::Pcm));
        }
        mixer::limit(&mut self.mix);
        self.packet.reserve(LARGEST_PACKET);
        self.packet.resize(LARGEST_PACKET, 0);
        match self.encoder.encode(&self.mix, &mut self.packet) {
            Ok(length) => {
                let opus = self.packet.split_to(length).freeze();
                self.packet.clear();
                opus
            }
            Err(_) => {
                self.counts.codec_errors += 1;
                Bytes::from_static(&SILENCE)
            }
        }
    }

    fn send(&mut self, opus: Bytes, due: Instant) {
        let frames =
            self.last_due.map_or(1, |last| due.saturating_duration_since(last).as_nanos() / FRAME.as_nanos());
        self.last_due = Some(due);
        self.counts.frames += 1;
        // Wraps as the RTP timestamp itself does, after 24 hours of silence.
        let elapsed = (frames.max(1) as u32).wrapping_mul(FRAME_SAMPLES as u32);
        // Ahead of the credit and reports of the same tick: the packet is what is late.
        self.orders.push_front(Action::Voice(VoiceFrame { opus, elapsed, due }));
    }

    fn bury(&mut self) {
        let orders = &mut self.orders;
        self.tracks.retain_mut(|track| match track.obituary() {
            Some(end) => {
                orders.push_back(Action::Ended(track.id(), end));
                false
            }
            None => true,
        });
    }
}

/// Frames that a source may be ahead: 100 ms.
pub const CREDIT: usize = 5;
/// Silence frames after speech, as Discord's documentation asks.
const FAREWELL: u8 = 5;
/// How late frames may be and still be sent, all at once.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How often a silent source is looked at.
const PROBE: Duration = Duration::from_secs(1);
/// The largest Opus packet of 20 ms (RFC 6716 section 3.4: 1275 bytes and the TOC).
const LARGEST_PACKET: usize = 1276;
/// Packets share one allocation of this size until it is used up.
const ARENA: usize = 16 * 1024;
