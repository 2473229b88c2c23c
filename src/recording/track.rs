//! Track: what one speaker says, put where it belongs on the line of the recording.
//!
//! ```text
//!            first packet, after a pause, another stream
//!  Silent ─────────────────▶ Settling ────── 400 ms ─────▶ Placed ──┐
//!    ▲                          ▲                            │      │ packets go to the file
//!    │                          └──── another talkspurt ─────┤◀─────┘
//!    └───────────────────────────── finish ──────────────────┘
//! ```

use bytes::Bytes;

use super::{anchor::Anchor, opus_file::OpusFile};
use crate::audio::frame::{SAMPLE_RATE, SILENCE};

/// One packet of a speaker, or a loss. Times are in samples at 48 kHz.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Which line of media time it is on.
    pub(super) stream: u64,
    /// Media time.
    pub(super) time: i64,
    pub(super) samples: u32,
    /// When it came, counted from the beginning of the recording.
    pub(super) arrived: i64,
    pub(super) content: Sound,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    Opus(Bytes),
    /// So many packets are lost.
    Lost(u32),
}

/// The speaker's file, and what is to go into it.
#[derive(Debug)]
pub(super) struct Track {
    serial: u32,
    title: String,
    file: Option<OpusFile>,
    /// The stream that speaks, and its anchor.
    stream: Option<(u64, Anchor)>,
    state: State,
    /// Whether the last packet in the file is no silence.
    in_speech: bool,
    spurts: Vec<Talkspurt>,
    counts: TrackCounts,
}

#[derive(Debug)]
enum State {
    /// Nothing has been said.
    Silent,
    /// A talkspurt began; its packets wait until the least delayed of them is among them.
    Settling { since: i64, held: Vec<Piece> },
    /// The talkspurt's media time and this offset are positions.
    Placed(Placed),
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    offset: i64,
    began: i64,
    /// The media time at which the last packet ended.
    next: i64,
    /// When the last packet came.
    arrived: i64,
    /// How many frames of silence came last.
    silent: u32,
}

/// A stretch of speech: where it begins and ends, in samples since the beginning of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Talkspurt {
    pub(super) began: i64,
    pub(super) ended: i64,
}

/// What is counted of a speaker in a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackCounts {
    /// Packets in the file, those of silence among them.
    pub packets: u64,
    /// Packets that were lost; the player conceals them.
    pub lost: u64,
    /// Packets left out since their place was taken: the speaker's clock runs fast, or they came twice.
    pub overlapping: u64,
    /// Stretches of speech.
    pub talkspurts: u64,
    /// What was said, in samples at 48 kHz.
    pub spoken: u64,
    /// SSRCs and media clocks that the speaker had.
    pub streams: u64,
}

impl Track {
    pub(super) fn new(serial: u32, title: String) -> Self {
        let (file, stream, state) = (None, None, State::Silent);
        let (spurts, counts) = (Vec::new(), TrackCounts::default());
        Self { serial, title, file, stream, state, in_speech: false, spurts, counts }
    }

    pub(super) fn counts(&self) -> TrackCounts {
        self.counts
    }

    /// Takes the next packet of the speaker, in order of media time.
    pub(super) fn heard(&mut self, piece: Piece) {
        self.observe(&piece);
        match &mut self.state {
            State::Placed(placed) if placed.goes_on_with(&piece) => self.write(&piece),
            State::Settling { held, .. } => {
                held.push(piece);
                if held.len() >= HELD_MAX {
                    self.place();
                }
            }
            _ => {
                self.end_talkspurt();
                // What is lost before the first word is not missed.
                if piece.is_packet() {
                    self.state = State::Settling { since: piece.arrived, held: vec![piece] };
                }
            }
        }
    }

    /// Lets the anchor know the piece; begins anew where it is of another stream, or the media clock has jumped.
    fn observe(&mut self, piece: &Piece) {
        let known = self.stream.as_mut().filter(|(stream, anchor)| {
            let delay = piece.arrived - piece.time - anchor.offset();
            *stream == piece.stream && !(piece.is_packet() && delay.abs() > JUMP)
        });
        match known {
            Some((_, anchor)) if piece.is_packet() => anchor.observe(piece.arrived, piece.time),
            Some(_) => {}
            None => {
                self.end_talkspurt();
                self.stream = Some((piece.stream, Anchor::new(piece.arrived, piece.time)));
                self.counts.streams += 1;
            }
        }
    }

    /// Writes what has waited long enough, and ends the open page.
    pub(super) fn flush(&mut self, now: i64) {
        if matches!(self.state, State::Settling { since, .. } if now >= since + SETTLING) {
            self.place();
        }
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// Ends the talkspurt: what comes next belongs to another one.
    pub(super) fn end_talkspurt(&mut self) {
        self.place();
        if let State::Placed(placed) = std::mem::replace(&mut self.state, State::Silent) {
            let ended = placed.next + placed.offset;
            self.spurts.push(Talkspurt { began: placed.began.max(0), ended });
            self.counts.talkspurts += 1;
            self.counts.spoken += (ended - placed.began).max(0).unsigned_abs();
        }
    }

    /// Ends the file at this position, with silence up to there.
    pub(super) fn finish(&mut self, position: i64) {
        self.end_talkspurt();
        if let Some(file) = &mut self.file {
            file.silence((position - file.position()).max(0).unsigned_abs());
            file.finish();
        }
    }

    /// Takes what is to be appended to the file.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.file.as_mut().map(OpusFile::take).unwrap_or_default()
    }

    /// Takes the talkspurts that have ended.
    pub(super) fn take_spurts(&mut self) -> Vec<Talkspurt> {
        std::mem::take(&mut self.spurts)
    }

    /// Finds out where the talkspurt belongs, and writes what is held of it.
    fn place(&mut self) {
        let State::Settling { held, .. } = &mut self.state else { return };
        let held = std::mem::take(held);
        let (Some(first), Some((_, anchor))) = (held.first(), &mut self.stream) else { return };
        let packets = held.iter().filter(|piece| piece.is_packet());
        let least_delayed = packets.min_by_key(|piece| piece.arrived - piece.time).unwrap_or(first);
        let own = least_delayed.arrived - least_delayed.time;
        // The clock of who does not count the pauses falls behind.
        if own - anchor.offset() > CLOCK_STEP {
            *anchor = Anchor::new(least_delayed.arrived, least_delayed.time);
        }
        let offset = anchor.offset();
        let (began, next) = (first.time + offset, first.time);
        self.state = State::Placed(Placed { offset, began, next, arrived: first.arrived, silent: 0 });
        for piece in &held {
            self.write(piece);
        }
    }

    /// Writes a piece of a talkspurt that is placed.
    fn write(&mut self, piece: &Piece) {
        let (State::Placed(placed), Some((_, anchor))) = (&mut self.state, &self.stream) else { return };
        if (anchor.offset() - placed.offset).abs() > DRIFT_MAX {
            placed.offset = anchor.offset();
        }
        placed.next = piece.time + i64::from(piece.samples);
        placed.arrived = piece.arrived;
        let due = piece.time + placed.offset;
        placed.silent = match &piece.content {
            Sound::Opus(opus) if opus[..] == SILENCE => placed.silent + 1,
            _ => 0,
        };
        let file = match &mut self.file {
            Some(file) => file,
            // A packet may have been on its way when the recording began.
            None => {
                let position = due.max(0).unsigned_abs();
                self.file.insert(OpusFile::new(self.serial, position, &[("TITLE", self.title.clone())]))
            }
        };
        let gap = (due - file.position() + SHORTEST / 2) / SHORTEST * SHORTEST;
        if gap < 0 && -gap > i64::from(piece.samples) / 2 {
            self.counts.overlapping += u64::from(piece.is_packet());
            return;
        }
        let gap = gap.max(0).unsigned_abs();
        // A sender that transmits nothing in mid-speech leaves the sound of the room to the player (RFC 7845 section 4.1).
        if self.in_speech && gap <= DTX_MAX {
            file.missing(gap)
        } else {
            file.silence(gap)
        }
        match &piece.content {
            Sound::Opus(opus) => {
                file.packet(opus, piece.samples);
                self.counts.packets += 1;
                self.in_speech = opus[..] != SILENCE;
            }
            Sound::Lost(packets) => {
                let concealed = u64::from(piece.samples).min(CONCEALED_MAX);
                file.missing(concealed);
                file.silence(u64::from(piece.samples) - concealed);
                self.counts.lost += u64::from(*packets);
            }
        }
    }
}

impl Piece {
    fn is_packet(&self) -> bool {
        matches!(self.content, Sound::Opus(_))
    }
}

impl Placed {
    /// Whether a packet belongs to this talkspurt. Some senders do not count the time in which they are silent.
    fn goes_on_with(&self, piece: &Piece) -> bool {
        let paused = piece.time - self.next > PAUSE;
        let waited = self.silent >= SILENCE_FRAMES && piece.arrived - self.arrived > UNCOUNTED_PAUSE;
        !paused && !waited
    }
}

/// 400 ms: the least delayed of 20 packets says well enough when they were said.
const SETTLING: i64 = 19_200;
/// What 2.5 ms packets take of that.
const HELD_MAX: usize = 256;
/// 60 ms without a packet, and without a loss, is a pause.
const PAUSE: i64 = 2_880;
/// 200 ms: more than a network delays.
const UNCOUNTED_PAUSE: i64 = 9_600;
const SILENCE_FRAMES: u32 = 5;
/// A second: by so much no packet is delayed, so that the media clock has jumped.
const JUMP: i64 = SAMPLE_RATE as i64;
/// 60 ms: by so much no talkspurt is delayed from its first packet to its last.
const CLOCK_STEP: i64 = 2_880;
/// 20 ms: so far a talkspurt without a pause may drift before a packet is left out or put in.
const DRIFT_MAX: i64 = 960;
/// Half a second: an encoder that transmits nothing says so every 400 ms.
const DTX_MAX: u64 = SAMPLE_RATE as u64 / 2;
/// A second: players fade out long before.
const CONCEALED_MAX: u64 = SAMPLE_RATE as u64;
/// 2.5 ms, the shortest packet.
const SHORTEST: i64 = 120;
