//! Player: plays one speaker on a clock of 20 ms, as even as it can, and as soon.
//!
//! ```text
//!            a packet has waited long enough
//!   Pausing ─────────────────────────────────▶ Playing ── too much waits: shorter; too little: longer
//!      ▲                                          │
//!      └──────────────────────────────────────────┘
//!        silence, a pause, or nothing came for 120 ms
//! ```

use std::time::{Duration, Instant};

use super::{
    Counts, Packet,
    delay::DelayEstimator,
    is_silence,
    order::{Insertion, Order, Waiting},
};
use crate::audio::{
    frame::{FRAME, FRAME_SAMPLES, SAMPLE_RATE},
    opus,
    stretch::{self, Layout},
};

/// What makes samples of packets.
pub trait Decode {
    /// Appends the samples of a packet; none if it cannot be decoded.
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>);
    /// Appends so many lost samples at 48 kHz, of which the end is the packet before `next`.
    fn recover(&mut self, next: &[u8], lost: u32, out: &mut Vec<f32>);
    /// Appends what may have been in so many lost samples at 48 kHz.
    fn conceal(&mut self, lost: u32, out: &mut Vec<f32>);
}

impl Decode for opus::Decoder {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) {
        // A packet that libopus refuses leaves a hole, which is played as one.
        let _ = self.decode(Some(packet), out);
    }

    fn recover(&mut self, next: &[u8], lost: u32, out: &mut Vec<f32>) {
        let _ = self.recover(next, lost, out);
    }

    fn conceal(&mut self, lost: u32, out: &mut Vec<f32>) {
        let _ = self.conceal(lost, out);
    }
}

/// The machine of one speaker for people who listen.
#[derive(Debug)]
pub struct Player {
    order: Order,
    delay: DelayEstimator,
    layout: Layout,
    state: State,
    /// Decoded, and not played yet.
    pcm: Vec<f32>,
    line: u64,
    counts: Counts,
    /// Ticks until the signal may be stretched again.
    rest: u32,
    spoken: Spoken,
    slipped: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Pausing,
    Playing {
        /// Samples at 48 kHz that were made up since a packet was decoded.
        made_up: u32,
    },
}

/// What was decoded last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Spoken {
    /// By SILK, alone or with CELT above it: speech.
    Speech,
    /// By CELT alone: music, or speech at a high bitrate.
    #[default]
    Music,
    Silence,
}

/// What was played in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Played {
    /// How often media time started over.
    pub line: u64,
    /// The media time of the first sample.
    pub time: u64,
    /// How long after the fastest packet of late the first sample is played.
    pub delay: Duration,
    /// Whether all of it was sent so, and came.
    pub quality: Quality,
}

/// How true to what was said a tick is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    /// It was sent so, and came.
    Decoded,
    /// Some of it was lost, and decoded from the copy in the packet after it.
    Recovered,
    /// Some of it was made up.
    Concealed,
}

impl Player {
    /// Plays samples of this shape.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            order: Order::default(),
            delay: DelayEstimator::new(),
            layout,
            state: State::Pausing,
            pcm: Vec::new(),
            line: 1,
            counts: Counts::default(),
            rest: 0,
            spoken: Spoken::default(),
            slipped: Vec::new(),
        }
    }

    /// A packet came.
    pub fn packet(&mut self, packet: Packet, now: Instant) {
        self.counts.received += 1;
        let arrived = packet.arrived;
        let (insertion, place) = self.order.insert_and_place(packet, now);
        match insertion {
            Insertion::Queued | Insertion::Late => {}
            Insertion::Duplicate => self.counts.duplicates += 1,
            Insertion::Malformed => self.counts.malformed += 1,
        }
        self.counts.late += u64::from(insertion == Insertion::Late);
        if let (Insertion::Queued | Insertion::Late, Some((time, is_break))) = (insertion, place) {
            if is_break {
                self.delay.start_over();
            }
            self.delay.packet(time, arrived);
        }
    }

    /// Plays the next 20 ms into `out`, which is replaced. None while the speaker pauses.
    pub fn tick(&mut self, now: Instant, decoder: &mut impl Decode, out: &mut Vec<f32>) -> Option<Played> {
        out.clear();
        if matches!(self.state, State::Pausing) && !self.begin(now) {
            return None;
        }
        let mut quality = Quality::Decoded;
        let wanted = self.samples_of(FRAME_SAMPLES as u32) * self.layout.channels;
        self.fill(wanted, decoder, &mut quality);
        if self.pcm.is_empty() {
            return None;
        }
        let time = self.position();
        // What is of a line of time that is over has no delay that could be told.
        let delay = if self.order.breaks_ahead() { 0 } else { self.delay.delay_of(time, now) };
        self.adapt(now, wanted, decoder);
        self.fill_up(wanted);
        let take = wanted.min(self.pcm.len());
        out.extend(self.pcm.drain(..take));
        out.resize(wanted, 0.0);
        let delay = Duration::from_micros(u64::try_from(delay).unwrap_or(0)).min(LONGEST_TOLD);
        Some(Played { line: self.line, time, delay, quality })
    }

    /// Whether nothing is to be played, now or soon.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Pausing) && self.order.front().is_none()
    }

    /// What became of the packets.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long packets are to wait.
    pub fn target(&self) -> Duration {
        self.delay.target()
    }

    /// Begins to play if the first packet has waited long enough.
    fn begin(&mut self, now: Instant) -> bool {
        let Some(front) = self.order.front() else { return false };
        let target = self.delay.target().as_micros() as i64;
        let over = self.order.breaks_behind_front();
        // Whatever its timestamp says.
        let overdue = now.saturating_duration_since(front.queued) >= LONGEST_WAIT;
        if !over && !overdue && self.delay.delay_of(front.time, now) < target {
            return false;
        }
        if self.order.breaks_here() {
            self.line += 1;
            self.skip_all();
        }
        // Of what was lost before the first word nothing can be made but the end of it.
        while self.order.missing().is_some_and(|missing| missing.packets > 1 || !missing.adjoins) {
            self.skip_one();
        }
        self.order.pause_before_front();
        self.state = State::Playing { made_up: 0 };
        true
    }

    /// The media time of the next sample that is played.
    fn position(&self) -> u64 {
        let waiting = (self.pcm.len() / self.layout.channels) as u64 * u64::from(SAMPLE_RATE)
            / u64::from(self.layout.hertz);
        self.order.next_time().unwrap_or(0).saturating_sub(waiting)
    }

    /// Decodes until so many samples wait, of all channels, or nothing more can be decoded.
    fn fill(&mut self, wanted: usize, decoder: &mut impl Decode, quality: &mut Quality) {
        while self.pcm.len() < wanted {
            let State::Playing { made_up } = self.state else { return };
            if let Some(missing) = self.order.missing() {
                self.make_good(missing.packets, missing.adjoins, decoder, quality);
                continue;
            }
            let Some(front) = self.order.front() else {
                if self.spoken == Spoken::Silence || made_up >= MAX_MADE_UP {
                    return self.pause();
                }
                if self.pcm.len() >= wanted - wanted / LITTLE {
                    return;
                }
                let lacking = ((wanted - self.pcm.len()) / self.layout.channels) as u32;
                let lacking = (lacking * (SAMPLE_RATE / self.layout.hertz)).next_multiple_of(SHORTEST_FRAME);
                let before = self.pcm.len();
                decoder.conceal(lacking, &mut self.pcm);
                if self.pcm.len() == before {
                    return self.pause();
                }
                self.counts.underruns += 1;
                self.state = State::Playing { made_up: made_up + lacking };
                *quality = Quality::Concealed;
                continue;
            };
            let pauses = |next| front.time >= next + FRAME_SAMPLES as u64;
            if self.order.breaks_here() || self.order.next_time().is_some_and(pauses) {
                return self.pause();
            }
            self.play_front(decoder);
        }
    }

    fn play_front(&mut self, decoder: &mut impl Decode) {
        let Some(Waiting { opus, .. }) = self.order.pop() else { return };
        decoder.decode(&opus, &mut self.pcm);
        self.state = State::Playing { made_up: 0 };
        self.spoken = match opus.first() {
            _ if is_silence(&opus) => Spoken::Silence,
            Some(&toc) if opus::is_celt(toc) => Spoken::Music,
            _ => Spoken::Speech,
        };
    }

    /// Puts something in the place of one lost packet.
    fn make_good(&mut self, packets: u32, adjoins: bool, decoder: &mut impl Decode, quality: &mut Quality) {
        let Some(front) = self.order.front() else { return };
        let next = front.opus.clone();
        let last = packets == 1 && adjoins;
        let lost = self.skip_one();
        if last && opus::has_redundancy(&next) {
            decoder.recover(&next, lost, &mut self.pcm);
            self.counts.recovered += 1;
            *quality = (*quality).max(Quality::Recovered);
        } else {
            decoder.conceal(lost, &mut self.pcm);
            self.counts.concealed += 1;
            *quality = Quality::Concealed;
        }
        if packets > MAX_MADE_UP / FRAME_SAMPLES as u32 && !last {
            // The network was away: nothing can be made up for so long.
            self.skip_all();
            self.pause();
        }
    }

    fn skip_one(&mut self) -> u32 {
        self.counts.lost += 1;
        self.order.skip_one()
    }

    fn skip_all(&mut self) {
        self.counts.lost += self.order.missing().map_or(0, |missing| missing.packets.into());
        self.order.skip_missing();
    }

    fn pause(&mut self) {
        self.state = State::Pausing;
        self.rest = 0;
    }

    /// Stretches what waits, so that it waits as long as it should.
    fn adapt(&mut self, now: Instant, wanted: usize, decoder: &mut impl Decode) {
        self.rest = self.rest.saturating_sub(1);
        let goes_on = matches!(self.state, State::Playing { made_up: 0 }) && !self.order.breaks_ahead();
        if self.rest > 0 || !goes_on {
            return;
        }
        let excess = self.next_delay(now, wanted) - self.delay.target().as_micros() as i64;
        if excess.abs() < SLIP_FROM {
            return;
        }
        let (too_late, too_soon) = (excess > MAX_EXCESS, excess < -MAX_LACK);
        let in_rate = self.spoken != Spoken::Music || excess > FAR_BEHIND;
        let needed = self.samples_of(30 * SAMPLE_RATE / 1_000) * self.layout.channels + wanted;
        if (too_late || too_soon) && in_rate {
            // Enough to find a period in, if it is there already.
            while self.pcm.len() < needed && self.order.can_go_on() {
                self.play_front(decoder);
            }
            let changed = if too_late && self.pcm.len() >= needed {
                stretch::shorten(&mut self.pcm, self.layout)
            } else if too_soon {
                stretch::lengthen(&mut self.pcm, self.layout)
            } else {
                0
            };
            if changed > 0 {
                self.rest = if excess > FAR_BEHIND { 1 } else { TICKS_OF_REST };
                return;
            }
        }
        self.slip(excess, wanted, decoder);
    }

    /// How long after the fastest packet of late the next packet will be decoded, if it comes in time.
    fn next_delay(&self, now: Instant, wanted: usize) -> i64 {
        let ticks = (self.pcm.len() / wanted) as u32;
        self.order.next_time().map_or(0, |next| self.delay.delay_of(next, now + FRAME * ticks))
    }

    /// Where a little is lacking, the rest is read more slowly.
    fn fill_up(&mut self, wanted: usize) {
        let (have, channels) = (self.pcm.len(), self.layout.channels);
        if have < wanted && have >= wanted - wanted / LITTLE && matches!(self.state, State::Playing { .. }) {
            self.slipped.clear();
            stretch::slip(&self.pcm, self.layout, wanted / channels, &mut self.slipped);
            std::mem::swap(&mut self.pcm, &mut self.slipped);
        }
    }

    /// Makes one sample more or less of the next tick.
    fn slip(&mut self, excess: i64, wanted: usize, decoder: &mut impl Decode) {
        let samples = wanted / self.layout.channels;
        let read = if excess > 0 { samples + 1 } else { samples - 1 };
        let read = read * self.layout.channels;
        // The next packet is then needed a tick earlier.
        if self.pcm.len() < read && excess > SLIP_FROM + FRAME.as_micros() as i64 && self.order.can_go_on() {
            self.play_front(decoder);
        }
        if self.pcm.len() < read {
            return;
        }
        self.slipped.clear();
        stretch::slip(&self.pcm[..read], self.layout, samples, &mut self.slipped);
        self.pcm.splice(..read, self.slipped.drain(..));
        self.rest = TICKS_OF_SLIP;
    }

    /// So many samples at 48 kHz at the rate that is played.
    fn samples_of(&self, samples: u32) -> usize {
        (u64::from(samples) * u64::from(self.layout.hertz) / u64::from(SAMPLE_RATE)) as usize
    }
}

/// How long a packet waits at most to be the first that is played.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest delay that is told: nothing is held for longer.
const LONGEST_TOLD: Duration = Duration::from_secs(2);
/// One part in so many of a tick may lack without anything being made up for it.
const LITTLE: usize = 20;
/// The shortest that can be made up, in samples at 48 kHz.
const SHORTEST_FRAME: u32 = 120;
/// What is made up in a row, in samples at 48 kHz: 120 ms.
const MAX_MADE_UP: u32 = 5_760;
/// How much longer than it should, and shorter, a frame may wait before the signal is stretched, in microseconds.
const MAX_EXCESS: i64 = 20_000;
const MAX_LACK: i64 = 8_000;
/// Above this excess the signal is stretched as often as can be, and music too.
const FAR_BEHIND: i64 = 100_000;
/// From here on a sample is left out or added now and then.
const SLIP_FROM: i64 = 5_000;
/// Ticks between two stretches: 100 ms.
const TICKS_OF_REST: u32 = 5;
/// Ticks between two slips: with one sample of 1,920, 520 millionths.
const TICKS_OF_SLIP: u32 = 2;

#[cfg(test)]
mod tests;
