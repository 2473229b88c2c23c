//! Containers that symphonia takes apart: Ogg, MP4, Matroska, AIFF, CAF and ADTS; and what it does not see in them.

mod matroska;
mod movie;

use std::io;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackFlags, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::packet::Packet;
use symphonia::default::formats::{AdtsReader, AiffReader, CafReader, IsoMp4Reader, MkvReader, OggReader};

use self::movie::Movie;
use super::event::{ENDS_EARLY, Event, Stream, failure};
use super::input::{Input, MAX_IN_MEMORY, Unseekable};
use super::length::Length;
use super::ogg;
use super::reading::{explained, guarded};
use super::recognise::Kind;
use super::track;
use crate::audio::frame::SAMPLE_RATE;
use crate::source::Metadata;

/// A container that is open, and the track in it that plays.
pub(super) struct Container {
    kind: Kind,
    reader: Box<dyn FormatReader>,
    id: u32,
    movie: Movie,
    /// Tracks whose packets are not what the codec takes.
    encoded: Vec<matroska::Encoded>,
    length: Length,
    /// Where the next packet should start, in the track's own units; known in Ogg only.
    expected: Option<i64>,
    /// What is to be told before the next packet.
    first: Option<Box<Stream>>,
    /// A packet before which something was missing.
    held: Option<Packet>,
}

impl Container {
    /// Reads the headers, and chooses a track.
    pub(super) fn open(kind: Kind, mut input: Input) -> Result<Self, Error> {
        let (mut movie, mut encoded, mut length) = (Movie::default(), Vec::new(), None);
        let origin = input.origin().clone();
        match kind {
            Kind::IsoMp4 => {
                if input.byte_length().is_none() && !movie::is_streamable(&mut input) {
                    input = in_memory(input)?;
                }
                movie = Movie::read(&mut input);
                movie.hide_pictures(&mut input);
            }
            Kind::Aiff | Kind::Caf if input.byte_length().is_none() => input = in_memory(input)?,
            Kind::Matroska => encoded = matroska::encoded_tracks(input.peek(matroska::HEAD)),
            Kind::Ogg => length = ogg::duration(&mut input),
            _ => {}
        }
        let start = input.position();
        let is_cut = movie.is_cut();
        let reader = guarded(|| reader(kind, input, is_cut)).or_else(|error| {
            // What is cut short, or lacks what stands at its end, may play as a stream of the same bytes.
            let again = matches!(kind, Kind::Matroska | Kind::IsoMp4) && origin.length().is_some();
            if !again || !origin.rewind() {
                return Err(error);
            }
            let mut input = Input::new(&origin);
            input.consume(start);
            movie.hide_pictures(&mut input);
            guarded(|| reader(kind, input, true)).map_err(|_| error)
        })?;
        let mut container = Self {
            kind,
            reader,
            id: 0,
            movie,
            encoded,
            length: Length::default(),
            expected: None,
            first: None,
            held: None,
        };
        container.first = Some(container.choose()?);
        container.length = container.measure(length);
        Ok(container)
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    pub(super) fn describe(&mut self, metadata: &mut Metadata) {
        let (reader, id) = (&mut self.reader, self.id);
        // What cannot be read says nothing.
        let _ = guarded(|| {
            if let Some(revision) = reader.metadata().skip_to_latest() {
                metadata.add(&revision.media.tags);
                let own = revision.per_track.iter().filter(|track| track.track_id == u64::from(id));
                own.for_each(|track| metadata.add(&track.metadata.tags));
            }
            Ok(())
        });
    }

    pub(super) fn next(&mut self) -> Event {
        loop {
            if let Some(stream) = self.first.take() {
                return Event::Stream(stream);
            }
            if let Some(packet) = self.held.take() {
                return Event::Packet(packet);
            }
            let reader = &mut self.reader;
            match guarded(|| reader.next_packet()) {
                Ok(Some(packet)) if packet.track_id == self.id => return self.packet(packet),
                Ok(Some(_)) => {}
                Ok(None) => return Event::End(None),
                // A chained Ogg file goes on with another stream, which may be of another kind.
                Err(Error::ResetRequired) => match self.choose() {
                    Ok(stream) => {
                        self.length.declared = None;
                        self.first = Some(stream);
                    }
                    Err(error) => return Event::End(Some(explained(&error))),
                },
                Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    // Matroska need not say where it ends.
                    return Event::End((self.kind != Kind::Matroska).then(|| ENDS_EARLY.to_owned()));
                }
                Err(Error::IoError(error)) => return Event::End(failure(Some(error))),
                Err(error) => return Event::End(Some(explained(&error))),
            }
        }
    }

    /// A page of Ogg whose checksum is wrong is left out by the reader; what shows is a jump in time.
    fn packet(&mut self, packet: Packet) -> Event {
        if self.kind != Kind::Ogg {
            return Event::Packet(packet);
        }
        let starts = packet.pts.get();
        let lasts = i64::try_from(packet.block_dur().get()).unwrap_or(i64::MAX);
        let expected = self.expected.replace(starts.saturating_add(lasts));
        if expected.is_some_and(|expected| starts > expected.saturating_add(TOLERATED_GAP)) {
            self.held = Some(packet);
            return Event::Damaged("a part is missing or does not match its checksum".to_owned());
        }
        Event::Packet(packet)
    }

    /// Picks the first track that can be played, those marked as default before the others.
    fn choose(&mut self) -> Result<Box<Stream>, Error> {
        self.expected = None;
        let mut refused = None;
        let tracks = self.reader.tracks().iter().filter(|track| track.track_type() == Some(TrackType::Audio));
        let (marked, others): (Vec<&Track>, Vec<&Track>) =
            tracks.partition(|track| track.flags.contains(TrackFlags::DEFAULT));
        for track in marked.into_iter().chain(others) {
            let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { continue };
            match self.playable(track.id, parameters) {
                Ok(stream) => {
                    self.id = track.id;
                    return Ok(Box::new(stream));
                }
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        Err(refused.unwrap_or(Error::Unsupported("there is no sound in it that is known here")))
    }

    fn playable(&self, id: u32, parameters: &AudioCodecParameters) -> Result<Stream, Error> {
        if let Some(encoded) = self.encoded.iter().find(|encoded| encoded.track == u64::from(id)) {
            return Err(Error::Unsupported(encoded.cause));
        }
        let mut parameters = parameters.clone();
        self.movie.correct(id, &mut parameters);
        let mut stream = Stream::new(parameters);
        stream.big_endian = self.kind == Kind::IsoMp4;
        if stream.parameters.codec != CODEC_ID_OPUS {
            self.movie.trim(id, &mut stream);
        }
        guarded(|| track::check(&stream))?;
        Ok(stream)
    }

    fn measure(&self, counted: Option<std::time::Duration>) -> Length {
        let tracks = self.reader.tracks();
        let Some(track) = tracks.iter().find(|track| track.id == self.id) else { return Length::default() };
        let info = self.reader.media_info();
        let lasts = match self.kind {
            Kind::Ogg => return Length { told: counted, declared: None },
            // Estimated from the first frames.
            Kind::Adts => return Length::default(),
            Kind::IsoMp4 if self.movie.is_fragmented() => return self.movie.fragmented_length(self.id),
            Kind::Matroska => info.time_base.zip(info.duration),
            _ => track.time_base.zip(track.duration),
        };
        let lasts = lasts.and_then(|(base, lasts)| base.calc_duration(lasts));
        let lasts = lasts.and_then(|lasts| u64::try_from(lasts.as_nanos()).ok());
        let lasts = lasts.map(std::time::Duration::from_nanos).filter(|lasts| !lasts.is_zero());
        let told = self.movie.kept_length(self.id).or(lasts);
        // What a file of several tracks says is true of the longest.
        Length { told, declared: told.filter(|_| tracks.len() == 1) }
    }
}

fn in_memory(input: Input) -> Result<Input, Error> {
    let origin = input.origin().clone();
    if !origin.buffer_whole()? {
        const { assert!(MAX_IN_MEMORY == 64 << 20) };
        return Err(Error::LimitError(
            "its index comes last, and more than 64 MiB of a stream are not held in memory for it: save it as a file",
        ));
    }
    let mut whole = Input::new(&origin);
    whole.consume(input.position());
    Ok(whole)
}

fn reader(kind: Kind, input: Input, as_stream: bool) -> Result<Box<dyn FormatReader>, Error> {
    // Ogg and ADTS are read from front to back: of what symphonia reads at the end it only guesses lengths.
    let media: Box<dyn MediaSource> = if as_stream || matches!(kind, Kind::Ogg | Kind::Adts) {
        Box::new(Unseekable(input))
    } else {
        Box::new(input)
    };
    let stream = MediaSourceStream::new(media, MediaSourceStreamOptions::default());
    let options = FormatOptions::default();
    Ok(match kind {
        Kind::Ogg => Box::new(OggReader::try_new(stream, options)?),
        Kind::IsoMp4 => Box::new(IsoMp4Reader::try_new(stream, options)?),
        Kind::Matroska => Box::new(MkvReader::try_new(stream, options)?),
        Kind::Aiff => Box::new(AiffReader::try_new(stream, options)?),
        Kind::Caf => Box::new(CafReader::try_new(stream, options)?),
        Kind::Adts => Box::new(AdtsReader::try_new(stream, options)?),
        _ => return Err(Error::Unsupported("it is no container that is known here")),
    })
}

/// A jump in time that is no rounding, in samples of the track.
const TOLERATED_GAP: i64 = SAMPLE_RATE as i64 / 100;
