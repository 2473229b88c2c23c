//! What is done to the sound: names, ranges and defaults.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// What is done to the sound, with the names and parameters of Lavalink's filters; nothing unless it is asked for.
///
/// In JSON the names are in camel case, fields that are left out have their default, and unknown ones are refused:
///
/// ```
/// use actix_voice::audio::filter::Filters;
///
/// let json = r#"{"timescale": {"speed": 1.2}, "equalizer": [{"band": 3, "gain": 0.25}]}"#;
/// let filters: Filters = serde_json::from_str(json)?;
/// assert_eq!(filters, "timescale.speed=1.2,equalizer.3=0.25".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Filters {
    /// The factor of the amplitude, 0 to 5.
    pub volume: Option<f32>,
    /// Louder or less loud in up to 15 bands, 25 Hz to 16 kHz; those that are left out stay as they are.
    pub equalizer: Vec<EqualizerBand>,
    /// The middle, where singers are, taken away.
    pub karaoke: Option<Karaoke>,
    /// Faster, slower, higher, lower.
    pub timescale: Option<Timescale>,
    /// A loudness that trembles.
    pub tremolo: Option<Tremolo>,
    /// A pitch that trembles.
    pub vibrato: Option<Vibrato>,
    /// The sound goes round the listener.
    pub rotation: Option<Rotation>,
    /// The waveform bent.
    pub distortion: Option<Distortion>,
    /// How much of each channel is heard on each side.
    pub channel_mix: Option<ChannelMix>,
    /// High tones taken away.
    pub low_pass: Option<LowPass>,
    /// As loud as others, by EBU R128.
    pub loudness: Option<Loudness>,
    /// Noise taken out of a voice; with the feature `denoise` only.
    pub noise_suppression: bool,
}

/// One band of the equaliser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EqualizerBand {
    /// Which, 0 to 14; see [`BANDS`] for their centres.
    pub band: u8,
    /// The amplitude at its centre becomes `1 + 4 × gain` times as large: −0.25 mutes it, 0.25 doubles it, 1.0 is 14 dB.
    pub gain: f32,
}

/// The centres of the equaliser's bands, in hertz. Each is two thirds of an octave wide.
pub const BANDS: [f32; 15] = [
    25.0, 40.0, 63.0, 100.0, 160.0, 250.0, 400.0, 630.0, 1_000.0, 1_600.0, 2_500.0, 4_000.0, 6_300.0,
    10_000.0, 16_000.0,
];

/// Settings all of whose fields are numbers, each with its default and its range.
macro_rules! parameters {
    ($($(#[$about:meta])* $name:ident as $filter:literal {
        $($(#[$of_field:meta])* $field:ident as $text:literal = $default:literal, $range:expr;)*
    })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name { $($(#[$of_field])* pub $field: f32,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            fn visit(&mut self, see: &mut impl FnMut(Parameter<'_>)) {
                $(see(Parameter {
                    filter: $filter,
                    field: $text,
                    value: &mut self.$field,
                    default: $default,
                    range: $range,
                });)*
            }
        }
    )*};
}

parameters! {
    /// Takes away what both channels have in common, and leaves a band of it.
    Karaoke as "karaoke" {
        /// How much of the middle is taken away.
        level as "level" = 1.0, 0.0..=1.0;
        /// How much of the band in the middle stays.
        mono_level as "monoLevel" = 1.0, 0.0..=1.0;
        /// The centre of that band, in hertz.
        filter_band as "filterBand" = 220.0, 1.0..=20_000.0;
        /// Its width, in hertz.
        filter_width as "filterWidth" = 100.0, 1.0..=20_000.0;
    }

    /// How fast and how high. `speed × rate` and `pitch × rate` are at most 10, and at least 0.1.
    Timescale as "timescale" {
        /// How many times as fast; the pitch stays.
        speed as "speed" = 1.0, 0.1..=10.0;
        /// How many times as high; the speed stays.
        pitch as "pitch" = 1.0, 0.1..=10.0;
        /// How many times as fast and as high, as a record that turns faster.
        rate as "rate" = 1.0, 0.1..=10.0;
    }

    /// Turns the sound up and down.
    Tremolo as "tremolo" {
        /// How often a second.
        frequency as "frequency" = 2.0, 0.01..=100.0;
        /// How far down: to `1 − depth` of the amplitude.
        depth as "depth" = 0.5, 0.0..=1.0;
    }

    /// Turns the pitch up and down.
    Vibrato as "vibrato" {
        /// How often a second.
        frequency as "frequency" = 2.0, 0.01..=14.0;
        /// How far: the sound comes up to `depth × 2` ms late.
        depth as "depth" = 0.5, 0.0..=1.0;
    }

    /// Turns one side down while the other is turned up.
    Rotation as "rotation" {
        /// Rounds a second; below zero the other way round.
        rotation_hz as "rotationHz" = 0.0, -100.0..=100.0;
    }

    /// Bends the waveform: a sample `x` becomes `offset + scale × (sinOffset + sin(sinScale × x)) × (cosOffset +
    /// cos(cosScale × x)) × (tanOffset + tan(tanScale × x))`, cut off at full scale. With nothing but defaults it is off.
    Distortion as "distortion" {
        /// Added to the sine.
        sin_offset as "sinOffset" = 0.0, -100.0..=100.0;
        /// A factor within the sine.
        sin_scale as "sinScale" = 1.0, -100.0..=100.0;
        /// Added to the cosine.
        cos_offset as "cosOffset" = 0.0, -100.0..=100.0;
        /// A factor within the cosine.
        cos_scale as "cosScale" = 1.0, -100.0..=100.0;
        /// Added to the tangent.
        tan_offset as "tanOffset" = 0.0, -100.0..=100.0;
        /// A factor within the tangent.
        tan_scale as "tanScale" = 1.0, -100.0..=100.0;
        /// Added to all.
        offset as "offset" = 0.0, -100.0..=100.0;
        /// A factor of all.
        scale as "scale" = 1.0, -100.0..=100.0;
    }

    /// How much of each channel is heard on each side.
    ChannelMix as "channelMix" {
        /// Of the left on the left.
        left_to_left as "leftToLeft" = 1.0, 0.0..=1.0;
        /// Of the left on the right.
        left_to_right as "leftToRight" = 0.0, 0.0..=1.0;
        /// Of the right on the left.
        right_to_left as "rightToLeft" = 0.0, 0.0..=1.0;
        /// Of the right on the right.
        right_to_right as "rightToRight" = 1.0, 0.0..=1.0;
    }

    /// Takes high tones away: every sample goes only a part of the way to where the sound is.
    LowPass as "lowPass" {
        /// That part is `1 / smoothing`; at 1 and below it is off.
        smoothing as "smoothing" = 20.0, 0.0..=10_000.0;
    }
}

/// Makes the sound as loud as others, by EBU R128.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loudness {
    /// How loud it shall be, in LUFS.
    pub target: f32,
    /// How loud the whole is, in LUFS, where that was [measured](crate::audio::loudness::measure): it is turned up or down once.
    /// Otherwise the gain follows what is heard, slowly: it falls by at most 12 dB a second and rises by at most 3.
    pub measured: Option<f32>,
}

impl Default for Loudness {
    fn default() -> Self {
        Self { target: -16.0, measured: None }
    }
}

/// Why filters are refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A number is out of its range.
    #[error("{filter}.{field} is {value}, and can be {} to {}", .range.0, .range.1)]
    OutOfRange {
        /// The filter.
        filter: &'static str,
        /// Its field.
        field: &'static str,
        /// What was asked for.
        value: f32,
        /// The least and the most.
        range: (f32, f32),
    },
    /// There is no such band.
    #[error("equalizer.{0} is none of the 15 bands, which are 0 to 14")]
    NoSuchBand(u8),
    /// This build cannot take noise away.
    #[error("noise suppression is not in this build: build it with the feature `denoise`")]
    NoDenoise,
    /// What was written is not understood.
    #[error("{0}")]
    NotUnderstood(String),
}

/// One number among the settings.
struct Parameter<'a> {
    filter: &'static str,
    field: &'static str,
    value: &'a mut f32,
    default: f32,
    range: RangeInclusive<f32>,
}

impl Filters {
    /// Whether nothing is done to the sound.
    #[must_use]
    pub fn is_neutral(&self) -> bool {
        let Self { volume, karaoke, timescale, tremolo, vibrato, rotation, .. } = self;
        let Self { distortion, channel_mix, low_pass, loudness, noise_suppression, .. } = self;
        volume.is_none_or(|volume| volume == 1.0)
            && self.equalizer.iter().all(|band| band.gain == 0.0)
            && karaoke.is_none_or(|karaoke| karaoke.level == 0.0)
            && timescale.is_none_or(|timescale| timescale == Timescale::default())
            && tremolo.is_none_or(|tremolo| tremolo.depth == 0.0)
            && vibrato.is_none_or(|vibrato| vibrato.depth == 0.0)
            && rotation.is_none_or(|rotation| rotation.rotation_hz == 0.0)
            && distortion.is_none_or(|distortion| distortion == Distortion::default())
            && channel_mix.is_none_or(|mix| mix == ChannelMix::default())
            && low_pass.is_none_or(|low_pass| low_pass.smoothing <= 1.0)
            && loudness.is_none()
            && !noise_suppression
    }

    /// Whether every number is within its range, and every filter in this build.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), FilterError> {
        if let Some(band) = self.equalizer.iter().find(|band| usize::from(band.band) >= BANDS.len()) {
            return Err(FilterError::NoSuchBand(band.band));
        }
        let mut first = None;
        self.clone().visit(&mut |Parameter { filter, field, value, range, .. }| {
            if first.is_none() && !range.contains(value) {
                let range = (*range.start(), *range.end());
                first = Some(FilterError::OutOfRange { filter, field, value: *value, range });
            }
        });
        if first.is_none() && self.noise_suppression && !cfg!(feature = "denoise") {
            first = Some(FilterError::NoDenoise);
        }
        first.map_or(Ok(()), Err)
    }

    /// The nearest that [`check`](Self::check) finds right.
    pub(super) fn bounded(&self) -> Self {
        let mut bounded = self.clone();
        bounded.equalizer.retain(|band| usize::from(band.band) < BANDS.len());
        bounded.visit(&mut |Parameter { value, default, range, .. }| {
            *value = if value.is_nan() { default } else { value.clamp(*range.start(), *range.end()) };
        });
        bounded.noise_suppression &= cfg!(feature = "denoise");
        bounded
    }

    fn visit(&mut self, see: &mut impl FnMut(Parameter<'_>)) {
        let mut one = |filter, field, value: &mut f32, default, range| {
            see(Parameter { filter, field, value, default, range });
        };
        if let Some(volume) = &mut self.volume {
            one("volume", "volume", volume, 1.0, 0.0..=5.0);
        }
        for band in &mut self.equalizer {
            one("equalizer", "gain", &mut band.gain, 0.0, -0.25..=1.0);
        }
        if let Some(Loudness { target, measured }) = &mut self.loudness {
            one("loudness", "target", target, -16.0, -70.0..=0.0);
            if let Some(measured) = measured {
                one("loudness", "measured", measured, -16.0, -70.0..=30.0);
            }
        }
        if let Some(Timescale { speed, pitch, rate }) = &mut self.timescale {
            let (mut whole, mut height) = (*speed * *rate, *pitch * *rate);
            one("timescale", "speed × rate", &mut whole, 1.0, 0.1..=10.0);
            one("timescale", "pitch × rate", &mut height, 1.0, 0.1..=10.0);
        }
        self.karaoke.iter_mut().for_each(|karaoke| karaoke.visit(see));
        self.timescale.iter_mut().for_each(|timescale| timescale.visit(see));
        self.tremolo.iter_mut().for_each(|tremolo| tremolo.visit(see));
        self.vibrato.iter_mut().for_each(|vibrato| vibrato.visit(see));
        self.rotation.iter_mut().for_each(|rotation| rotation.visit(see));
        self.distortion.iter_mut().for_each(|distortion| distortion.visit(see));
        self.channel_mix.iter_mut().for_each(|mix| mix.visit(see));
        self.low_pass.iter_mut().for_each(|low_pass| low_pass.visit(see));
    }
}
