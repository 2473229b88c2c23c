//! Opus in Ogg (RFC 7845), page by page.
//!
//! Its packets are passed on as they are, so that reading them is all the work there is. symphonia's reader does most of it
//! twice, and holds 200 KB for each file that is open.

use std::collections::VecDeque;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::packet::Packet;

use super::container::Container;
use super::event::{ENDS_EARLY, Event, Stream, failure};
use super::input::Input;
use super::length::Length;
use super::metadata::MAX_COMMENT;
use super::ogg::{self, Page};
use super::reading::{explained, guarded};
use super::recognise::Kind;
use super::track;
use crate::audio::frame::SAMPLE_RATE;
use crate::audio::opus;
use crate::source::Metadata;

/// Reads one Opus stream after another. What else follows is left to symphonia.
pub(super) struct OggOpusReader {
    input: Input,
    metadata: Metadata,
    length: Length,
    /// The stream that is read.
    serial: u32,
    stage: Stage,
    /// The start of a packet that ends on a later page.
    started: Option<Vec<u8>>,
    /// The place in the stream after the last page, in samples.
    position: Option<u64>,
    /// What the pages so far have told.
    events: VecDeque<Event>,
    /// What follows that is not Opus alone.
    rest: Option<Box<Container>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The stream is still to begin.
    Head,
    Comment,
    Sound,
    /// After the page that is marked as the last.
    Over,
}

impl OggOpusReader {
    /// Reads the headers; gives back an input that does not start with one stream of Opus that can be played.
    pub(super) fn open(mut input: Input) -> Result<Self, Input> {
        if stream(&mut input).is_none() {
            return Err(input);
        }
        let length = Length { told: ogg::duration(&mut input), declared: None };
        let mut reader = Self {
            input,
            metadata: Metadata::default(),
            length,
            serial: 0,
            stage: Stage::Head,
            started: None,
            position: None,
            events: VecDeque::new(),
            rest: None,
        };
        while matches!(reader.stage, Stage::Head | Stage::Comment)
            && let Some(page) = reader.next_page()
        {
            reader.read(&page);
        }
        Ok(reader)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    pub(super) fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if let Some(rest) = &mut self.rest {
                return rest.next();
            }
            match self.next_page() {
                Some(page) => self.read(&page),
                None => return self.end(),
            }
        }
    }

    fn end(&mut self) -> Event {
        let early = (self.stage != Stage::Over).then(|| ENDS_EARLY.to_owned());
        Event::End(failure(self.input.take_error()).or(early))
    }

    /// Finds the next page that is whole and matches its checksum. What is left out shows as a jump in time.
    fn next_page(&mut self) -> Option<Page> {
        while !self.input.is_at_end() {
            if let Some(page) = header(&mut self.input) {
                let bytes = self.input.peek(page.length());
                if bytes.len() >= page.length() && page.is_intact(bytes) {
                    return Some(page);
                }
            }
            let ahead = self.input.peek(SEARCHED_AT_ONCE);
            let may_start = |&at: &usize| MARKER.starts_with(&ahead[at..ahead.len().min(at + MARKER.len())]);
            let next = (1..ahead.len()).find(may_start).unwrap_or(ahead.len());
            self.input.consume(next as u64);
        }
        None
    }

    fn read(&mut self, page: &Page) {
        if page.is_first() {
            match stream(&mut self.input) {
                Some(stream) => self.begin(page, stream),
                None => return self.leave_to_symphonia(),
            }
        } else if page.serial == self.serial {
            self.read_packets(page);
        }
        self.input.consume(page.length() as u64);
    }

    fn begin(&mut self, page: &Page, stream: Stream) {
        self.serial = page.serial;
        self.stage = Stage::Comment;
        self.started = None;
        self.position = None;
        self.events.push_back(Event::Stream(Box::new(stream)));
    }

    fn leave_to_symphonia(&mut self) {
        let unread = Input::new(self.input.origin());
        let input = std::mem::replace(&mut self.input, unread);
        match guarded(|| Container::open(Kind::Ogg, input)) {
            Ok(container) => self.rest = Some(Box::new(container)),
            Err(error) => self.events.push_back(Event::End(Some(explained(&error)))),
        }
    }

    fn read_packets(&mut self, page: &Page) {
        let mut packets = self.whole_packets(page);
        if self.stage == Stage::Comment && !packets.is_empty() {
            self.stage = Stage::Sound;
            if let Some(comment) = packets[0].strip_prefix(b"OpusTags") {
                self.metadata.add_vorbis_comment(comment);
                packets.remove(0);
            }
        }
        let mut packets: Vec<Packet> = packets.into_iter().map(packet).collect();
        if page.position != NOWHERE && self.stage == Stage::Sound {
            self.place(page, &mut packets);
        }
        self.events.extend(packets.into_iter().map(Event::Packet));
        if page.is_last() {
            self.stage = Stage::Over;
        }
    }

    /// The packets that end on this page. Of one that is longer than any should be, the start.
    fn whole_packets(&mut self, page: &Page) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        let mut before = self.started.take().filter(|_| page.is_continued());
        let mut is_lost = page.is_continued() && before.is_none();
        for (part, ends) in page.packets(self.input.peek(page.length())) {
            let mut packet = before.take().unwrap_or_default();
            packet.extend_from_slice(&part[..part.len().min(MAX_COMMENT - packet.len())]);
            // The start of a lost one was on a page that did not come.
            match (std::mem::take(&mut is_lost), ends) {
                (false, true) => whole.push(packet),
                (false, false) => self.started = Some(packet),
                (true, _) => {}
            }
        }
        whole
    }

    /// Compares the time that a page tells with what was heard: later is a gap, and on the last page earlier is padding.
    fn place(&mut self, page: &Page, packets: &mut [Packet]) {
        let lasts: u64 = packets.iter().map(|packet| packet.dur.get()).sum();
        let expected = self.position.unwrap_or_default().saturating_add(lasts);
        if self.position.is_some() && page.position > expected.saturating_add(TOLERATED_GAP) {
            let cause = "a part is missing or does not match its checksum";
            self.events.push_back(Event::Damaged(cause.to_owned()));
        }
        if page.is_last() {
            let mut padding = expected.saturating_sub(page.position);
            for packet in packets.iter_mut().rev() {
                let trimmed = packet.dur.get().min(padding);
                packet.trim_end = trimmed.into();
                padding -= trimmed;
            }
        }
        self.position = Some(page.position);
    }
}

fn packet(data: Vec<u8>) -> Packet {
    // What is no packet lasts nothing, and is an error where it is played.
    let samples = opus::samples(&data).unwrap_or_default();
    Packet::new(0, 0.into(), u64::from(samples).into(), data)
}

/// The header of the page that starts here. No more is asked for than there must be: a live stream is slow to give more.
fn header(input: &mut Input) -> Option<Page> {
    let segments = usize::from(*input.peek(27).get(26)?);
    Page::parse(input.peek(27 + segments))
}

/// The stream that starts here, if it is Opus that can be played, and the only one.
fn stream(input: &mut Input) -> Option<Stream> {
    let page = header(input).filter(Page::is_first)?;
    let bytes = input.peek(page.length() + 27);
    if bytes.len() < page.length() || !page.is_intact(bytes) {
        return None;
    }
    let another = bytes[page.length()..].get(5).is_some_and(|flags| flags & 2 != 0);
    let (head, _) =
        page.packets(bytes).next().filter(|(head, _)| head.starts_with(b"OpusHead") && !another)?;
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(CODEC_ID_OPUS).with_sample_rate(SAMPLE_RATE).with_extra_data(head.into());
    let stream = Stream::new(parameters);
    guarded(|| track::check(&stream)).is_ok().then_some(stream)
}

const MARKER: &[u8] = b"OggS";
/// The position of a page on which no packet ends.
const NOWHERE: u64 = u64::MAX;
/// A jump in time that is no rounding, in samples.
const TOLERATED_GAP: u64 = SAMPLE_RATE as u64 / 100;
const SEARCHED_AT_ONCE: usize = 64;
