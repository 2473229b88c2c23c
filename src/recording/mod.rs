//! Recording: what of what is heard goes into which file, so that the files can be read whatever happens.
//!
//! Each speaker has an Ogg Opus file of its own, of the packets as they came: nothing is decoded. All files begin with the
//! recording, so that what was said at one moment stands at one place of all. Every page is whole by itself, so that a
//! recording that is cut off loses no more than its last second.
//!
//! | file | what is in it |
//! |---|---|
//! | `<user id>.ogg` | what one speaker said: Ogg Opus, 48 kHz (RFC 7845); losses are packets that ask the player to conceal |
//! | `session.json` | who, when, in which channel, the privacy codes, what was lost; [`Session`] |
//! | `events.jsonl` | one JSON object a line for whoever joined or left, was refused, for markers and pauses; only ever appended to |
//! | `labels.txt` | a line for each stretch of speech and each marker, as Audacity reads them |

mod anchor;
mod clock;
mod file;
mod flac;
mod html;
mod journal;
mod machine;
mod mix;
mod opus_file;
mod pages;
mod playback;
mod reader;
mod session;
mod settings;
mod track;

#[cfg(test)]
mod tests;

pub use self::{
    clock::Began,
    file::RecordingFile,
    html::{PageTrack, page},
    machine::{Action, Recording},
    mix::{MixError, MixFormat, mix},
    playback::{PlayError, TrackPlayer},
    reader::{OpusReader, ReadError, Stretch},
    session::{PrivacyCode, RecordingEnd, Session, Speaker, format_length},
    settings::Settings,
    track::TrackCounts,
};
