//! The steps of a packet that is received, behind the transport encryption.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use actix_voice::{
    audio::{
        opus::{Application, Decoder, Encoder, EncoderSettings, MAX_PACKET},
        stretch::Layout,
    },
    hearing::{Format, Hearing, ListenId, Preset, Selection, Shape, VoicePacket},
    id::{GuildId, Ssrc},
    jitter::{Packet, Player},
    transport::{
        Reception, SealedVoice,
        dave::{Frames, KeyChange, Passthrough},
    },
};
use bytes::Bytes;

use super::{OPUS, SPEAKER, Step, now, tone};

/// All steps.
pub(super) fn all() -> [Step; 6] {
    [
        Step::new("receive-attribute-and-keep", attribute()),
        Step::new("hear-record-opus", hear(Preset::Record, Format::Opus)),
        Step::new("hear-agent-48-stereo", hear(Preset::Agent, Format::Stereo)),
        Step::new("decode-48-stereo", decode(48_000, 2)),
        Step::new("decode-16-mono", decode(16_000, 1)),
        Step::new("play-live-48-stereo", live()),
    ]
}

/// Whose it is, and what is in it, of a packet that is not encrypted end to end.
fn attribute() -> impl FnMut() {
    let (mut reception, mut frames, now) = (Reception::default(), Frames::new(), now());
    frames.install(KeyChange::Passthrough(Passthrough::Open), now);
    reception.assign(Ssrc(1), SPEAKER, &mut frames.openers, now);
    let mut sequence = 0_u16;
    move || {
        sequence = sequence.wrapping_add(1);
        let timestamp = 960 * u32::from(sequence);
        let voice = SealedVoice { ssrc: Ssrc(1), sequence, timestamp, payload: black_box(&OPUS) };
        reception.voice(voice, &mut frames.openers, now);
        reception.ready().clear();
    }
}

/// From an opened packet to what a listener is told.
fn hear(preset: Preset, format: Format) -> impl FnMut() {
    let (mut hearing, mut sender) = (Hearing::new(GuildId(1)), Sender::new());
    hearing.listen(ListenId(1), preset, format, Selection::all(), Shape::Frames);
    move || {
        let packet = sender.next();
        let now = packet.arrived;
        hearing.packet(VoicePacket { user: SPEAKER, ssrc: Ssrc(1), packet }, now);
        while let Some(action) = hearing.poll(now) {
            black_box(action);
        }
    }
}

fn decode(hertz: u32, channels: usize) -> impl FnMut() {
    let mut decoder = Decoder::to(hertz, channels).expect("a rate of Opus");
    let (mut sender, mut out) = (Sender::new(), Vec::new());
    move || {
        out.clear();
        decoder.decode(Some(&sender.next().opus), &mut out).expect("it was encoded here");
        black_box(&out);
    }
}

fn live() -> impl FnMut() {
    let (mut player, mut sender) = (Player::new(Layout::STEREO), Sender::new());
    let mut decoder = Decoder::new().expect("there is memory");
    let mut out = Vec::new();
    move || {
        let packet = sender.next();
        let now = packet.arrived;
        player.packet(packet, now);
        black_box(player.tick(now, &mut decoder, &mut out));
    }
}

/// Packets of a member, 20 ms apart, that repeat after two seconds.
struct Sender {
    packets: Vec<Bytes>,
    start: Instant,
    sent: u32,
}

impl Sender {
    fn new() -> Self {
        let settings = EncoderSettings {
            bitrate: 64_000,
            fec: true,
            expected_loss: 30,
            application: Application::Voip,
            ..EncoderSettings::default()
        };
        let mut encoder = Encoder::new(&settings).expect("libopus takes the settings of a client");
        let mut encode = |nth| {
            let mut packet = [0; MAX_PACKET];
            let length = encoder.encode(&tone(nth), &mut packet).expect("the buffer is large enough");
            Bytes::copy_from_slice(&packet[..length])
        };
        Self { packets: (0..100).map(&mut encode).collect(), start: now(), sent: 0 }
    }

    fn next(&mut self) -> Packet {
        let nth = self.sent;
        self.sent += 1;
        Packet {
            sequence: nth as u16,
            timestamp: nth.wrapping_mul(960),
            arrived: self.start + Duration::from_millis(20) * nth,
            opus: self.packets[nth as usize % self.packets.len()].clone(),
        }
    }
}
