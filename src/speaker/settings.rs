//! What a track is played like, and what can be asked of it while it plays.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::envelope::Curve;
use crate::{audio::filter::Filters, gateway::payload::SpeakingFlags};

/// The name of one track, unique in its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

/// What a track is played like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrackSettings {
    /// How it speaks: microphone unless said otherwise.
    pub flags: SpeakingFlags,
    /// The factor of its amplitude; 1.0 as it comes.
    pub volume: f32,
    /// How far its source works ahead.
    pub read_ahead: ReadAhead,
    /// When it begins.
    pub start: Start,
    /// Where it begins.
    pub start_at: Duration,
    /// From silence to its volume in this time.
    pub fade_in: Duration,
    /// Whether it is played again.
    pub repeat: Repeat,
    /// What it does to the others while it is heard.
    pub ducking: Option<Ducking>,
    /// What is done to its sound.
    pub filters: Filters,
    /// Whether its source can be asked to go on from elsewhere.
    pub seekable: bool,
    /// How long it lasts, where that is known.
    pub duration: Option<Duration>,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self {
            flags: SpeakingFlags::MICROPHONE,
            volume: 1.0,
            read_ahead: ReadAhead::Stored,
            start: Start::Now,
            start_at: Duration::ZERO,
            fade_in: Duration::ZERO,
            repeat: Repeat::Off,
            ducking: None,
            filters: Filters::default(),
            seekable: false,
            duration: None,
        }
    }
}

/// How much of a track waits at the speaker. Sources are asked for more before half of it is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadAhead {
    /// 500 ms: for what is there already, such as a file.
    #[default]
    Stored,
    /// 100 ms: for what comes into being as it is heard, such as a microphone.
    Live,
}

impl ReadAhead {
    /// Frames of 20 ms.
    pub const fn frames(self) -> usize {
        match self {
            Self::Stored => 25,
            Self::Live => 5,
        }
    }
}

/// When a track begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// As soon as it has something to play.
    #[default]
    Now,
    /// When it is resumed.
    Paused,
    /// When another track is over, without a gap; its first frames are fetched before.
    After {
        /// The other; if it is over already, the track begins at once.
        track: TrackId,
        /// How long before the other's end it begins, fading in while the other fades out, both of equal power. Shorter
        /// where the other's end is not known so early: of a track without a duration it is half a second before.
        crossfade: Duration,
    },
}

/// Whether a track is played again when it is at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Repeat {
    /// It is not.
    #[default]
    Off,
    /// So many times more.
    Times(u32),
    /// Until it is stopped.
    Forever,
}

impl Repeat {
    /// What is left of it after one more time; none if there was none left.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Off | Self::Times(0) => None,
            Self::Times(left) => Some(Self::Times(left - 1)),
            Self::Forever => Some(Self::Forever),
        }
    }
}

/// What a track does to the others while it is heard: they are turned down, and up again afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ducking {
    /// The factor of their amplitude.
    pub depth: f32,
    /// How long it takes to turn them down.
    pub attack: Duration,
    /// How long it takes to turn them up again.
    pub release: Duration,
}

impl Ducking {
    /// Turns the others down by so many dB: within 100 ms, and up again within half a second.
    #[must_use]
    pub fn by_db(db: f32) -> Self {
        Self {
            depth: gain_of_db(-db.abs()),
            attack: Duration::from_millis(100),
            release: Duration::from_millis(500),
        }
    }

    /// How long it takes to turn the others down, and up again.
    #[must_use]
    pub fn times(self, attack: Duration, release: Duration) -> Self {
        Self { attack, release, ..self }
    }
}

/// The factor of amplitude that is so many dB.
#[must_use]
pub fn gain_of_db(db: f32) -> f32 {
    10_f32.powf(db / 20.0)
}

/// What is asked of a track while it plays.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TrackCommand {
    /// Keep silent, and go on from here when it is resumed.
    Pause,
    /// Go on.
    Resume,
    /// Another factor of the amplitude, reached in this time; 20 ms at least.
    Volume(f32, Duration),
    /// Other filters, heard within 20 ms.
    Filters(Filters),
    /// Become silent in this time, and then stop or pause.
    FadeOut(Duration, Curve, AfterFade),
    /// Become as loud as the volume says in this time, from silence if it was paused.
    FadeIn(Duration, Curve),
    /// Whether it is played again at its end.
    Repeat(Repeat),
    /// Go on from there. What its source answers is told by `Action::Seeked` or `Action::SeekRefused`.
    Seek(Duration),
    /// Tell when it has come so far.
    NotifyAt(Duration),
    /// Tell each time it has come so much further.
    NotifyEvery(Duration),
}

/// What follows when a track has faded out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFade {
    /// It is over.
    Stop,
    /// It is paused.
    Pause,
}

/// Where a track is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrackState {
    /// How much of it was played: of its own time, so that a seek moves it, and playing it again takes it back to zero.
    pub position: Duration,
    /// How long it lasts, where that is known.
    pub duration: Option<Duration>,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether its first frame was sent.
    pub started: bool,
    /// The factor of its amplitude, as it was asked for.
    pub volume: f32,
    /// How often it will be played again.
    pub repeat: Repeat,
}
