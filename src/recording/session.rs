//! Session: what `session.json` says.

use serde::{Deserialize, Serialize};

use super::{RecordingFile, Settings, TrackCounts};
use crate::id::{ChannelId, GuildId, UserId};

/// What is known of a recording: the contents of `session.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// The version of this format: 1.
    pub version: u32,
    /// What wrote it.
    pub software: String,
    /// The guild.
    pub guild: GuildId,
    /// The channel that the recording began in.
    pub channel: ChannelId,
    /// When it began: UTC, as RFC 3339 writes it.
    pub began: String,
    /// How long it is, in milliseconds; of a recording that was cut off, as far as was known.
    pub duration_ms: u64,
    /// How it ended; none of one that goes on, or was cut off.
    pub end: Option<RecordingEnd>,
    /// The privacy codes of the call, oldest first.
    pub privacy_codes: Vec<PrivacyCode>,
    /// Who is heard.
    pub speakers: Vec<Speaker>,
    /// What of those who are heard was not recorded while the recording paused, in packets.
    pub paused_packets: u64,
    /// Packets of speakers beyond the thousandth, of whom nothing is kept.
    pub unrecorded_packets: u64,
}

impl Session {
    /// What is known of a recording that has not begun.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            version: VERSION,
            software: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into(),
            guild: settings.guild,
            channel: settings.channel,
            began: String::new(),
            duration_ms: 0,
            end: None,
            privacy_codes: Vec::new(),
            speakers: Vec::new(),
            paused_packets: 0,
            unrecorded_packets: 0,
        }
    }

    /// Takes note of what was found in a file of a recording that was cut off, which is as long as this.
    pub fn found(&mut self, speaker: Speaker, length_ms: u64) {
        self.end.get_or_insert(RecordingEnd::CutOff);
        self.duration_ms = self.duration_ms.max(length_ms);
        self.speakers.retain(|known| known.user != speaker.user);
        self.speakers.push(speaker);
        self.speakers.sort_by_key(|speaker| speaker.user);
    }
}

/// The 30 digits that everyone in the encrypted call sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrivacyCode {
    /// Since when.
    pub at_ms: u64,
    /// The digits.
    pub code: String,
}

/// What is known of one speaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Speaker {
    /// Who.
    pub user: UserId,
    /// The file.
    pub file: String,
    /// Packets in the file.
    pub packets: u64,
    /// Packets that were lost; players conceal them.
    pub lost: u64,
    /// Packets that were left out since their place was taken.
    pub overlapping: u64,
    /// Stretches of speech.
    pub talkspurts: u64,
    /// How long it spoke, in milliseconds.
    pub spoken_ms: u64,
    /// SSRCs and media clocks that it had.
    pub streams: u64,
}

impl Speaker {
    /// A speaker whose file was found, with so many packets of sound in it, and so many missing. What a file does not tell is 0.
    #[must_use]
    pub fn found(user: UserId, packets: u64, lost: u64, spoken_ms: u64) -> Self {
        let counts = TrackCounts { packets, lost, spoken: spoken_ms * 48, ..TrackCounts::default() };
        Self::new(user, RecordingFile::Track(user).to_string(), counts)
    }

    pub(super) fn new(user: UserId, file: String, counts: TrackCounts) -> Self {
        let TrackCounts { packets, lost, overlapping, talkspurts, spoken, streams } = counts;
        Self { user, file, packets, lost, overlapping, talkspurts, spoken_ms: spoken / 48, streams }
    }
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordingEnd {
    /// It was asked to.
    #[error("the recording was stopped")]
    Stopped,
    /// The process or the machine ended; the files were mended afterwards.
    #[error("the recording was cut off")]
    CutOff,
    /// The call ended.
    #[error("the call ended: {why}")]
    CallEnded {
        /// How.
        why: String,
    },
    /// The file system is full: what was recorded so far is whole. Make room, or record elsewhere.
    #[error("no space is left for {file}: make room, or record elsewhere; what was recorded so far is whole")]
    DiskFull {
        /// What could not be written.
        file: String,
    },
    /// A file could not be written.
    #[error("{file} cannot be written: {why}")]
    NotWritten {
        /// Which.
        file: String,
        /// What the system says.
        why: String,
    },
    /// Files were written so slowly that half a minute waited: the disk is too slow, or hangs.
    #[error("the disk is too slow, or hangs: {waiting} writes wait; record to another one")]
    TooSlow {
        /// How many writes waited.
        waiting: u64,
    },
}

/// The version of the format.
const VERSION: u32 = 1;

/// A length as people write it: `1:02:03.4`, `2:03.4`.
#[must_use]
pub fn format_length(milliseconds: u64) -> String {
    let (seconds, tenths) = (milliseconds / 1_000, milliseconds / 100 % 10);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}.{tenths}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{tenths}"),
    }
}
