//! What a recording writes, read back as a person would.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;

use super::*;
use crate::{
    audio::{frame::SILENCE, opus},
    hearing::{Content, Heard, Selection},
    id::{ChannelId, GuildId, Ssrc, UserId},
};

mod alignment;
mod consent;
mod crash;
mod files;
mod long;
mod mixing;

const GUILD: GuildId = GuildId(10);
const ANNA: UserId = UserId(1);
const BEN: UserId = UserId(2);
const FRAME: Duration = Duration::from_millis(20);

/// A recording with the files that it writes, on a made-up clock.
struct Studio {
    recording: Recording,
    began: Instant,
    now: Instant,
    files: BTreeMap<RecordingFile, Vec<u8>>,
    /// Whether files are kept, or only measured.
    keeps: bool,
    written: u64,
}

impl Studio {
    fn new() -> Self {
        Self::with(Settings::new(GUILD, ChannelId(20)))
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn with(settings: Settings) -> Self {
        let now = Instant::now() + Duration::from_secs(100);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_798_761_599);
        let recording = Recording::new(settings, Began::new(now, wall), now);
        Self { recording, began: now, now, files: BTreeMap::new(), keeps: true, written: 0 }
    }

    /// Lets the time go on, and does what there is to do.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.recording.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.carry_out();
        }
        self.now = end;
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.recording.poll(self.now) {
            match action {
                Action::Append(file, bytes) => {
                    self.written += bytes.len() as u64;
                    if self.keeps {
                        self.files.entry(file).or_default().extend(bytes);
                    }
                }
                Action::Replace(file, bytes) => {
                    self.files.insert(file, bytes);
                }
                Action::Forget(user) => {
                    self.files.remove(&RecordingFile::Track(user));
                }
            }
        }
    }

    fn finish(&mut self) {
        self.recording.finish(RecordingEnd::Stopped, self.now);
        self.carry_out();
    }

    fn text(&self, file: RecordingFile) -> String {
        String::from_utf8(self.files.get(&file).cloned().unwrap_or_default()).unwrap()
    }

    fn session(&self) -> Session {
        serde_json::from_slice(&self.files[&RecordingFile::Session]).unwrap()
    }

    /// Where each packet of a speaker stands, in samples since the beginning, and what is missing, and the length.
    fn places(&self, user: UserId) -> Places {
        Places::of(&self.files[&RecordingFile::Track(user)])
    }
}

/// What stands where in a file.
#[derive(Debug, Default)]
struct Places {
    /// Packets that are no silence.
    sounds: Vec<(i64, Vec<u8>)>,
    missing: Vec<(i64, u32)>,
    length: i64,
    complete: bool,
}

impl Places {
    fn of(file: &[u8]) -> Self {
        let mut reader = OpusReader::new(file).unwrap();
        let mut places = Self { length: 312 - i64::from(reader.pre_skip()), ..Self::default() };
        while let Some(stretch) = reader.next_stretch().unwrap() {
            let samples = match stretch {
                Stretch::Missing(samples) => {
                    places.missing.push((places.length, samples));
                    samples
                }
                Stretch::Sound(packet) => {
                    let samples = opus::samples(&packet).unwrap();
                    // Silence of any length is two bytes a frame.
                    if !packet.ends_with(&SILENCE[1..]) {
                        places.sounds.push((places.length, packet));
                    }
                    samples
                }
            };
            places.length += i64::from(samples);
        }
        places.complete = reader.is_complete();
        places
    }
}

/// A packet that says its number.
fn packet(number: u32) -> Bytes {
    let [a, b, c, d] = number.to_be_bytes();
    Bytes::copy_from_slice(&[0x7C, a, b, c, d, 1])
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]])
}

fn heard(user: UserId, time: u64, arrived: Instant, opus: impl Into<Bytes>) -> Heard {
    let opus = opus.into();
    let samples = opus::samples(&opus).unwrap();
    let content = Content::Opus(opus);
    Heard { guild: GUILD, user, ssrc: Ssrc(7), stream: 1, time, samples, arrived, content, pcm: None }
}

fn lost(user: UserId, time: u64, arrived: Instant, packets: u32) -> Heard {
    Heard {
        content: Content::Lost { packets },
        samples: 960 * packets,
        ..heard(user, time, arrived, packet(0))
    }
}

/// Speaks for so many packets, numbered from `first` on, five frames of silence behind them; the time goes on with it.
fn say(studio: &mut Studio, user: UserId, time: &mut u64, first: u32, packets: u32) {
    for n in 0..packets + 5 {
        let opus = if n < packets { packet(first + n) } else { Bytes::from_static(&SILENCE) };
        let frame = heard(user, *time, studio.now, opus);
        studio.recording.heard(&frame);
        *time += 960;
        studio.pass(FRAME);
    }
}
