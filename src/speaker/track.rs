//! One track: whether it plays, how loud, what its source owes it, and its end.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{
    action::{Action, Run},
    envelope::{Curve, Envelope},
    filtered::Filtered,
    notices::Notices,
    reason::TrackEnd,
    samples::Samples,
    settings::{
        AfterFade, Ducking, ReadAhead, Repeat, Start, TrackCommand, TrackId, TrackSettings, TrackState,
    },
};
use crate::{
    audio::frame::{CHANNELS, FRAME, FRAME_SAMPLES, Frame, Pcm},
    gateway::payload::SpeakingFlags,
};

#[derive(Debug)]
pub(super) struct Track {
    id: TrackId,
    settings: TrackSettings,
    samples: Samples,
    filtered: Filtered,
    play: Play,
    /// What was asked for; `fade` and `duck` come on top of it.
    volume: Envelope,
    fade: Envelope,
    duck: Envelope,
    after_fade: Option<Then>,
    begun: bool,
    missing: u32,
    end: Option<TrackEnd>,
    /// How much of the last 20 ms it had when it came to its end, in samples per channel.
    ended_within: Option<usize>,
    supply: SourceSupply,
    /// Where it went on after the last seek.
    base: Duration,
    notices: Notices,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    /// Until another track is over, or nearly so.
    Waiting,
    Paused,
    Playing,
}

/// What follows a fade.
#[derive(Debug)]
enum Then {
    Pause,
    End(TrackEnd),
}

/// What the source was asked for.
#[derive(Debug, Default)]
struct SourceSupply {
    /// Frames that it was asked for and has not supplied.
    credit: usize,
    /// The run it was asked for last.
    run: Run,
    /// The run whose frames are taken.
    accepted: Run,
    seek: Option<Seek>,
    /// Whether the next frame is the first of a repetition.
    begins_loop: bool,
    /// Frames of this run.
    frames: u64,
    /// What is left of the repetitions that the source was not yet asked for.
    repeat: Repeat,
}

#[derive(Debug)]
struct Seek {
    frames: usize,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    /// What waits is dropped.
    GoElsewhere,
    /// It follows what waits.
    StartOver,
}

impl Track {
    pub(super) fn new(id: TrackId, mut settings: TrackSettings) -> Self {
        // Without any flag Discord takes no audio from us.
        if settings.flags.is_empty() {
            settings.flags = SpeakingFlags::MICROPHONE;
        }
        let play = match settings.start {
            Start::Now => Play::Playing,
            Start::Paused => Play::Paused,
            Start::After { .. } => Play::Waiting,
        };
        let supply = SourceSupply { repeat: settings.repeat, ..SourceSupply::default() };
        let mut track = Self {
            id,
            samples: Samples::new(settings.read_ahead.frames()),
            filtered: Filtered::new(&settings.filters),
            play,
            volume: Envelope::at(settings.volume),
            fade: Envelope::at(1.0),
            duck: Envelope::at(1.0),
            after_fade: None,
            begun: false,
            missing: 0,
            end: None,
            ended_within: None,
            supply,
            base: Duration::ZERO,
            notices: Notices::default(),
            settings,
        };
        if track.settings.fade_in > Duration::ZERO {
            track.fade_in(track.settings.fade_in, Curve::Linear);
        }
        track
    }

    pub(super) fn id(&self) -> TrackId {
        self.id
    }

    /// How it speaks; not at all while it is silent on purpose.
    pub(super) fn flags(&self) -> SpeakingFlags {
        if self.play == Play::Playing { self.settings.flags } else { SpeakingFlags::NONE }
    }

    pub(super) fn state(&self) -> TrackState {
        TrackState {
            position: self.position(),
            duration: self.settings.duration,
            paused: self.play == Play::Paused,
            started: self.begun,
            volume: self.volume.target(),
            repeat: self.settings.repeat,
        }
    }

    /// Whether its packets can go out as they are.
    fn is_unchanged(&self) -> bool {
        let envelopes = [&self.volume, &self.fade, &self.duck];
        envelopes.iter().all(|envelope| envelope.is_neutral()) && self.filtered.is_neutral()
    }

    /// Whether its packets will be of use as they are, if it is alone.
    pub(super) fn will_be_unchanged(&self) -> bool {
        let envelopes = [&self.volume, &self.fade, &self.duck];
        envelopes.iter().all(|envelope| envelope.target() == 1.0) && self.settings.filters.is_neutral()
    }

    /// Whether it is meant to be heard.
    pub(super) fn is_playing(&self) -> bool {
        self.play == Play::Playing
    }

    /// Whether a frame can be taken.
    pub(super) fn is_ready(&self) -> bool {
        self.is_playing()
            && (self.filtered.has_frame(&self.samples) || (self.end.is_some() && !self.is_empty()))
    }

    /// Whether it is heard, but for moments.
    pub(super) fn is_heard(&self) -> bool {
        self.is_ready() || (self.is_playing() && self.begun && self.missing < STALLED_FRAMES)
    }

    /// Whether it has begun, and has no frame.
    pub(super) fn is_dry(&self) -> bool {
        self.is_playing() && self.begun && !self.is_ready()
    }

    /// Whether its source should be looked at now and then.
    pub(super) fn is_waited_for(&self) -> bool {
        self.is_playing() && !self.is_ready()
    }

    /// A frame was due and not here: says whether that makes the track stalled.
    pub(super) fn miss(&mut self) -> bool {
        self.missing = self.missing.saturating_add(1);
        self.missing == STALLED_FRAMES
    }

    // What its source is asked for, and answers.

    /// How many frames the source is to be asked for: outside of a refill none until half of what it may be ahead is used up.
    pub(super) fn demand(&mut self, refill: bool) -> Option<Action> {
        let (wanted, on_the_way) = (self.read_ahead(), self.samples.waiting() + self.supply.credit);
        let stored = self.settings.read_ahead == ReadAhead::Stored;
        let enough = if refill && stored { wanted - 1 } else { (wanted / 2).max(self.filtered.wants()) };
        if self.supply.seek.is_some() || on_the_way > enough {
            return None;
        }
        if self.will_repeat() {
            self.supply.repeat = self.supply.repeat.next()?;
            return Some(self.ask(Duration::ZERO, Purpose::StartOver));
        }
        if self.end.is_some() {
            return None;
        }
        self.supply.credit += wanted - on_the_way;
        Some(Action::Demand(self.id, wanted - on_the_way))
    }

    /// How many frames its source may be ahead: those of a track that plays faster are used up sooner.
    fn read_ahead(&self) -> usize {
        let rate = self.filtered.rate().ceil() as usize;
        (self.settings.read_ahead.frames() * rate.max(1)).max(self.filtered.wants() + 2)
    }

    /// What the source is asked for first.
    pub(super) fn first_demand(&mut self) -> Option<Action> {
        match self.settings.start_at {
            at if at > Duration::ZERO && self.settings.seekable => Some(self.ask(at, Purpose::GoElsewhere)),
            _ => self.demand(false),
        }
    }

    /// The run of its source that it asks for frames of.
    pub(super) fn run(&self) -> Run {
        self.supply.run
    }

    /// Queues a frame if the source was granted one.
    pub(super) fn push(&mut self, run: Run, frame: Frame) -> bool {
        let granted = self.supply.credit > 0 && self.end.is_none() && run == self.supply.accepted;
        if granted {
            self.supply.credit -= 1;
            self.supply.frames += 1;
            self.samples.push(frame, std::mem::take(&mut self.supply.begins_loop));
        }
        granted
    }

    /// The source has no more, and so much of its last frame belongs to it: the track ends, or starts over.
    pub(super) fn finish(&mut self, run: Run, end: TrackEnd, length: usize) -> Option<Action> {
        if run != self.supply.accepted || self.end.is_some() {
            return None;
        }
        if self.supply.frames > 0 {
            self.samples.end_after(length);
        }
        self.end = Some(end);
        self.demand(false)
    }

    /// Its source is no more: an answer to a seek will not come.
    pub(super) fn lose_source(&mut self) -> Run {
        self.supply.seek = None;
        self.supply.accepted
    }

    /// Whether what waits is dropped once its source goes on in this run.
    pub(super) fn breaks_off(&self, run: Run) -> bool {
        let elsewhere = |seek: &Seek| matches!(seek.purpose, Purpose::GoElsewhere);
        run == self.supply.run && self.supply.seek.as_ref().is_some_and(elsewhere)
    }

    /// Whether the source, which is at its end, is to be asked to start over. One that was empty is not.
    fn will_repeat(&self) -> bool {
        self.end == Some(TrackEnd::Finished)
            && self.settings.seekable
            && self.supply.frames > 0
            && self.supply.repeat.next().is_some()
    }

    fn ask(&mut self, to: Duration, purpose: Purpose) -> Action {
        let frames = match purpose {
            Purpose::GoElsewhere => self.read_ahead(),
            Purpose::StartOver => self.read_ahead().saturating_sub(self.samples.waiting()),
        };
        self.supply.run = self.supply.run.next();
        self.supply.seek = Some(Seek { frames, purpose });
        Action::Seek { track: self.id, run: self.supply.run, to, frames }
    }

    /// The source goes on elsewhere.
    pub(super) fn sought(&mut self, run: Run, at: Duration) -> Option<Action> {
        let seek = self.supply.seek.take_if(|_| run == self.supply.run)?;
        let supply = &mut self.supply;
        (supply.accepted, supply.credit, supply.frames) = (run, seek.frames, 0);
        (self.end, self.missing) = (None, 0);
        match seek.purpose {
            Purpose::StartOver => {
                supply.begins_loop = true;
                None
            }
            Purpose::GoElsewhere => {
                supply.begins_loop = false;
                supply.repeat = self.settings.repeat;
                self.clear();
                self.base = at;
                self.notices.moved(at);
                Some(Action::Seeked(self.id, at))
            }
        }
    }

    /// The source cannot go elsewhere, and goes on where it was.
    pub(super) fn seek_refused(&mut self, run: Run, why: String) -> Option<Action> {
        let seek = self.supply.seek.take_if(|_| run == self.supply.run)?;
        self.supply.accepted = run;
        self.supply.credit = 0;
        match seek.purpose {
            Purpose::StartOver => {
                self.end = Some(TrackEnd::Failed(why));
                None
            }
            Purpose::GoElsewhere => Some(Action::SeekRefused(self.id, why)),
        }
    }

    // What is asked of it.

    /// Carries out what needs nothing of others; `mixed` says whether what it does can be heard as a click.
    pub(super) fn command(&mut self, command: TrackCommand, mixed: bool) -> Option<Action> {
        match command {
            TrackCommand::Pause => return self.pause(),
            TrackCommand::Resume => return self.resume(mixed),
            TrackCommand::Volume(volume, over) => {
                let over = if self.begun { over.max(FRAME) } else { Duration::ZERO };
                self.volume.go(volume, over, Curve::Linear);
            }
            TrackCommand::Filters(filters) => {
                self.filtered.set(&filters, self.begun);
                self.settings.filters = filters;
            }
            TrackCommand::FadeIn(over, curve) => {
                let resumed = self.resume(false);
                self.fade_in(over, curve);
                return resumed;
            }
            TrackCommand::FadeOut(over, curve, after) => {
                self.fade.go(0.0, over, curve);
                self.after_fade = Some(match after {
                    AfterFade::Pause => Then::Pause,
                    AfterFade::Stop => Then::End(TrackEnd::Stopped),
                });
                // Nobody hears it fade.
                return if self.is_playing() && self.begun { None } else { self.end_fade() };
            }
            TrackCommand::Repeat(repeat) => self.repeat(repeat),
            TrackCommand::Seek(_) if !self.settings.seekable => {
                return Some(Action::SeekRefused(self.id, NOT_SEEKABLE.to_owned()));
            }
            TrackCommand::Seek(to) => {
                // It may have been about to start over.
                return Some(self.ask(to, Purpose::GoElsewhere));
            }
            TrackCommand::NotifyAt(at) => self.notices.at(at),
            TrackCommand::NotifyEvery(period) => self.notices.every(period, self.position()),
        }
        None
    }

    fn pause(&mut self) -> Option<Action> {
        // One that waits for another would begin by itself.
        let changes = self.play != Play::Paused;
        self.play = Play::Paused;
        changes.then_some(Action::Paused(self.id))
    }

    fn resume(&mut self, mixed: bool) -> Option<Action> {
        if self.play != Play::Paused {
            return None;
        }
        self.play = Play::Playing;
        self.missing = 0;
        self.after_fade = None;
        self.fade = Envelope::at(1.0);
        if mixed && self.begun {
            self.fade_in(FRAME, Curve::Linear);
        }
        Some(Action::Resumed(self.id))
    }

    fn repeat(&mut self, repeat: Repeat) {
        self.settings.repeat = repeat;
        let keep = match repeat {
            Repeat::Off => 0,
            Repeat::Times(times) => times as usize,
            Repeat::Forever => usize::MAX,
        };
        let coming = self.samples.loops_waiting() + usize::from(self.supply.begins_loop);
        self.supply.repeat = match repeat {
            Repeat::Times(times) => {
                Repeat::Times(times - times.min(u32::try_from(coming).unwrap_or(u32::MAX)))
            }
            other => other,
        };
        let starting_over =
            self.supply.seek.as_ref().is_some_and(|seek| matches!(seek.purpose, Purpose::StartOver));
        if self.samples.cut_loops(keep) || (coming + usize::from(starting_over) > keep) {
            // What the source supplies for the repetition is not wanted any more.
            self.supply.run = self.supply.run.next();
            self.supply.accepted = self.supply.run;
            (self.supply.credit, self.supply.seek, self.supply.begins_loop) = (0, None, false);
            self.end = Some(TrackEnd::Finished);
        }
    }

    pub(super) fn fade_in(&mut self, over: Duration, curve: Curve) {
        self.fade = Envelope::at(0.0);
        self.fade.go(1.0, over, curve);
        self.after_fade = None;
    }

    /// Fades out because another takes its place; it is over then, as if it had been played to its end.
    pub(super) fn give_way(&mut self, over: Duration) {
        self.fade.go(0.0, over, Curve::EqualPower);
        self.after_fade = Some(Then::End(TrackEnd::Finished));
    }

    /// Turned down to this factor on account of another.
    pub(super) fn duck(&mut self, to: f32, over: Duration) {
        if self.duck.target() != to {
            let over = if self.begun { over } else { Duration::ZERO };
            self.duck.go(to, over, Curve::Linear);
        }
    }

    pub(super) fn duck_target(&self) -> f32 {
        self.duck.target()
    }

    pub(super) fn ducking(&self) -> Option<Ducking> {
        self.settings.ducking.filter(|_| self.is_heard())
    }

    pub(super) fn stop(&mut self, end: TrackEnd) {
        self.clear();
        self.supply.seek = None;
        self.end = Some(end);
    }

    fn clear(&mut self) {
        self.samples.clear();
        self.filtered.clear();
    }

    /// Whether nothing is left to be heard of what is here.
    fn is_empty(&self) -> bool {
        self.samples.is_empty() && !self.filtered.holds()
    }

    /// What is heard of it next as far as that is known, turned down to silence: so that it can break off without a click.
    pub(super) fn tail(&self, tail: &mut Pcm) -> bool {
        let next = self.samples.next_decoded();
        if next.is_empty() || !self.is_playing() {
            return false;
        }
        let filtered;
        let next = if self.filtered.is_neutral() {
            next
        } else {
            filtered = self.filtered.preview(next);
            &filtered[..next.len()]
        };
        let gain = self.gain() / (next.len() / CHANNELS) as f32;
        let left = (0..next.len() / CHANNELS).rev();
        for ((sum, next), left) in tail.chunks_exact_mut(CHANNELS).zip(next.chunks_exact(CHANNELS)).zip(left)
        {
            sum.iter_mut().zip(next).for_each(|(sum, sample)| *sum += sample * gain * left as f32);
        }
        true
    }

    fn gain(&self) -> f32 {
        self.volume.level() * self.fade.level() * self.duck.level()
    }

    // Its turn after another.

    /// Whom it waits for, and for how long it is to be heard together with it.
    pub(super) fn waits_for(&self) -> Option<(TrackId, Duration)> {
        match self.settings.start {
            Start::After { track, crossfade } if self.play == Play::Waiting => Some((track, crossfade)),
            _ => None,
        }
    }

    /// Whether it can begin within a frame of the track before: packets begin at the next.
    pub(super) fn can_join(&self) -> bool {
        self.filtered.has_frame(&self.samples) && !self.samples.is_opus()
    }

    pub(super) fn begin(&mut self) {
        self.play = Play::Playing;
    }

    /// How long it will be heard, where that is known.
    pub(super) fn remaining(&self) -> Option<Duration> {
        if self.end.is_some() && !self.will_repeat() {
            return Some(self.heard_in(self.samples.lasts()));
        }
        let once = self.settings.repeat == Repeat::Off;
        let duration = self.settings.duration.filter(|_| once)?;
        Some(self.heard_in(duration.saturating_sub(self.position())))
    }

    fn heard_in(&self, time: Duration) -> Duration {
        time.div_f64(self.filtered.rate())
    }

    fn position(&self) -> Duration {
        self.base + self.samples.played()
    }

    // What is taken of it.

    /// The next packet, if it can go out as it is: Opus of 20 ms at volume 1, that fits into a datagram.
    pub(super) fn pass(&mut self) -> Option<Bytes> {
        if self.is_unchanged() && self.samples.can_pass() { self.samples.pass() } else { None }
    }

    pub(super) fn can_pass(&self) -> bool {
        self.is_unchanged() && self.samples.can_pass()
    }

    /// Adds what was heard of it before a mix begins, and what is mixed ahead of it; says whether it did.
    pub(super) fn lead_in(&mut self, ahead: usize, before: &mut [f32]) -> bool {
        // A track that begins with filters begins amid the mix.
        let leads = self.is_ready() && self.samples.can_lead() && (self.begun || self.filtered.is_neutral());
        if leads {
            self.samples.lead_in(ahead, self.gain(), before);
        }
        leads
    }

    /// Adds its next samples to the mix; `ahead` is by how much the mix is ahead of packets.
    pub(super) fn mix_into(&mut self, mix: &mut [f32], scratch: &mut Pcm, ahead: usize) {
        if !self.begun && self.samples.can_lead() && !self.samples.is_ahead() {
            self.samples.begin_amid(ahead);
        }
        let read = self.filtered.read(&mut self.samples, &mut scratch[..mix.len()]);
        let samples = scratch[..read * CHANNELS].iter();
        if [&self.volume, &self.fade, &self.duck].iter().all(|envelope| envelope.is_steady()) {
            let gain = self.gain();
            mix.iter_mut().zip(samples).for_each(|(sum, sample)| *sum += sample * gain);
        } else {
            let mut gains = [1.0; FRAME_SAMPLES];
            for envelope in [&mut self.volume, &mut self.fade, &mut self.duck] {
                envelope.scale(&mut gains);
            }
            let gains = gains.iter().flat_map(|gain| [gain; CHANNELS]);
            mix.iter_mut().zip(samples).zip(gains).for_each(|((sum, sample), gain)| *sum += sample * gain);
        }
        let whole = read * CHANNELS == mix.len();
        self.ended_within = (!whole && self.is_drained()).then_some(read);
    }

    /// How much of the last 20 ms it had when it ended amid them.
    pub(super) fn take_ended_within(&mut self) -> Option<usize> {
        self.ended_within.take()
    }

    /// What was mixed ahead is not heard: the mix has ended.
    pub(super) fn rewind(&mut self) {
        self.samples.rewind();
    }

    /// A frame was taken: what follows from it.
    pub(super) fn took(&mut self, refill: bool, actions: &mut VecDeque<Action>) {
        self.missing = 0;
        if !self.begun {
            self.begun = true;
            actions.push_back(Action::Started(self.id));
        }
        for _ in 0..self.samples.take_loops() {
            self.base = Duration::ZERO;
            self.settings.repeat = self.settings.repeat.next().unwrap_or_default();
            self.notices.moved(Duration::ZERO);
            actions.push_back(Action::Looped(self.id, self.settings.repeat));
        }
        let reached = self.notices.reached(self.position());
        actions.extend(reached.into_iter().map(|at| Action::Reached(self.id, at)));
        if self.after_fade.is_some() && self.fade.is_steady() {
            actions.extend(self.end_fade());
        }
        actions.extend(self.demand(refill));
    }

    /// Packets that did not decode since this was last asked.
    pub(super) fn take_errors(&mut self) -> u64 {
        self.samples.take_errors()
    }

    fn end_fade(&mut self) -> Option<Action> {
        match self.after_fade.take()? {
            Then::Pause => self.pause(),
            Then::End(end) => {
                self.stop(end);
                None
            }
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.end.is_some() && self.is_empty() && self.supply.seek.is_none() && !self.will_repeat()
    }

    /// The end of a track that has played all it had.
    pub(super) fn take_end(&mut self) -> Option<TrackEnd> {
        if self.is_drained() { self.end.take() } else { None }
    }
}

/// Frames that may be missing before a track counts as stalled: 100 ms.
const STALLED_FRAMES: u32 = 5;
const NOT_SEEKABLE: &str = "the source of the track cannot go on from elsewhere";
