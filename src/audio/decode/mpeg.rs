//! MPEG audio (MP1, MP2, MP3), frame by frame.
//!
//! symphonia's reader of such files trims them at a length that it estimates, takes one chance sync for a frame, and
//! its decoder refuses what changes on the way. So frames are found here and decoded there.

mod header;

use symphonia::core::audio::layouts::{CHANNEL_LAYOUT_MONO, CHANNEL_LAYOUT_STEREO};
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};
use symphonia::core::packet::Packet;

use self::header::{Header, Tag};
use super::event::{Event, Stream, failure};
use super::input::Input;
use super::length::Length;
use super::tags;

/// Finds frames.
///
/// ```text
/// at a frame ── the next one follows ──▶ at a frame
///     │
///     └─ a tag: left out · another kind of frame: a new stream · anything else: search for three frames in a row
/// ```
pub(super) struct MpegReader {
    input: Input,
    /// What the last frame was like.
    last: Option<Header>,
    length: Length,
    /// Counts what has been read, in samples per channel of the stream that plays.
    read: u64,
    pending: Option<Event>,
}

impl MpegReader {
    /// Starts where [`find`] has found the first frame.
    pub(super) fn new(mut input: Input) -> Self {
        let length = measure(&mut input);
        Self { input, last: None, length, read: 0, pending: None }
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    pub(super) fn next(&mut self) -> Event {
        if let Some(event) = self.pending.take() {
            return event;
        }
        loop {
            if let Some(length) = tags::length(&mut self.input) {
                self.input.consume(length);
                continue;
            }
            let Some(header) = self.frame() else {
                if let Some(event) = self.search() {
                    return event;
                }
                continue;
            };
            let frame: Box<[u8]> = self.input.peek(header.length)[..header.length].into();
            self.input.consume(header.length as u64);
            if let Some(tag) = Tag::parse(&header, &frame) {
                self.last = Some(header);
                return self.stream(&header, &tag);
            }
            let event = self.packet(&header, frame);
            if self.last.replace(header).is_some_and(|last| last.continues(&header)) {
                return event;
            }
            self.pending = Some(event);
            return self.stream(&header, &Tag::default());
        }
    }

    /// The header of a whole frame that starts here: one like the last, or the first of several that are alike.
    fn frame(&mut self) -> Option<Header> {
        let header = Header::parse(self.input.peek(4))?;
        // A live stream is slow to give more than the frame that is to be played.
        let expected = self.last.is_some_and(|last| last.continues(&header));
        let ahead = self.input.peek(if expected { header.length } else { LOOK_AHEAD });
        (header.length <= ahead.len() && (expected || is_stream(ahead, 2))).then_some(header)
    }

    fn stream(&mut self, header: &Header, tag: &Tag) -> Event {
        self.read = 0;
        let mut parameters = AudioCodecParameters::new();
        let codec = [CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3][usize::from(header.layer) - 1];
        let channels = if header.channels == 1 { CHANNEL_LAYOUT_MONO } else { CHANNEL_LAYOUT_STEREO };
        parameters.for_codec(codec).with_sample_rate(header.rate).with_channels(channels);
        let mut stream = Stream::new(parameters);
        stream.skip = u64::from(tag.skip);
        stream.drop_end = u64::from(tag.padding);
        Event::Stream(Box::new(stream))
    }

    fn packet(&mut self, header: &Header, frame: Box<[u8]>) -> Event {
        let at = i64::try_from(self.read).unwrap_or(i64::MAX);
        self.read += header.samples();
        Event::Packet(Packet::new(0, at.into(), header.samples().into(), frame))
    }

    /// Moves to the next place where frames follow each other. What was in between is damage, unless it is empty.
    fn search(&mut self) -> Option<Event> {
        let mut was_empty = true;
        loop {
            let ahead = self.input.peek(LOOK_AHEAD + SEARCH_STEP);
            if ahead.len() < 4 {
                return Some(Event::End(failure(self.input.take_error())));
            }
            let limit = ahead.len().min(SEARCH_STEP);
            let starts = |at: usize| is_stream(&ahead[at..], 3) || tags::is_start(&ahead[at..]);
            let found = (1..limit).find(|&at| starts(at));
            let skipped = found.unwrap_or(limit);
            was_empty &= ahead[..skipped].iter().all(|&byte| byte == 0);
            self.input.consume(skipped as u64);
            if found.is_some() {
                // A tag is left out wherever it stands, and after the last of the audio anything may stand.
                let is_damage = !was_empty && !tags::is_start(self.input.peek(16));
                return is_damage.then(|| Event::Damaged("what follows is no sound".to_owned()));
            }
        }
    }
}

/// Looks for the first frame within the first bytes, and says where it is.
///
/// Directly at the start two frames in a row will do, or one that is all there is; further in it takes four.
pub(super) fn find(ahead: &[u8]) -> Option<usize> {
    let alone =
        Header::parse(ahead).is_some_and(|header| header.length <= ahead.len() && is_stream(ahead, 2));
    if alone {
        return Some(0);
    }
    (1..ahead.len().min(MAX_JUNK)).find(|&at| ahead[at] == 0xFF && is_run(&ahead[at..], 4))
}

/// Whether so many frames follow each other, or fewer up to where the bytes end.
fn is_stream(mut ahead: &[u8], frames: usize) -> bool {
    let Some(first) = Header::parse(ahead) else { return false };
    for whole in 0..frames {
        match Header::parse(ahead).filter(|header| header.continues(&first)) {
            Some(header) if header.length <= ahead.len() => ahead = &ahead[header.length..],
            // Cut short.
            Some(_) => return whole > 0,
            None => return whole > 0 && (ahead.len() < 4 || tags::is_start(ahead) || is_empty(ahead)),
        }
    }
    true
}

/// Whether nothing but padding follows.
fn is_empty(ahead: &[u8]) -> bool {
    ahead.iter().take(32).all(|&byte| byte == 0)
}

/// Whether so many whole frames follow each other.
fn is_run(mut ahead: &[u8], frames: usize) -> bool {
    let Some(first) = Header::parse(ahead) else { return false };
    for _ in 0..frames {
        match Header::parse(ahead).filter(|header| header.continues(&first) && header.length <= ahead.len()) {
            Some(header) => ahead = &ahead[header.length..],
            None => return false,
        }
    }
    true
}

/// How long a file lasts: counted frame by frame where it can be read twice, and as its tag says otherwise.
fn measure(input: &mut Input) -> Length {
    let ahead = input.peek(LOOK_AHEAD);
    let Some(header) = Header::parse(ahead) else { return Length::default() };
    let tag = ahead.get(..header.length).and_then(|frame| Tag::parse(&header, frame));
    let samples = tag.and_then(|tag| {
        let frames = u64::from(tag.frames.filter(|&frames| frames > 0)?) * header.samples();
        Some(frames.saturating_sub(u64::from(tag.skip + tag.padding)))
    });
    let told = samples.map(|samples| super::length::of_samples(samples, header.rate));
    let start = input.position();
    let Some(length) = input.byte_length() else { return Length { told, declared: told } };
    // A tag that knows how many bytes there must be knows best whether some are missing.
    let is_whole = tag.and_then(|tag| tag.bytes).is_some_and(|bytes| length - start >= u64::from(bytes));
    let declared = told.filter(|_| !is_whole);
    if length > MAX_COUNTED {
        return Length { told, declared };
    }
    let counted = count(input);
    input.return_to(start);
    Length { told: Some(counted), declared }
}

/// Adds up what the frames last.
fn count(input: &mut Input) -> std::time::Duration {
    let mut reader =
        Counter { reader: MpegReader::uncounted(input.again()), total: 0.0, rate: 44_100, trims: 0 };
    reader.run()
}

/// Runs through a file without decoding it.
struct Counter {
    reader: MpegReader,
    total: f64,
    rate: u32,
    /// What the tag of the stream leaves out, in samples.
    trims: u64,
}

impl Counter {
    fn run(&mut self) -> std::time::Duration {
        let mut samples = 0;
        loop {
            match self.reader.next() {
                Event::Packet(packet) => samples += packet.dur.get(),
                Event::Damaged(_) => {}
                Event::Stream(stream) => {
                    self.close(samples);
                    samples = 0;
                    self.rate = stream.parameters.sample_rate.unwrap_or(self.rate);
                    self.trims = stream.skip + stream.drop_end;
                }
                Event::End(_) => {
                    self.close(samples);
                    return std::time::Duration::from_secs_f64(self.total);
                }
            }
        }
    }

    fn close(&mut self, samples: u64) {
        self.total += samples.saturating_sub(self.trims) as f64 / f64::from(self.rate);
    }
}

impl MpegReader {
    fn uncounted(input: Input) -> Self {
        Self { input, last: None, length: Length::default(), read: 0, pending: None }
    }
}

/// Room for four frames of the longest kind.
const LOOK_AHEAD: usize = 4 * 2_900;
/// How many bytes are searched at a time.
const SEARCH_STEP: usize = 32 << 10;
/// How much that is neither tag nor frame may stand before the first frame.
const MAX_JUNK: usize = 64 << 10;
/// A file that is longer is not read twice.
const MAX_COUNTED: u64 = 64 << 20;
