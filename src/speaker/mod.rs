//! Playout: which frame goes out at which 20 ms.
//!
//! ```text
//!          a frame is ready        Speaking was sent         all tracks end, or none has a frame
//!   Quiet ────────────────▶ Asking ────────────────▶ Talking ─────────────────────────────▶ Trailing
//!     ▲                                                 ▲      a frame is ready                 │
//!     │                                                 └───────────────────────────────────────┤
//!     └────────────────────────── five silence frames, Speaking 0 ──────────────────────────────┘
//! ```
//!
//! Tracks are pulled by credit, in batches: as many frames as a track may be ahead when it starts, and as many as are
//! missing once half of them are played; those of stored tracks at moments that speakers of one phase have in common. Without a link to the voice server nothing is taken, so a track goes on where
//! it was when the call comes back.

mod action;
mod encoding;
mod envelope;
mod filtered;
mod notices;
mod reason;
mod samples;
mod settings;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::{
    action::{Action, Counts, FrameFormat, Run, VoiceFrame},
    envelope::Curve,
    reason::TrackEnd,
    settings::{
        AfterFade, Ducking, ReadAhead, Repeat, Start, TrackCommand, TrackId, TrackSettings, TrackState,
        gain_of_db,
    },
};
use self::{encoding::Encoding, track::Track};
use crate::{
    audio::{
        filter::Filters,
        frame::{CHANNELS, FRAME, FRAME_SAMPLES, Frame, Pcm, SILENCE},
        mixer,
        opus::{EncoderSettings, OpusError},
        recent::RecentPackets,
    },
    gateway::payload::SpeakingFlags,
};

/// The machine of one speaker.
#[derive(Debug)]
pub struct Pacer {
    tracks: Vec<Track>,
    encoding: Encoding,
    /// What is left to be heard of tracks that broke off.
    tail: Option<Pcm>,
    /// How many frames in a row were encoded that might have been passed on.
    unmixed: u32,
    /// How long it takes to turn up again what was turned down for another.
    release: Duration,
    link: Link,
    state: State,
    flags: SpeakingFlags,
    phase: Phase,
    last_due: Option<Instant>,
    probe: Instant,
    counts: Counts,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    AwaitSpeaking,
    Speaking { due: Instant },
    EndingSpeech { due: Instant, left: u8 },
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

    /// Whether sources are asked in this slot: for all speakers of one offset in the same, so that a thread is woken once for
    /// all of them, and for those of other offsets in others.
    fn is_refill(&self, due: Instant) -> bool {
        let passed = due.saturating_duration_since(self.epoch + self.offset).as_nanos() / FRAME.as_nanos();
        (passed + self.offset.as_millis()).is_multiple_of(REFILL)
    }
}

impl Pacer {
    /// A speaker without tracks and without a link.
    ///
    /// # Errors
    ///
    /// When libopus refuses the settings.
    pub fn new(settings: &EncoderSettings, phase: Phase) -> Result<Self, OpusError> {
        Ok(Self {
            tracks: Vec::new(),
            encoding: Encoding::new(settings)?,
            tail: None,
            unmixed: 0,
            release: Duration::ZERO,
            link: Link::Down,
            state: State::Quiet,
            flags: SpeakingFlags::NONE,
            phase,
            last_due: None,
            probe: phase.epoch,
            counts: Counts::default(),
            actions: VecDeque::with_capacity(16),
        })
    }

    /// A new track; its source is asked for the first frames at once.
    pub fn attach(&mut self, id: TrackId, settings: TrackSettings) {
        let mut track = Track::new(id, settings);
        self.actions.extend(track.first_demand());
        self.tracks.push(track);
        self.begin_successors();
    }

    /// Frames from a source. More than it was asked for are dropped and counted, and so are those of a run that is over.
    pub fn supply(&mut self, id: TrackId, run: Run, frames: impl IntoIterator<Item = Frame>, now: Instant) {
        let Some(track) = self.track(id) else { return };
        let refused = frames.into_iter().map(|frame| u64::from(!track.push(run, frame))).sum::<u64>();
        self.counts.over_credit += refused;
        self.start_if_ready(now);
    }

    /// The source has no more frames; what it supplied is still played, of the last frame only so many samples per channel.
    pub fn finish(&mut self, id: TrackId, run: Run, end: TrackEnd, last_frame: usize) {
        let Some(track) = self.track(id) else { return };
        let action = track.finish(run, end, last_frame);
        let is_drained = track.is_drained();
        self.actions.extend(action);
        if is_drained {
            self.remove_finished_tracks();
            self.end_speech_if_done();
        }
    }

    /// The source is gone without a word.
    pub fn source_lost(&mut self, id: TrackId) {
        let Some(run) = self.track(id).map(|track| track.lose_source()) else { return };
        self.finish(id, run, TrackEnd::SourceLost, FRAME_SAMPLES);
    }

    /// The source goes on from there, as it was asked to in this run.
    pub fn sought(&mut self, id: TrackId, run: Run, at: Duration) {
        let Self { tracks, tail, encoding, actions, .. } = self;
        let Some(track) = tracks.iter_mut().find(|track| track.id() == id) else { return };
        if encoding.is_warm() && track.breaks_off(run) {
            keep_tail(track, tail);
        }
        actions.extend(track.sought(run, at));
    }

    /// The source cannot go on from elsewhere.
    pub fn seek_refused(&mut self, id: TrackId, run: Run, why: String) {
        let Some(track) = self.track(id) else { return };
        let action = track.seek_refused(run, why);
        self.actions.extend(action);
        let demand = self.track(id).and_then(|track| track.demand(false));
        self.actions.extend(demand);
        self.remove_finished_tracks();
        self.end_speech_if_done();
    }

    /// Asks something of a track; says whether there is such a track.
    pub fn command(&mut self, id: TrackId, command: TrackCommand, now: Instant) -> bool {
        let is_warm = self.encoding.is_warm();
        let Self { tracks, tail, actions, .. } = self;
        let Some(track) = tracks.iter_mut().find(|track| track.id() == id) else { return false };
        if command == TrackCommand::Pause && is_warm {
            keep_tail(track, tail);
        }
        actions.extend(track.command(command, is_warm));
        actions.extend(track.demand(false));
        self.remove_finished_tracks();
        self.end_speech_if_done();
        self.start_if_ready(now);
        true
    }

    /// Where a track is.
    pub fn state(&self, id: TrackId) -> Option<TrackState> {
        self.tracks.iter().find(|track| track.id() == id).map(Track::state)
    }

    /// The run in which a track's source is to supply.
    pub fn run(&self, id: TrackId) -> Run {
        self.tracks.iter().find(|track| track.id() == id).map(Track::run).unwrap_or_default()
    }

    /// Ends one track, or all, without playing what is queued.
    pub fn stop(&mut self, which: Option<TrackId>) {
        let Self { tracks, tail, encoding, .. } = self;
        for track in tracks.iter_mut().filter(|track| which.is_none_or(|id| track.id() == id)) {
            if encoding.is_warm() {
                keep_tail(track, tail);
            }
            track.stop(TrackEnd::Stopped);
        }
        self.remove_finished_tracks();
        self.end_speech_if_done();
    }

    /// The transport has a key: frames may flow. The voice session may be a new one, which must be told who speaks.
    pub fn link_up(&mut self, now: Instant) {
        self.link = Link::Up;
        self.flags = SpeakingFlags::NONE;
        self.state = State::Quiet;
        self.probe = now;
        self.start_if_ready(now);
    }

    /// The transport is gone: tracks wait where they are.
    pub fn link_down(&mut self) {
        self.link = Link::Down;
        self.state = State::Quiet;
        self.end_mix();
    }

    /// The voice gateway was told that the bot speaks.
    pub fn speaking_sent(&mut self, now: Instant) {
        if self.state == State::AwaitSpeaking {
            let slot = self.phase.next(now);
            let due = self.last_due.map_or(slot, |last| slot.max(last + FRAME));
            self.state = State::Speaking { due };
        }
    }

    /// Another bitrate, in bits per second, from the next encoded frame on.
    ///
    /// # Errors
    ///
    /// When libopus refuses it.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), OpusError> {
        self.encoding.set_bitrate(bitrate)
    }

    /// What is done to all that is heard, within 20 ms; of its timescale nothing, since tracks have each their own time.
    pub fn set_filters(&mut self, filters: &Filters) {
        self.encoding.set_filters(filters);
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() {
            self.tick(now);
        }
        let action = self.actions.pop_front();
        if self.actions.is_empty() {
            // The next are written where these were, which is still in the processor.
            self.actions.clear();
        }
        action
    }

    /// When the next frame, or the next look at a silent source, is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Quiet if self.link == Link::Up && self.tracks.iter().any(Track::is_waited_for) => {
                Some(self.probe)
            }
            State::Quiet | State::AwaitSpeaking => None,
            State::Speaking { due } | State::EndingSpeech { due, .. } => Some(due),
        }
    }

    /// In which form frames of this track are of use: packets only while they can be forwarded as they are.
    pub fn format(&self, id: TrackId) -> FrameFormat {
        let Some(track) = self.tracks.iter().find(|track| track.id() == id) else { return FrameFormat::Any };
        // What it follows is over by then.
        let before = track.waits_for().filter(|(_, crossfade)| crossfade.is_zero()).map(|(before, _)| before);
        let beside = |other: &&Track| other.is_playing() && other.id() != id && Some(other.id()) != before;
        let unchanged = track.will_be_unchanged() && !self.encoding.will_filter();
        if unchanged && !self.tracks.iter().any(|other| beside(&other)) {
            FrameFormat::Any
        } else {
            FrameFormat::Pcm
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
    fn start_if_ready(&mut self, now: Instant) {
        let ready = self.link == Link::Up && self.has_frames();
        match self.state {
            State::Quiet if ready => self.start_speech(now),
            State::EndingSpeech { due, .. } if ready => {
                self.state = State::Speaking { due };
                self.announce();
            }
            _ => {}
        }
    }

    fn has_frames(&self) -> bool {
        self.tracks.iter().any(Track::is_ready)
    }

    fn start_speech(&mut self, now: Instant) {
        self.state = State::AwaitSpeaking;
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
            self.actions.push_back(Action::Speaking(flags));
        }
        changed
    }

    /// Ends speech when there is nothing more to say.
    fn end_speech_if_done(&mut self) {
        match self.state {
            State::Speaking { due } if self.tracks.is_empty() && self.tail.is_none() => {
                self.state = State::EndingSpeech { due, left: SILENCE_FRAMES };
            }
            // Nothing was sent yet, so there is nothing to end.
            State::AwaitSpeaking if !self.has_frames() => self.end_speech(),
            _ => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        match self.state {
            State::Speaking { due } if due <= now => {
                let due = self.skip(due, now);
                self.state = State::Speaking { due: due + FRAME };
                self.send_due(due);
            }
            // The last silence frame has had its 20 ms: a call that leaves once this is said does not overtake it.
            State::EndingSpeech { due, left: 0 } if due <= now => self.end_speech(),
            State::EndingSpeech { due, left } if due <= now => {
                let due = self.skip(due, now);
                self.count_missing(due);
                self.send_silence(due, left);
            }
            State::Quiet if self.link == Link::Up => self.probe(now),
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
    fn send_due(&mut self, due: Instant) {
        self.cross_fade();
        if !self.has_frames() && self.tail.is_none() {
            self.count_missing(due);
            return self.send_silence(due, SILENCE_FRAMES);
        }
        self.announce();
        self.count_missing(due);
        self.duck();
        let refill = self.phase.is_refill(due);
        let opus = self.passthrough(refill).unwrap_or_else(|| self.encode(refill));
        self.send(opus, due);
        self.remove_finished_tracks();
        self.end_speech_if_done();
    }

    /// Counts the frames that are due and not here.
    fn count_missing(&mut self, due: Instant) {
        for track in self.tracks.iter_mut().filter(|track| track.is_dry()) {
            self.counts.underruns += 1;
            if track.miss() {
                self.actions.push_back(Action::Stalled(track.id()));
            }
        }
        self.probe(due);
    }

    /// Looks at the sources that supply nothing, once a second.
    fn probe(&mut self, at: Instant) {
        if self.probe > at || !self.tracks.iter().any(Track::is_waited_for) {
            return;
        }
        self.probe = at + PROBE;
        let silent = self.tracks.iter().filter(|track| track.is_waited_for());
        self.actions.extend(silent.map(|track| Action::Probe(track.id())));
    }

    /// One of the five silence frames that keep decoders from interpolating into the next speech.
    fn send_silence(&mut self, due: Instant, left: u8) {
        self.end_mix();
        self.send(Bytes::from_static(&SILENCE), due);
        self.state = State::EndingSpeech { due: due + FRAME, left: left - 1 };
    }

    fn end_speech(&mut self) {
        self.state = State::Quiet;
        self.flags = SpeakingFlags::NONE;
        self.actions.push_back(Action::Speaking(SpeakingFlags::NONE));
    }

    /// The packet of the only track that is heard, untouched, where nothing needs mixing.
    fn passthrough(&mut self, refill: bool) -> Option<Bytes> {
        let Some(only) = self.only_heard() else {
            self.unmixed = 0;
            return None;
        };
        if self.encoding.is_warm() {
            if self.tail.is_some() || self.encoding.filters() || !self.tracks[only].can_pass() {
                self.unmixed = 0;
                return None;
            }
            self.unmixed += 1;
            if self.unmixed <= SETTLING {
                return None;
            }
            self.end_mix();
        }
        if self.encoding.filters() {
            return None;
        }
        let track = &mut self.tracks[only];
        let opus = track.pass()?;
        self.counts.passed_through += 1;
        track.took(refill, &mut self.actions);
        Some(opus)
    }

    /// The place of the only track that is heard.
    fn only_heard(&self) -> Option<usize> {
        if let [track] = self.tracks.as_slice() {
            return track.is_ready().then_some(0);
        }
        let mut heard = (0..self.tracks.len()).filter(|nth| self.tracks[*nth].is_heard());
        heard.next().filter(|nth| heard.next().is_none() && self.tracks[*nth].is_ready())
    }

    fn encode(&mut self, refill: bool) -> Bytes {
        if !self.encoding.is_warm() {
            self.unmixed = 0;
            self.begin_mix();
        }
        let Self { tracks, actions, counts, encoding, tail, .. } = self;
        let ahead = encoding.ahead();
        let encoded = encoding.encode(|mix, scratch| {
            if let Some(tail) = tail.take() {
                mixer::mix(mix, &tail, 1.0);
            }
            for track in tracks.iter_mut().filter(|track| track.is_ready()) {
                track.mix_into(&mut mix[..], scratch, ahead);
                track.took(refill, actions);
            }
            join_successors(tracks, actions, mix, scratch, ahead);
            counts.codec_errors += tracks.iter_mut().map(Track::take_errors).sum::<u64>();
        });
        encoded.unwrap_or_else(|_| {
            counts.codec_errors += 1;
            Bytes::from_static(&SILENCE)
        })
    }

    /// Packets were passed on until now, or nothing was sent: the encoder hears what others heard.
    fn begin_mix(&mut self) {
        let ahead = self.encoding.ahead();
        let mut heard = vec![0.0; (RecentPackets::MAX * FRAME_SAMPLES + ahead) * CHANNELS];
        let leads = self.tracks.iter_mut().map(|track| track.lead_in(ahead, &mut heard));
        if leads.filter(|leads| *leads).count() > 0 {
            // Without it the beginning sounds a little of nothing.
            let _ = self.encoding.warm_up(&heard[ahead * CHANNELS..]);
        }
    }

    /// What is sent next is not encoded.
    fn end_mix(&mut self) {
        if self.encoding.is_warm() {
            self.encoding.cool_down();
            self.tracks.iter_mut().for_each(Track::rewind);
        }
        self.tail = None;
    }

    /// Begins what is to be heard together with the end of another track.
    fn cross_fade(&mut self) {
        if self.tracks.len() < 2 {
            return;
        }
        for nth in 0..self.tracks.len() {
            let Some((before, crossfade)) = self.tracks[nth].waits_for().filter(|(_, time)| !time.is_zero())
            else {
                continue;
            };
            let Some(before) = self.tracks.iter_mut().find(|track| track.id() == before) else { continue };
            let Some(left) = before.remaining().filter(|left| *left <= crossfade) else { continue };
            if before.is_playing() {
                before.give_way(left);
                self.tracks[nth].begin();
                self.tracks[nth].fade_in(left, Curve::EqualPower);
            }
        }
    }

    /// Begins what waited for a track that is no more.
    fn begin_successors(&mut self) {
        for nth in 0..self.tracks.len() {
            let Some((before, _)) = self.tracks[nth].waits_for() else { continue };
            if self.tracks.iter().all(|track| track.id() != before) {
                self.tracks[nth].begin();
            }
        }
    }

    /// Turns tracks down while others are heard that ask for it.
    fn duck(&mut self) {
        if self.tracks.len() < 2 && self.tracks.iter().all(|track| track.duck_target() == 1.0) {
            return;
        }
        for nth in 0..self.tracks.len() {
            let others = self.tracks.iter().enumerate().filter(|(other, _)| *other != nth);
            let deepest =
                others.filter_map(|(_, other)| other.ducking()).min_by(|a, b| a.depth.total_cmp(&b.depth));
            match deepest {
                Some(ducking) => {
                    self.release = ducking.release;
                    self.tracks[nth].duck(ducking.depth, ducking.attack);
                }
                None => self.tracks[nth].duck(1.0, self.release),
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
        // Ahead of the credit and reports of the same tick, as the packet is what is late; but never ahead of what
        // allows it.
        let place = usize::from(matches!(self.actions.front(), Some(Action::Speaking(_))));
        self.actions.insert(place, Action::Voice(VoiceFrame { opus, elapsed, due }));
    }

    fn remove_finished_tracks(&mut self) {
        let actions = &mut self.actions;
        let before = self.tracks.len();
        self.tracks.retain_mut(|track| match track.take_end() {
            Some(end) => {
                actions.push_back(Action::Ended(track.id(), end));
                false
            }
            None => true,
        });
        if self.tracks.len() < before {
            self.begin_successors();
        }
    }
}

/// Lets a track that waited for one which ended amid these 20 ms begin there: not a sample is between them.
fn join_successors(
    tracks: &mut [Track],
    actions: &mut VecDeque<Action>,
    mix: &mut Pcm,
    scratch: &mut Pcm,
    ahead: usize,
) {
    for nth in 0..tracks.len() {
        let Some(within) = tracks[nth].take_ended_within() else { continue };
        let before = tracks[nth].id();
        let waits = |track: &&mut Track| track.waits_for().is_some_and(|(other, _)| other == before);
        if let Some(next) = tracks.iter_mut().find(waits).filter(|next| next.can_join()) {
            next.begin();
            next.mix_into(&mut mix[within * CHANNELS..], scratch, ahead);
            next.took(false, actions);
        }
    }
}

/// Keeps what is heard next of a track that breaks off, turned down to silence.
fn keep_tail(track: &Track, tail: &mut Option<Pcm>) {
    let mut all = tail.take().unwrap_or_default();
    if track.tail(&mut all) {
        *tail = Some(all);
    }
}

/// How many frames are encoded before packets are passed on again. In packets stands how much louder or less loud they are than
/// those before, so that after others than their own they come out wrong; by a seventh less with each.
const SETTLING: u32 = 5;
/// Silence frames after speech, as Discord's documentation asks.
const SILENCE_FRAMES: u8 = 5;
/// How late frames may be and still be sent, all at once.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Sources of stored tracks are asked once in so many slots: before half of what they may be ahead is played.
const REFILL: u128 = 12;
/// How often a silent source is looked at.
const PROBE: Duration = Duration::from_secs(1);
