//! AudioFile: a file or byte stream as a [`Source`].
//!
//! Opus packets of 20 ms pass through untouched; everything else is decoded and resampled to 48 kHz stereo.
//!
//! ```text
//! Input ─▶ tags ─▶ recognise ─▶ Demuxer ── packets ─▶ Track ── frames ─▶
//!                      │          (mpeg, flac, wave, ogg, container)
//!                      └─ what is not decoded here ─▶ ffmpeg ─▶ Demuxer (wave)
//! ```

mod adts;
mod container;
mod demux;
mod event;
mod flac;
mod input;
mod layout;
mod length;
mod metadata;
mod mpeg;
mod ogg;
mod ogg_opus;
mod opus_track;
mod pcm_track;
mod reading;
mod recognise;
mod refusal;
mod tags;
mod track;
mod trim;
mod wave;

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use self::demux::Demuxer;
use self::event::{ENDS_EARLY, Event, Stream};
use self::input::{Input, Origin, unreadable};
use self::reading::{explained, guarded};
use self::recognise::{Kind, recognise};
use self::refusal::Refusal;
use self::track::Track;
use super::frame::{FRAME, FRAME_SAMPLES, Frame};
pub use crate::source::Metadata;
use crate::source::ffmpeg::{Feed, Ffmpeg};
use crate::source::{Source, SourceError};

/// A file or byte stream that is being played.
///
/// WAV, FLAC, MP3, AAC, Ogg, MP4, WebM, Matroska, AIFF and CAF are understood, and what ffmpeg knows besides where it is
/// installed; the table in `docs/formats.md` has them all. What is damaged plays as far as it is good, and past the
/// damage where the format can be picked up again; after that the source says what was wrong and where.
///
/// At most 64 MiB are held in memory at a time (of a stream whose index comes last), and mostly less than three.
pub struct AudioFile {
    name: String,
    demuxer: Demuxer,
    track: Option<Track>,
    metadata: Metadata,
    /// How long the audio must be, where the format says so reliably.
    declared: Option<Duration>,
    ready: VecDeque<Frame>,
    /// How many frames were returned since the place that `offset` names.
    returned: u32,
    offset: Duration,
    /// How much of the last frame is sound, in samples per channel.
    last_frame: usize,
    origin: Origin,
    options: DecodeOptions,
    damage: Option<Damage>,
    ended: bool,
    /// Whether the bytes come from elsewhere than a disc or memory.
    may_block: bool,
}

/// How to open what is to be decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// What plays the formats that are not decoded here.
    pub ffmpeg: Ffmpeg,
}

impl DecodeOptions {
    /// With this ffmpeg, and everything else as usual.
    #[must_use]
    pub fn with_ffmpeg(ffmpeg: Ffmpeg) -> Self {
        Self { ffmpeg }
    }
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
        Self::open_with(path, &DecodeOptions::default())
    }

    /// Opens a file in a way of one's own.
    ///
    /// # Errors
    /// [`SourceError`], naming the path.
    pub fn open_with(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Self, SourceError> {
        let name = path.as_ref().display().to_string();
        let origin = Origin::file(path.as_ref(), &name)?;
        Self::start(name, &origin, options)
    }

    /// Plays a byte stream that cannot be rewound: standard input, an HTTP body. `name` stands for it in errors; what it
    /// is shows in the bytes.
    ///
    /// Of a stream whose index comes last (MP4, CAF) up to 64 MiB are held in memory; a longer one has to be saved as a
    /// file, for [`open`](Self::open).
    ///
    /// # Errors
    /// [`SourceError`], naming the stream.
    pub fn from_reader(name: &str, reader: impl Read + Send + Sync + 'static) -> Result<Self, SourceError> {
        Self::from_reader_with(name, reader, &DecodeOptions::default())
    }

    /// Plays a byte stream in a way of one's own.
    ///
    /// # Errors
    /// [`SourceError`], naming the stream.
    pub fn from_reader_with(
        name: &str,
        reader: impl Read + Send + Sync + 'static,
        options: &DecodeOptions,
    ) -> Result<Self, SourceError> {
        Self::start(name.to_owned(), &Origin::stream(reader), options)
    }

    /// What the file says about itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn start(name: String, origin: &Origin, options: &DecodeOptions) -> Result<Self, SourceError> {
        let mut input = Input::new(origin);
        if input.is_at_end() {
            return Err(match input.take_error() {
                Some(error) => unreadable(&name, &error),
                None => SourceError::Unsupported { name, cause: "it is empty".to_owned() },
            });
        }
        let opened = match Self::decoded_here(&name, origin, input) {
            Ok(file) => Ok(file),
            Err(refusal) if refusal.may_be_played_by_ffmpeg() => {
                Self::through_ffmpeg(&name, origin, &options.ffmpeg, refusal)
            }
            Err(refusal) => Err(refusal),
        };
        origin.commit();
        let opened = opened.map(|file| Self { options: options.clone(), ..file });
        opened.map_err(|refusal| refusal.into_error(name))
    }

    fn decoded_here(name: &str, origin: &Origin, mut input: Input) -> Result<Self, Refusal> {
        let mut metadata = Metadata::default();
        tags::leading(&mut input, &mut metadata);
        let kind = kind(&mut input);
        match kind {
            Kind::Foreign(what) => return Err(Refusal::Foreign(what)),
            Kind::Soundless(what) => return Err(Refusal::Soundless(what)),
            Kind::Playlist => return Err(Refusal::Playlist),
            Kind::Text => return Err(Refusal::Soundless("text")),
            Kind::Unknown => return Err(Refusal::unknown(input.take_error())),
            Kind::Mpeg { .. } | Kind::Flac | Kind::Adts => tags::trailing(&mut input, &mut metadata),
            _ => {}
        }
        let is_file = input.byte_length().is_some();
        let demuxer = guarded(|| Demuxer::open(kind, input)).map_err(Refusal::of_error)?;
        let mut file = Self::assemble(name.to_owned(), origin, demuxer, metadata);
        file.may_block = !is_file;
        // Of a file a second is heard before it is believed, of a stream no more than there is.
        file.prime(if is_file { JUDGED } else { 1 })?;
        Ok(file)
    }

    /// Plays what ffmpeg makes of it.
    fn through_ffmpeg(name: &str, origin: &Origin, ffmpeg: &Ffmpeg, why: Refusal) -> Result<Self, Refusal> {
        let feed = match origin.path() {
            Some(path) => Feed::File(path),
            // It was held in memory because it has to be sought in, and a pipe cannot be.
            None if origin.length().is_some() => return Err(why.for_a_file()),
            None if origin.rewind() => Feed::Stream(Box::new(origin.clone())),
            None => return Err(why),
        };
        let output = ffmpeg.start(feed).map_err(|error| why.without_ffmpeg(ffmpeg, &error))?;
        let report = output.report();
        let mut input = Input::new(&Origin::stream(output));
        let is_wave = input.peek(12).starts_with(b"RIFF");
        if !is_wave {
            let error = input.take_error().map(|error| error.to_string());
            return Err(why.with_ffmpeg(error.unwrap_or_else(|| "there is no sound in it".to_owned())));
        }
        // Noise would be played as whatever it is least unlike.
        if report.is_guessed() {
            return Err(why.with_ffmpeg("ffmpeg is not sure what it is".to_owned()));
        }
        let demuxer = Demuxer::open(Kind::Wave, input).map_err(|error| why.with_ffmpeg(explained(&error)))?;
        let mut metadata = Metadata::default();
        let (tags, duration) = report.description();
        tags.iter().for_each(|(name, text)| metadata.add_named(name, text));
        metadata.duration = duration;
        let mut file = Self::assemble(name.to_owned(), origin, demuxer, metadata);
        file.prime(1).map_err(|silence| why.with_ffmpeg(silence.cause()))?;
        Ok(file)
    }

    fn assemble(name: String, origin: &Origin, mut demuxer: Demuxer, mut metadata: Metadata) -> Self {
        demuxer.describe(&mut metadata);
        let length = demuxer.length();
        metadata.duration = metadata.duration.or(length.told);
        Self {
            name,
            demuxer,
            track: None,
            metadata,
            declared: length.declared,
            ready: VecDeque::new(),
            returned: 0,
            offset: Duration::ZERO,
            last_frame: FRAME_SAMPLES,
            origin: origin.clone(),
            options: DecodeOptions::default(),
            damage: None,
            ended: false,
            may_block: true,
        }
    }

    /// Decodes the first frames, so that what cannot be played is known before it is.
    fn prime(&mut self, frames: usize) -> Result<(), Refusal> {
        while self.ready.len() < frames && !self.ended {
            self.advance();
        }
        if self.ready.is_empty() {
            let damage = self.damage.take();
            return Err(damage.map_or(Refusal::Silent, |damage| Refusal::Damaged(damage.cause)));
        }
        Ok(())
    }

    /// Reads on: one packet, or the end.
    fn advance(&mut self) {
        match self.demuxer.next() {
            Event::Packet(packet) => self.packet(packet),
            Event::Stream(stream) => self.stream(&stream),
            Event::Damaged(cause) => self.damaged(cause),
            Event::End(cause) => self.end(cause),
        }
    }

    fn packet(&mut self, packet: Packet) {
        let (Some(track), ready) = (&mut self.track, &mut self.ready) else { return };
        match guarded(|| track.packet(packet, ready)) {
            Ok(()) => {}
            Err(error @ (Error::DecodeError(_) | Error::IoError(_))) => self.damaged(explained(&error)),
            Err(error) => self.end(Some(explained(&error))),
        }
        let is_new = (self.returned as usize) < JUDGED;
        if is_new && self.track.as_ref().is_some_and(|track| track.loudest() > IMPLAUSIBLE) {
            self.ready.clear();
            self.track = None;
            self.end(Some("what it decodes to is far beyond full scale, and no sound".to_owned()));
        }
    }

    /// Goes on with another stream, which may be of another kind.
    fn stream(&mut self, stream: &Stream) {
        if let Some(track) = &mut self.track
            && guarded(|| Ok(track.goes_on_with(stream))).unwrap_or(false)
        {
            return;
        }
        if let Some(track) = &mut self.track {
            track.finish(&mut self.ready);
            // What follows was not counted in.
            self.declared = None;
        }
        match guarded(|| Track::new(stream)) {
            Ok(track) => self.track = Some(track),
            Err(error) => self.end(Some(explained(&error))),
        }
    }

    fn end(&mut self, cause: Option<String>) {
        self.ended = true;
        if let Some(track) = &mut self.track {
            self.last_frame = track.finish(&mut self.ready).unwrap_or(FRAME_SAMPLES);
        }
        let played = self.position();
        match (cause, self.declared) {
            (Some(cause), _) => self.damaged(cause),
            (None, Some(declared)) if played + TOLERATED_LOSS < declared && self.damage.is_none() => {
                let [played, declared] = [played, declared].map(|length| length.as_secs_f64());
                self.damaged(format!("{ENDS_EARLY}: {played:.2} s of {declared:.2} s"));
            }
            _ => {}
        }
    }

    fn damaged(&mut self, cause: String) {
        let at = self.position();
        self.damage.get_or_insert(Damage { at, cause, times: 0 }).times += 1;
    }

    /// How much audio there has been.
    fn position(&self) -> Duration {
        self.offset + FRAME * (self.returned + self.ready.len() as u32)
    }

    /// Where the next frame is.
    fn next_place(&self) -> Duration {
        self.offset + FRAME * self.returned
    }

    /// Starts over from the first byte.
    fn start_over(&mut self) -> Result<(), SourceError> {
        if !self.origin.rewind() {
            let cause = "it comes as a stream, of which only what is to come can be sought".to_owned();
            return Err(SourceError::NotSeekable { name: self.name.clone(), cause });
        }
        let metadata = std::mem::take(&mut self.metadata);
        *self = Self::start(self.name.clone(), &self.origin, &self.options)?;
        self.metadata = metadata;
        Ok(())
    }

    /// Leaves out what is before this place, as far as that can be done without decoding it.
    fn leave_out(&mut self, until: Duration) {
        let Some(rate) = self.track.as_ref().and_then(Track::skippable_rate) else { return };
        if !self.demuxer.counts_samples() || self.position() + WORTH_LEAVING_OUT > until {
            return;
        }
        self.offset = self.position() + self.track.as_mut().map_or(Duration::ZERO, Track::jump);
        (self.returned, self.ready) = (0, VecDeque::new());
        let (from, mut left_out) = (self.offset, 0);
        while self.offset < until && !self.ended {
            match self.demuxer.next() {
                Event::Packet(packet) => {
                    left_out += packet.dur.get();
                    self.offset = from + Duration::from_nanos(left_out * 1_000_000_000 / u64::from(rate));
                }
                Event::Damaged(_) => {}
                Event::Stream(stream) => return self.stream(&stream),
                Event::End(cause) => self.end(cause),
            }
        }
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
        self.metadata.duration
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn can_seek(&self) -> bool {
        self.origin.length().is_some()
    }

    /// Reads on to the place, from the start if it lies before what was read: so that it is found to the frame in any file,
    /// whatever its headers say. MP3 and FLAC are not decoded up to half a second before it, and Opus not at all.
    fn seek(&mut self, to: Duration) -> Result<Duration, SourceError> {
        if to < self.next_place() {
            self.start_over()?;
        }
        // What is damaged before it was heard before, or nobody wants to hear it.
        let damage = self.damage.take();
        self.leave_out(to.saturating_sub(RUN_UP));
        while self.next_place() + FRAME <= to && !(self.ended && self.ready.is_empty()) {
            if self.ready.pop_front().is_some() {
                self.returned += 1;
            } else {
                self.advance();
            }
        }
        if !self.ended {
            self.damage = damage;
        }
        Ok(self.next_place())
    }

    fn last_frame(&self) -> usize {
        self.last_frame
    }

    fn may_block(&self) -> bool {
        self.may_block
    }
}

/// Looks at as few bytes as will do: a live stream is slow to give more.
fn kind(input: &mut Input) -> Kind {
    for evidence in [recognise::EVIDENCE / 24, recognise::EVIDENCE / 6] {
        let kind = recognise(input.peek(evidence));
        if kind != Kind::Unknown {
            return kind;
        }
    }
    recognise(input.peek(recognise::EVIDENCE))
}

/// How much is decoded before a place that was sought, so that it sounds as if all before it had been.
const RUN_UP: Duration = Duration::from_millis(500);
/// What is nearer is decoded.
const WORTH_LEAVING_OUT: Duration = Duration::from_secs(2);
/// What may be missing at the end without being damage: a packet of AAC at 22.05 kHz lasts 46 ms.
const TOLERATED_LOSS: Duration = Duration::from_millis(50);
/// How many frames a decoder is judged by: a second.
const JUDGED: usize = 50;
/// Sound overshoots full scale by a little; what is eight times as loud is no sound.
const IMPLAUSIBLE: f32 = 8.0;
