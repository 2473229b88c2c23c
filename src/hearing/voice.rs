//! Voice: one speaker as the listeners of one preset hear it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Content, Format, Heard, HeardPcm, Level, Origin, Preset, SpeakerStats};
use crate::{
    audio::{
        frame::FRAME_SAMPLES,
        opus::{self, Decoder},
        stretch::Layout,
    },
    id::{GuildId, Ssrc, UserId},
    jitter::{Forwarder, Packet, Player, Quality, Step},
};

/// A user and the source of its packets: a user who comes back has another source, and a source may get another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct VoiceId {
    pub(super) user: UserId,
    pub(super) ssrc: Ssrc,
}

pub(super) struct Voice {
    guild: GuildId,
    id: VoiceId,
    playout: Playout,
    samples: Option<Sampler>,
    /// The line of media time that was told last, and the number of its stream.
    stream: Option<(u64, u64)>,
    /// Frames that follow from one step.
    ready: VecDeque<Heard>,
    last_packet: Option<Instant>,
    jitter: Jitter,
    stats: SpeakerStats,
}

/// How packets become what is heard.
enum Playout {
    Forward(Box<Forwarder>),
    Even(Box<Player>),
}

fn layout(format: Format) -> Layout {
    Layout { hertz: format.hertz(), channels: format.channels().max(1) }
}

impl Voice {
    pub(super) fn new(guild: GuildId, id: VoiceId, preset: Preset, format: Format) -> Self {
        let playout = match preset {
            Preset::Record => Playout::Forward(Box::new(Forwarder::for_record())),
            Preset::Agent => Playout::Forward(Box::new(Forwarder::for_agent())),
            Preset::Live => Playout::Even(Box::new(Player::new(layout(format)))),
        };
        Self {
            guild,
            id,
            playout,
            samples: Sampler::new(format),
            stream: None,
            ready: VecDeque::new(),
            last_packet: None,
            jitter: Jitter::default(),
            stats: SpeakerStats::new(id.user, preset, format),
        }
    }

    pub(super) fn packet(&mut self, packet: Packet, now: Instant) {
        self.last_packet = Some(now);
        self.jitter.packet(&packet);
        match &mut self.playout {
            Playout::Forward(forwarder) => forwarder.packet(packet, now),
            Playout::Even(player) => player.packet(packet, now),
        }
    }

    /// Plays 20 ms, where that is asked for.
    pub(super) fn tick(&mut self, now: Instant, last_stream: &mut u64) {
        let (Playout::Even(player), Some(sampler)) = (&mut self.playout, &mut self.samples) else { return };
        let Some(played) = player.tick(now, &mut sampler.decoder, &mut sampler.scratch) else { return };
        let origin = match played.quality {
            Quality::Decoded => Origin::Decoded,
            Quality::Recovered => Origin::Recovered,
            Quality::Concealed => Origin::Concealed,
        };
        let pcm = sampler.told(origin);
        self.stats.handed_on(played.delay);
        let stream = self.stream(played.line, last_stream);
        let arrived = now.checked_sub(played.delay).unwrap_or(now);
        self.push(stream, played.time, FRAME_SAMPLES as u32, arrived, Content::Even, Some(pcm));
    }

    /// The next frame, if it is time for it.
    pub(super) fn poll(&mut self, now: Instant, last_stream: &mut u64) -> Option<Heard> {
        if self.ready.is_empty() {
            let Playout::Forward(forwarder) = &mut self.playout else { return None };
            let step = forwarder.poll(now)?;
            if let Step::Packet { arrived, .. } = &step {
                self.stats.handed_on(now.saturating_duration_since(*arrived));
            }
            self.take(step, last_stream);
        }
        self.ready.pop_front()
    }

    /// The next frame, though more may be missing before it.
    pub(super) fn flush(&mut self, last_stream: &mut u64) -> Option<Heard> {
        if self.ready.is_empty() {
            let Playout::Forward(forwarder) = &mut self.playout else { return None };
            let step = forwarder.flush()?;
            self.take(step, last_stream);
        }
        self.ready.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.playout {
            Playout::Forward(forwarder) => forwarder.deadline(),
            Playout::Even(_) => None,
        }
    }

    pub(super) fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// Whether nothing waits to be told.
    pub(super) fn is_idle(&self) -> bool {
        let waits = match &self.playout {
            Playout::Forward(forwarder) => forwarder.deadline().is_some(),
            Playout::Even(player) => !player.is_idle(),
        };
        self.ready.is_empty() && !waits
    }

    pub(super) fn stats(&self) -> SpeakerStats {
        let counts = match &self.playout {
            Playout::Forward(forwarder) => forwarder.counts(),
            Playout::Even(player) => player.counts(),
        };
        SpeakerStats { counts, jitter: self.jitter.mean(), ..self.stats.clone() }
    }

    fn take(&mut self, step: Step, last_stream: &mut u64) {
        match step {
            Step::Packet { line, time, samples, arrived, opus } => {
                let stream = self.stream(line, last_stream);
                let pcm = self.samples.as_mut().and_then(|sampler| sampler.decode(&opus));
                self.push(stream, time, samples, arrived, Content::Opus(opus), pcm);
            }
            Step::Lost { line, time, samples, packets, arrived, successor } => {
                let stream = self.stream(line, last_stream);
                if self.samples.is_none() {
                    return self.push(stream, time, samples, arrived, Content::Lost { packets }, None);
                }
                let mut time = time;
                for part in Part::of_loss(packets, samples) {
                    let pcm = self.fill(&part, successor.as_ref());
                    self.push(
                        stream,
                        time,
                        part.samples,
                        arrived,
                        Content::Lost { packets: part.packets },
                        pcm,
                    );
                    time += u64::from(part.samples);
                }
            }
        }
    }

    /// Fills a part of what is lost, as well as can be.
    fn fill(&mut self, part: &Part, successor: Option<&Bytes>) -> Option<HeardPcm> {
        let sampler = self.samples.as_mut()?;
        let (pcm, recovered, concealed) = match (part.fill, successor) {
            (Fill::Silence, _) => (sampler.silence(part.samples), 0, 0),
            (Fill::Last, Some(next)) if opus::has_redundancy(next) => {
                (sampler.recover(next, part.samples), 1, 0)
            }
            (Fill::Last | Fill::Conceal, _) => (sampler.conceal(part.samples), 0, part.packets),
        };
        if let Playout::Forward(forwarder) = &mut self.playout {
            forwarder.replaced(recovered, concealed);
        }
        pcm
    }

    /// The number of the stream that this line of media time is.
    fn stream(&mut self, line: u64, last_stream: &mut u64) -> u64 {
        match self.stream {
            Some((known, stream)) if known == line => stream,
            _ => {
                *last_stream += 1;
                self.stream = Some((line, *last_stream));
                *last_stream
            }
        }
    }

    fn push(
        &mut self,
        stream: u64,
        time: u64,
        samples: u32,
        arrived: Instant,
        content: Content,
        pcm: Option<HeardPcm>,
    ) {
        let (guild, VoiceId { user, ssrc }) = (self.guild, self.id);
        self.ready.push_back(Heard { guild, user, ssrc, stream, time, samples, arrived, content, pcm });
    }
}

/// A part of what was lost in one run.
struct Part {
    packets: u32,
    samples: u32,
    fill: Fill,
}

#[derive(Clone, Copy)]
enum Fill {
    Conceal,
    /// It is too long ago for the decoder to know what may have been.
    Silence,
    /// The packet before the one that came.
    Last,
}

impl Part {
    /// A run of lost packets: what can be concealed, then silence, then the last one, of which the successor may hold a copy.
    fn of_loss(packets: u32, samples: u32) -> impl Iterator<Item = Self> {
        let each = samples / packets.max(1);
        let before = packets.saturating_sub(1);
        let concealed = before.min(MAX_CONCEALED.checked_div(each).unwrap_or(before));
        let silent = before - concealed;
        let part = |packets, fill| Self { packets, samples: packets * each, fill };
        let last = Self { packets: packets - before, samples: samples - before * each, fill: Fill::Last };
        [part(concealed, Fill::Conceal), part(silent, Fill::Silence), last]
            .into_iter()
            .filter(|part| part.packets > 0)
    }
}

/// Makes samples of packets.
struct Sampler {
    decoder: Decoder,
    format: Format,
    scratch: Vec<f32>,
}

impl Sampler {
    /// None for a format without samples, or when libopus has no memory.
    fn new(format: Format) -> Option<Self> {
        if format == Format::Opus {
            return None;
        }
        let decoder = Decoder::to(format.hertz(), format.channels()).ok()?;
        Some(Self { decoder, format, scratch: Vec::new() })
    }

    fn decode(&mut self, opus: &[u8]) -> Option<HeardPcm> {
        self.filled(Origin::Decoded, |decoder, out| decoder.decode(Some(opus), out).is_ok())
    }

    fn recover(&mut self, next: &[u8], samples: u32) -> Option<HeardPcm> {
        self.filled(Origin::Recovered, |decoder, out| decoder.recover(next, samples, out).is_ok())
    }

    fn conceal(&mut self, samples: u32) -> Option<HeardPcm> {
        self.filled(Origin::Concealed, |decoder, out| decoder.conceal(samples, out).is_ok())
    }

    fn silence(&mut self, samples: u32) -> Option<HeardPcm> {
        // A second at most: nobody wants a minute of zeroes at once.
        let samples = u64::from(samples.min(MAX_SILENCE)) * u64::from(self.format.hertz()) / 48_000;
        let length = samples as usize * self.format.channels();
        self.filled(Origin::Silence, |_, out| {
            out.resize(length, 0.0);
            true
        })
    }

    fn filled(
        &mut self,
        origin: Origin,
        fill: impl FnOnce(&mut Decoder, &mut Vec<f32>) -> bool,
    ) -> Option<HeardPcm> {
        self.scratch.clear();
        if !fill(&mut self.decoder, &mut self.scratch) {
            return None;
        }
        Some(self.told(origin))
    }

    /// What is in the scratch.
    fn told(&self, origin: Origin) -> HeardPcm {
        let (samples, level) = (Arc::from(&self.scratch[..]), Level::of(&self.scratch));
        HeardPcm { samples, format: self.format, origin, level }
    }
}

/// How much the delays of packets differ (RFC 3550 section 6.4.1).
#[derive(Default)]
struct Jitter {
    last: Option<(u32, Instant)>,
    /// In nanoseconds.
    mean: f64,
}

impl Jitter {
    fn packet(&mut self, packet: &Packet) {
        if let Some((timestamp, arrived)) = self.last {
            let sent = f64::from(packet.timestamp.wrapping_sub(timestamp).cast_signed()) / 48_000.0;
            let passed = packet.arrived.saturating_duration_since(arrived).as_secs_f64()
                - arrived.saturating_duration_since(packet.arrived).as_secs_f64();
            let difference = (passed - sent).abs();
            // A pause, or a jump of a clock, is no jitter.
            if difference < 1.0 {
                self.mean += (difference * 1e9 - self.mean) / 16.0;
            }
        }
        self.last = Some((packet.timestamp, packet.arrived));
    }

    fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean as u64)
    }
}

/// What is concealed of one run, in samples at 48 kHz: libopus fades to silence after 60 to 100 ms.
const MAX_CONCEALED: u32 = 4_800;
/// What is told of silence at once, in samples at 48 kHz.
const MAX_SILENCE: u32 = 48_000;
