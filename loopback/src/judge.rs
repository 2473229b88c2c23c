//! The judge of what a bot heard: its own recording against what members said.

use std::fmt;
use std::io::Cursor;
use std::time::Duration;

use ogg::PacketReader;

use crate::opus::{self, Decoder, OpusError, SAMPLE_RATE};
use crate::score::{Score, match_score};

/// A recording that was read: what a player plays.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PlayedRecording {
    /// 48 kHz, stereo, interleaved, without what players skip.
    pub audio: Vec<f32>,
    /// Packets with sound in them, silence among it.
    pub packets: u64,
    /// What is missing between packets, and left to the player to conceal.
    pub missing: Duration,
    /// Whether it ends as an Ogg file should: one that is cut off does not.
    pub complete: bool,
    /// The packets that did not decode.
    pub undecodable: u64,
}

/// How well a recording matches what was said.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Judgement {
    /// By how many milliseconds later than expected everything is heard; negative where it is earlier.
    pub late_ms: f64,
    /// Frames of 20 ms that were said, audible, and are not heard in their place.
    pub lost_frames: u64,
    /// The match in detail.
    pub score: Score,
}

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// Its two headers are not there.
    #[error("it does not begin as an Ogg Opus file does")]
    NotOggOpus,
    /// libopus gives no decoder.
    #[error(transparent)]
    Opus(#[from] OpusError),
}

impl PlayedRecording {
    /// Plays an Ogg Opus file (RFC 7845), as far as it can be read.
    ///
    /// # Errors
    /// [`PlayError::NotOggOpus`] where it has no headers.
    pub fn ogg(file: &[u8]) -> Result<Self, PlayError> {
        let mut reader = PacketReader::new(Cursor::new(file));
        let mut header = || reader.read_packet().ok().flatten().ok_or(PlayError::NotOggOpus);
        let (head, tags) = (header()?.data, header()?.data);
        if !head.starts_with(b"OpusHead\x01") || head.len() < 19 || !tags.starts_with(b"OpusTags") {
            return Err(PlayError::NotOggOpus);
        }
        let mut decoder = Decoder::new()?;
        let mut played = Self::default();
        while let Ok(Some(packet)) = reader.read_packet() {
            played.complete = packet.last_in_stream();
            if let Some(samples) = missing(&packet.data) {
                played.missing += Duration::from_micros(samples * 1_000_000 / u64::from(SAMPLE_RATE));
            } else {
                played.packets += 1;
            }
            if decoder.decode(&packet.data, &mut played.audio).is_err() {
                played.undecodable += 1;
            }
        }
        let skipped = 2 * usize::from(u16::from_le_bytes([head[10], head[11]]));
        played.audio.drain(..skipped.min(played.audio.len()));
        Ok(played)
    }

    /// The sound between two moments, silent where there is none.
    pub fn between(&self, from: Duration, to: Duration) -> Vec<f32> {
        let at = |moment: Duration| 2 * (moment.as_secs_f64() * f64::from(SAMPLE_RATE)).round() as usize;
        let (from, to) = (at(from), at(to));
        let mut sound = self.audio.get(from..to.min(self.audio.len())).unwrap_or_default().to_vec();
        sound.resize(to - from, 0.0);
        sound
    }
}

impl Judgement {
    /// Compares a recording with what was said from `said_at` on after its beginning; both 48 kHz, stereo, interleaved.
    ///
    /// The first sixty audible seconds of what was said are looked for in the first five minutes of the recording.
    pub fn of(said: &[f32], recorded: &[f32], said_at: Duration) -> Self {
        let score = match_score(said, recorded);
        let late_ms = score.offset as f64 / 48.0 - said_at.as_secs_f64() * 1000.0;
        Self { late_ms, lost_frames: score.missing_frames, score }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.1} ms, {} frames lost, {}", self.late_ms, self.lost_frames, self.score)
    }
}

/// How many samples a packet stands for that has frames without a byte of sound.
fn missing(packet: &[u8]) -> Option<u64> {
    let empty = match packet {
        [toc] => toc & 3 < 2,
        [toc, count] => toc & 3 == 3 && count & 0xC0 == 0,
        _ => false,
    };
    opus::samples(packet).filter(|_| empty).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Keep, Recorder};
    use crate::speech::{ClientVoice, synthesise};

    fn recorded(lost: &[usize]) -> (Vec<f32>, Vec<u8>) {
        // Without a pause, which the recorder would leave to the player too.
        let words = (1..=4).flat_map(|seed| synthesise(seed, Duration::from_millis(900)));
        let audio: Vec<f32> = words.collect();
        let speech = ClientVoice::discord().without_dtx().speak(&audio).unwrap();
        let mut recorder = Recorder::new(Keep::Audio);
        let began = tokio::time::Instant::now();
        for (n, packet) in speech.packets.iter().enumerate().filter(|(n, _)| !lost.contains(n)) {
            let opus = Some(packet.opus.clone());
            recorder.packet(began + packet.at, 1, n as u16, packet.time as u32, opus);
        }
        (speech.decoded().unwrap(), recorder.hearing().ogg())
    }

    #[test]
    fn a_whole_recording_is_as_it_was_said() {
        let (said, ogg) = recorded(&[]);
        let played = PlayedRecording::ogg(&ogg).unwrap();
        let judgement = Judgement::of(&said, &played.audio, Duration::ZERO);
        assert!(played.complete && played.missing.is_zero() && played.undecodable == 0);
        assert!(judgement.late_ms.abs() < 0.1 && judgement.lost_frames == 0, "{judgement}");
        assert!(judgement.score.correlation > 0.99, "{judgement}");
    }

    #[test]
    fn lost_frames_are_counted_and_a_later_start_is_told() {
        let (said, ogg) = recorded(&(12..24).collect::<Vec<_>>());
        let played = PlayedRecording::ogg(&ogg).unwrap();
        assert_eq!(played.missing, Duration::from_millis(240));
        let mut later = vec![0.0; 2 * 4_800];
        later.extend(&played.audio);
        let judgement = Judgement::of(&said, &later, Duration::from_millis(40));
        assert!((judgement.late_ms - 60.0).abs() < 0.1, "{judgement}");
        assert!((6..=14).contains(&judgement.lost_frames), "{judgement}");
    }

    #[test]
    fn a_file_that_is_cut_off_plays_up_to_there_and_says_so() {
        let (_, ogg) = recorded(&[]);
        let whole = PlayedRecording::ogg(&ogg).unwrap().packets;
        let cut = PlayedRecording::ogg(&ogg[..ogg.len() * 2 / 3]).unwrap();
        assert!(!cut.complete && cut.packets > 0 && cut.packets < whole, "{} of {whole}", cut.packets);
        assert!(matches!(PlayedRecording::ogg(b"RIFF"), Err(PlayError::NotOggOpus)));
    }
}
