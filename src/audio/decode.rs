//! AudioFile: a file or byte stream as a [`Source`].
//!
//! Opus packets of 20 ms pass through untouched; everything else is decoded and resampled to 48 kHz stereo.

mod opus_track;
mod pcm_track;
mod reading;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::formats::well_known::{
    FORMAT_ID_ISOMP4, FORMAT_ID_MKV, FORMAT_ID_MP3, FORMAT_ID_OGG, FORMAT_ID_WAVE,
};
use symphonia::core::formats::{FormatId, FormatReader, Track, TrackType};
use symphonia::core::packet::Packet;

use self::opus_track::{ByteOrder, OpusTrack};
use self::pcm_track::PcmTrack;
use self::reading::{explained, guarded};
use super::frame::{FRAME, Frame, SAMPLE_RATE};
use crate::source::{Source, SourceError};

/// A file or byte stream that is being played.
///
/// WAV, FLAC, MP3, Ogg (Opus, Vorbis, FLAC), MP4 with AAC or Opus, and WebM and Matroska (Opus, Vorbis and the others)
/// are understood. What is damaged plays as far as it is good, and past the damage where the format can be
/// picked up again; after that the source says what was wrong and where.
pub struct AudioFile {
    name: String,
    reader: Box<dyn FormatReader>,
    /// The track in the reader that is played.
    id: u32,
    track: TrackDecoder,
    duration: Option<Duration>,
    /// How long the audio must be, where the format says so reliably.
    declared: Option<Duration>,
    /// Where the next packet should start, in the track's own units; known in Ogg only.
    expected: Option<i64>,
    ready: VecDeque<Frame>,
    returned: u32,
    damage: Option<Damage>,
    ended: bool,
}

/// What turns raw packets into frames.
enum TrackDecoder {
    Opus(OpusTrack),
    Pcm(Box<PcmTrack>),
}

/// The first thing that was wrong, and how many there were.
struct Damage {
    at: Duration,
    cause: String,
    times: u32,
}

impl AudioFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`SourceError`], naming the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        // symphonia gives up on MP4 and Matroska files that are cut short, and plays a stream of the same bytes.
        let as_stream = || Self::new(name.clone(), reading::file_as_stream(path, &name)?);
        match Self::new(name.clone(), reading::file(path, &name)?) {
            Ok(mut file) => {
                file.advance();
                let is_cut = file.format() == FORMAT_ID_ISOMP4 && file.ended && file.ready.is_empty();
                if is_cut { as_stream() } else { Ok(file) }
            }
            Err(error) => as_stream().map_err(|_| error),
        }
    }

    /// Plays a byte stream that cannot be rewound: standard input, an HTTP body. `name` stands for it in
    /// errors; where it ends like a file name (`.mp3`) that helps to recognise the format.
    ///
    /// MP4 files whose index comes last need [`open`](Self::open).
    ///
    /// # Errors
    /// [`SourceError`], naming the stream.
    pub fn from_reader(name: &str, reader: impl Read + Send + Sync + 'static) -> Result<Self, SourceError> {
        let media = reading::stream(reader, name)?;
        Self::new(name.to_owned(), media)
    }

    fn new(name: String, media: reading::Media) -> Result<Self, SourceError> {
        let reader = guarded(|| reading::probe(&name, media)).map_err(|error| refused(&name, error))?;
        let (id, track) = choose_track(reader.as_ref()).map_err(|error| refused(&name, error))?;
        let mut file = Self {
            name,
            duration: None,
            declared: None,
            reader,
            id,
            track,
            expected: None,
            ready: VecDeque::new(),
            returned: 0,
            damage: None,
            ended: false,
        };
        (file.duration, file.declared) = file.durations();
        Ok(file)
    }

    fn format(&self) -> FormatId {
        self.reader.format_info().format
    }

    /// Reads on: one packet, or the end.
    fn advance(&mut self) {
        let reader = &mut self.reader;
        match guarded(|| reader.next_packet()) {
            Ok(Some(packet)) if packet.track_id == self.id => self.packet(packet),
            Ok(Some(_)) => {}
            Ok(None) => self.end(None),
            Err(Error::ResetRequired) => self.next_link(),
            Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.cut_short(),
            Err(error) => self.end(Some(explained(&error))),
        }
    }

    fn packet(&mut self, packet: Packet) {
        if self.format() == FORMAT_ID_OGG {
            self.notice_gap(&packet);
        }
        let (track, ready) = (&mut self.track, &mut self.ready);
        let decoded = guarded(|| match track {
            TrackDecoder::Opus(opus) => opus.packet(packet, ready),
            TrackDecoder::Pcm(pcm) => pcm.packet(&packet, ready),
        });
        match decoded {
            Ok(()) => {}
            Err(error @ (Error::DecodeError(_) | Error::IoError(_))) => self.damaged(explained(&error)),
            Err(error) => self.end(Some(explained(&error))),
        }
    }

    /// A page whose checksum is wrong is left out by the reader; what shows is a jump in time.
    fn notice_gap(&mut self, packet: &Packet) {
        let starts = packet.pts.get();
        if self.expected.is_some_and(|expected| starts > expected.saturating_add(TOLERATED_GAP)) {
            self.damaged("a part is missing or does not match its checksum".to_owned());
        }
        let lasts = i64::try_from(packet.block_dur().get()).unwrap_or(i64::MAX);
        self.expected = Some(starts.saturating_add(lasts));
    }

    /// A chained Ogg file goes on with another stream, which may be of another kind.
    fn next_link(&mut self) {
        self.track.finish(&mut self.ready);
        self.expected = None;
        self.declared = None;
        match choose_track(self.reader.as_ref()) {
            Ok((id, track)) => (self.id, self.track) = (id, track),
            Err(error) => self.end(Some(explained(&error))),
        }
    }

    /// The bytes ran out before the format said so. Matroska and WAV need not say so: then their length is
    /// all there is to go by.
    fn cut_short(&mut self) {
        let open_ended =
            self.format() == FORMAT_ID_MKV || (self.format() == FORMAT_ID_WAVE && self.duration.is_none());
        self.end((!open_ended).then(|| "it ends early".to_owned()));
    }

    fn end(&mut self, cause: Option<String>) {
        self.ended = true;
        let (track, ready) = (&mut self.track, &mut self.ready);
        track.finish(ready);
        let played = self.position();
        if let Some(cause) = cause {
            self.damaged(cause);
        } else if let Some(declared) = self.declared.filter(|&declared| played + TOLERATED_LOSS < declared) {
            self.damaged(format!("it ends early: {played:.2?} of {declared:.2?}"));
        }
    }

    fn damaged(&mut self, cause: String) {
        let at = self.position();
        self.damage.get_or_insert(Damage { at, cause, times: 0 }).times += 1;
    }

    /// How much audio there has been.
    fn position(&self) -> Duration {
        FRAME * (self.returned + self.ready.len() as u32)
    }

    /// How long the file lasts, and how long it must last, each where that is known.
    fn durations(&self) -> (Option<Duration>, Option<Duration>) {
        let tracks = self.reader.tracks();
        let Some(track) = tracks.iter().find(|track| track.id == self.id) else { return (None, None) };
        let info = self.reader.media_info();
        let lasts = match self.format() {
            FORMAT_ID_MKV => info.time_base.zip(info.duration),
            _ => track.time_base.zip(track.duration),
        };
        let lasts = lasts.and_then(|(base, lasts)| base.calc_duration(lasts));
        let lasts = lasts.and_then(|lasts| u64::try_from(lasts.as_nanos()).ok()).map(Duration::from_nanos);
        let lasts = lasts.filter(|lasts| !lasts.is_zero() && !self.is_streamed_wav(track));
        let reliable = match self.format() {
            // Told by the end-of-stream mark, packet by packet.
            FORMAT_ID_OGG => false,
            // Estimated from the bitrate, unless the encoder has left its tag.
            FORMAT_ID_MP3 => track.delay.is_some(),
            // Of the longest track, which may be another one.
            FORMAT_ID_MKV | FORMAT_ID_ISOMP4 => tracks.len() == 1,
            _ => true,
        };
        let skipped = match &self.track {
            TrackDecoder::Opus(opus) if self.format() == FORMAT_ID_OGG => opus.pre_skip(),
            _ => Duration::ZERO,
        };
        (lasts.map(|lasts| lasts.saturating_sub(skipped)), lasts.filter(|_| reliable))
    }

    /// A program that writes WAV into a pipe does not know its length and writes the greatest there is.
    fn is_streamed_wav(&self, track: &Track) -> bool {
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { return false };
        let channels = parameters.channels.as_ref().map_or(1, |channels| channels.count() as u64);
        let bits = u64::from(parameters.bits_per_coded_sample.unwrap_or(32));
        let bytes = track.num_frames.unwrap_or(0).saturating_mul(channels * bits / 8);
        self.format() == FORMAT_ID_WAVE && bytes >= STREAMED_WAV
    }
}

impl Source for AudioFile {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.returned = self.returned.saturating_add(1);
                return Ok(Some(frame));
            }
            if self.ended {
                let Some(Damage { at, cause, times }) = self.damage.take() else { return Ok(None) };
                let cause = if times > 1 { format!("{cause} ({times} places)") } else { cause };
                return Err(SourceError::Damaged { name: self.name.clone(), at, cause });
            }
            self.advance();
        }
    }

    fn duration(&self) -> Option<Duration> {
        self.duration
    }
}

impl TrackDecoder {
    /// Hands out what is left, the last frame filled up with silence.
    fn finish(&mut self, ready: &mut VecDeque<Frame>) {
        match self {
            Self::Opus(opus) => opus.finish(ready),
            Self::Pcm(pcm) => pcm.finish(ready),
        }
    }
}

/// Picks the audio track to play and makes its decoder.
fn choose_track(reader: &dyn FormatReader) -> Result<(u32, TrackDecoder), Error> {
    let track =
        reader.default_track(TrackType::Audio).ok_or(Error::Unsupported("there is no audio in it"))?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(Error::Unsupported("there is no audio in it"));
    };
    let format = reader.format_info().format;
    guarded(|| decoder(parameters, format)).map(|decoder| (track.id, decoder))
}

fn decoder(parameters: &AudioCodecParameters, format: FormatId) -> Result<TrackDecoder, Error> {
    if parameters.codec == CODEC_ID_OPUS {
        let order = if format == FORMAT_ID_ISOMP4 { ByteOrder::Big } else { ByteOrder::Little };
        return OpusTrack::new(parameters, order).map(TrackDecoder::Opus);
    }
    PcmTrack::new(parameters).map(Box::new).map(TrackDecoder::Pcm)
}

/// Turns what went wrong before the first packet into our error.
fn refused(name: &str, error: Error) -> SourceError {
    let (name, cause) = (name.to_owned(), explained(&error));
    match error {
        Error::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            SourceError::Unreadable { name, cause }
        }
        Error::IoError(_) | Error::DecodeError(_) => SourceError::Damaged { name, at: Duration::ZERO, cause },
        _ => SourceError::Unsupported { name, cause },
    }
}

/// A jump in time that is no rounding, in samples of the track.
const TOLERATED_GAP: i64 = SAMPLE_RATE as i64 / 100;
/// What may be missing at the end without being damage: a packet of AAC at 22.05 kHz lasts 46 ms.
const TOLERATED_LOSS: Duration = Duration::from_millis(50);
/// The data length that sox (2^31 less its headers) and ffmpeg (2^32 - 1) write into pipes, roughly.
const STREAMED_WAV: u64 = 0x7FFF_0000;
