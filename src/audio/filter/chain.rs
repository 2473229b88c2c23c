//! FilterChain: the filters of one track or one call.

use super::{
    levelling::Levelling,
    settings::{Filters, Timescale},
    stages::Stages,
    timescale::Stretcher,
};
use crate::audio::frame::{CHANNELS, FRAME_SAMPLES, Pcm};

/// The filters of one track or one call, which may change while it plays.
///
/// ```text
/// next ─▶ timescale ─▶ loudness ─▶ noise suppression, equaliser, karaoke, tremolo, vibrato, rotation, distortion,
///                                  channel mix, low-pass, volume ─▶ out
/// ```
///
/// What is changed is heard within 20 ms, in which the sound of before fades into that of now. Neutral filters cost nothing: frames
/// pass bit for bit. Otherwise samples that are no numbers become silence, and what is beyond 16 times full scale is cut off.
#[derive(Clone, Debug)]
pub struct FilterChain {
    asked: Filters,
    timescale: Option<Box<Stretcher>>,
    levelling: Levelling,
    /// None where they do nothing.
    stages: Option<Box<Stages>>,
    /// What is faded out with the next frame.
    before: Option<Option<Box<Stages>>>,
    scratch: Option<Pcm>,
    /// How much of what was pulled last is sound, in samples per channel; none before the first frame.
    length: Option<usize>,
}

impl FilterChain {
    /// Makes a chain that does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            asked: Filters::default(),
            timescale: None,
            levelling: Levelling::new(),
            stages: None,
            before: None,
            scratch: None,
            length: None,
        }
    }

    /// Makes a chain that does this from its first sample on.
    #[must_use]
    pub fn with(filters: &Filters) -> Self {
        let mut chain = Self::new();
        chain.set(filters);
        chain.before = None;
        chain
    }

    /// Does this from now on. Numbers out of their range count as the nearest within it.
    pub fn set(&mut self, filters: &Filters) {
        let filters = filters.bounded();
        if filters == self.asked {
            return;
        }
        self.set_timescale(filters.timescale.unwrap_or_default());
        self.levelling.set(filters.loudness);
        self.set_stages(&filters);
        self.asked = filters;
    }

    fn set_timescale(&mut self, wanted: Timescale) {
        match &mut self.timescale {
            Some(stretcher) if wanted == Timescale::default() => stretcher.finish(),
            Some(stretcher) => stretcher.set(wanted),
            None if wanted == Timescale::default() => {}
            none => *none = Some(Box::new(Stretcher::new(wanted))),
        }
    }

    fn set_stages(&mut self, filters: &Filters) {
        let mut wanted = filters.clone();
        (wanted.timescale, wanted.loudness) = (None, None);
        let now = self.stages.take();
        let at_rest = Stages::default();
        self.stages = (!wanted.is_neutral())
            .then(|| Box::new(Stages::new(&wanted, now.as_deref().unwrap_or(&at_rest))));
        // What is heard until now is what was there before the first of several changes.
        self.before.get_or_insert(now);
        self.scratch.get_or_insert_default();
    }

    /// Whether nothing is done to the sound, and nothing is inside: frames may as well pass without it.
    #[must_use]
    pub fn is_neutral(&self) -> bool {
        let Self { timescale, levelling, stages, before, .. } = self;
        timescale.is_none() && levelling.is_neutral() && stages.is_none() && before.is_none()
    }

    /// Seconds of the track that are used up by one second that is heard.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.timescale.as_ref().map_or(1.0, |stretcher| stretcher.rate())
    }

    /// Forgets what is inside, and goes on with the same filters: the sound goes on elsewhere.
    pub fn clear(&mut self) {
        let levelling = self.levelling.clone();
        *self = Self { levelling, ..Self::with(&self.asked) };
    }

    /// How many frames [`pull`](Self::pull) takes at most when it is called next: where there are so many, it does not take a
    /// missing one for the end.
    #[must_use]
    pub fn wants(&self) -> usize {
        self.timescale.as_ref().map_or(1, |stretcher| stretcher.wants())
    }

    /// Whether something is inside that would come out after the last frame.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.timescale.is_some() && self.length == Some(FRAME_SAMPLES)
    }

    /// Whether frames come out that are not those that went in, one by one.
    #[must_use]
    pub fn is_stretching(&self) -> bool {
        self.timescale.is_some()
    }

    /// How much of the frame that was pulled last is sound, in samples per channel: fewer than 960 at the end.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length.unwrap_or(0)
    }

    /// Fills `out` with the next 20 ms; says whether there was something left.
    ///
    /// Takes as many frames from `next` as it needs, which says whether it had one: with a timescale more than one, or none. After
    /// the last, what is still inside comes out, filled up with silence.
    pub fn pull(&mut self, out: &mut Pcm, mut next: impl FnMut(&mut Pcm) -> bool) -> bool {
        if self.is_neutral() {
            let had = next(out);
            self.length = Some(if had { FRAME_SAMPLES } else { 0 });
            return had;
        }
        if !self.stretch(out, &mut next) {
            return false;
        }
        out.iter_mut().for_each(make_finite);
        self.levelling.process(out);
        self.filter(out);
        out.iter_mut().for_each(make_finite);
        true
    }

    fn stretch(&mut self, out: &mut Pcm, next: &mut impl FnMut(&mut Pcm) -> bool) -> bool {
        let Some(stretcher) = &mut self.timescale else {
            let had = next(out);
            self.length = Some(if had { FRAME_SAMPLES } else { 0 });
            return had;
        };
        let length = stretcher.pull(out, |frame| {
            let had = next(frame);
            frame.iter_mut().for_each(make_finite);
            had
        });
        self.length = Some(length);
        if length == FRAME_SAMPLES {
            return true;
        }
        out[length * CHANNELS..].fill(0.0);
        if !stretcher.is_finishing() {
            return length > 0;
        }
        // The last of what was inside fades into what follows.
        self.timescale = None;
        let scratch = self.scratch.get_or_insert_default();
        let had = next(scratch);
        if had {
            let tail: [f32; FRAME_SAMPLES * CHANNELS] = **out;
            let stream = tail[..length * CHANNELS].iter().chain(scratch.iter());
            out.iter_mut().zip(stream).for_each(|(out, sample)| *out = *sample);
            fade(out, scratch);
            self.length = Some(FRAME_SAMPLES);
        }
        had || length > 0
    }

    fn filter(&mut self, out: &mut Pcm) {
        if let (Some(before), Some(scratch)) = (self.before.take(), &mut self.scratch) {
            scratch.copy_from_slice(&out[..]);
            self.stages.iter_mut().for_each(|stages| stages.process(scratch));
            before.into_iter().for_each(|mut stages| stages.process(out));
            fade(out, scratch);
        } else {
            self.stages.iter_mut().for_each(|stages| stages.process(out));
        }
    }
}

impl Default for FilterChain {
    fn default() -> Self {
        Self::new()
    }
}

/// From what it is to another, over 20 ms.
fn fade(pcm: &mut Pcm, to: &Pcm) {
    let pairs = pcm.chunks_exact_mut(CHANNELS).zip(to.chunks_exact(CHANNELS));
    for (nth, (pair, to)) in pairs.enumerate() {
        let share = (nth + 1) as f32 / FRAME_SAMPLES as f32;
        pair.iter_mut().zip(to).for_each(|(sample, to)| *sample += (to - *sample) * share);
    }
}

fn make_finite(sample: &mut f32) {
    *sample = if sample.is_nan() { 0.0 } else { sample.clamp(-LOUDEST, LOUDEST) };
}

/// What no sample goes beyond.
const LOUDEST: f32 = 16.0;
