//! Trim: leaves out what an encoder put around the sound, to the sample.

use super::event::Stream;

/// What of a stream's samples is to be heard.
pub(super) struct Trim {
    skip: u64,
    keep: Option<u64>,
    /// The rate in which these two count, until they count in the decoder's.
    unit: Option<u32>,
    drop_end: usize,
    /// The last samples, of which nobody knows yet whether they are the end.
    held: Vec<f32>,
}

impl Trim {
    pub(super) fn new(stream: &Stream) -> Self {
        let drop_end = usize::try_from(stream.drop_end).unwrap_or(usize::MAX).min(MAX_DROPPED);
        Self { skip: stream.skip, keep: stream.keep, unit: stream.unit, drop_end, held: Vec::new() }
    }

    /// Takes interleaved samples, and returns those of them and of the ones before that are to be heard now.
    pub(super) fn pass<'a>(&mut self, samples: &'a mut Vec<f32>, channels: usize, rate: u32) -> &'a [f32] {
        if let Some(unit) = self.unit.take().filter(|&unit| unit > 0 && unit != rate) {
            let scaled = |length: u64| {
                u64::try_from(u128::from(length) * u128::from(rate) / u128::from(unit)).unwrap_or(u64::MAX)
            };
            (self.skip, self.keep) = (scaled(self.skip), self.keep.map(scaled));
        }
        let there = (samples.len() / channels) as u64;
        let skipped = self.skip.min(there);
        self.skip -= skipped;
        let kept = self.keep.map_or(there - skipped, |keep| keep.min(there - skipped));
        self.keep = self.keep.map(|keep| keep - kept);
        samples.truncate((skipped + kept) as usize * channels);
        if self.drop_end == 0 {
            return &samples[skipped as usize * channels..];
        }
        // What is held comes first, and as much is held again.
        let held = std::mem::take(&mut self.held);
        samples.splice(..skipped as usize * channels, held);
        let split = samples.len().saturating_sub(self.drop_end * channels);
        self.held = samples[split..].to_vec();
        &samples[..split]
    }
}

/// The longest end that is left out: encoders fill up a frame or two. Twelve bits of a tag hold no more.
const MAX_DROPPED: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use symphonia::core::codecs::audio::AudioCodecParameters;

    /// Passes the numbers from 0 on through, as stereo, a few at a time.
    fn passed(change: impl Fn(&mut Stream), rate: u32) -> Vec<f32> {
        let mut stream = Stream::new(AudioCodecParameters::new());
        change(&mut stream);
        let mut trim = Trim::new(&stream);
        let mut heard = Vec::new();
        for part in (0..1_000).collect::<Vec<u16>>().chunks(130) {
            let mut samples = part.iter().flat_map(|&number| [f32::from(number); 2]).collect();
            heard.extend(trim.pass(&mut samples, 2, rate).iter().step_by(2));
        }
        heard
    }

    #[test]
    fn start_and_end_are_left_out_to_the_sample() {
        let numbers = |from: u16, to: u16| (from..to).map(f32::from).collect::<Vec<_>>();
        assert_eq!(passed(|_| {}, 48_000), numbers(0, 1_000));
        assert_eq!(passed(|stream| stream.skip = 300, 48_000), numbers(300, 1_000));
        let both = |stream: &mut Stream| (stream.skip, stream.keep) = (140, Some(500));
        assert_eq!(passed(both, 48_000), numbers(140, 640));
        let end = |stream: &mut Stream| (stream.skip, stream.drop_end) = (1, 300);
        assert_eq!(passed(end, 48_000), numbers(1, 700));
        let coarse =
            |stream: &mut Stream| (stream.skip, stream.keep, stream.unit) = (10, Some(20), Some(1_000));
        assert_eq!(passed(coarse, 10_000), numbers(100, 300));
    }
}
