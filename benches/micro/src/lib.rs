//! The steps of a packet, each as a function that is called again and again: for criterion, which takes their time
//! (`cargo bench -p bench-micro`), and for callgrind, which counts their instructions (`./dev instructions`).

mod filters;
mod hearing;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;

use actix_voice::{
    audio::{
        frame::{FRAME, FRAME_SAMPLES, Frame, Pcm},
        mixer::{Limiter, mix},
        opus::{Encoder, EncoderSettings, MAX_PACKET},
        resample::Resampler,
    },
    id::{SecretKey, Ssrc, UserId},
    speaker::{Action, Pacer, Phase, Run, TrackId, TrackSettings},
    transport::{
        Link, MAX_DATAGRAM, RtpStart,
        cipher::{Cipher, Mode},
        dave::{BaseSecret, Frames, KeyChange, Sealed, SenderKey},
        rtp::{FIXED_HEADER, Header, Sequence, Timestamp},
    },
};

/// A step, and its name.
pub struct Step {
    /// Words with hyphens.
    pub name: String,
    /// Takes the step once.
    pub take: Box<dyn FnMut()>,
}

impl Step {
    fn new(name: impl Into<String>, take: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), take: Box::new(take) }
    }
}

/// All steps.
pub fn all() -> Vec<Step> {
    let modes = Mode::ALL.iter().flat_map(|&mode| {
        [
            Step::new(format!("seal-{}", mode.name()), seal(mode)),
            Step::new(format!("open-{}", mode.name()), open(mode)),
        ]
    });
    let mut steps: Vec<Step> = modes.collect();
    steps.extend([1, 100, 1_000].map(|calls| Step::new(format!("turn-of-{calls}-calls"), turn(calls))));
    steps.extend([
        Step::new("dave-seal", dave_seal()),
        Step::new("dave-seal-and-open", dave_seal_and_open()),
        Step::new("mix-two-and-limit", mix_two()),
        Step::new("resample-44100-to-48000", resample()),
        Step::new("encode-128-kbit", encode()),
    ]);
    steps.extend(hearing::all());
    steps.extend(filters::all());
    steps
}

/// The next 20 ms of so many calls: each takes a frame, encrypts it end to end and seals it; what they are short of is
/// supplied. All but the system's part of sending.
fn turn(calls: usize) -> impl FnMut() {
    let began = now();
    let mut voices: Vec<Voice> = (0..calls).map(|_| Voice::new(began)).collect();
    let mut frames = 0;
    move || {
        let now = began + FRAME * frames;
        frames += 1;
        voices.iter_mut().for_each(|voice| voice.play(now));
    }
}

struct Voice {
    pacer: Pacer,
    frames: Frames,
    link: Link,
    packet: Vec<u8>,
}

impl Voice {
    fn new(now: Instant) -> Self {
        let phase = Phase { epoch: now, offset: Duration::ZERO };
        let mut pacer =
            Pacer::new(&EncoderSettings::default(), phase).expect("libopus takes the default settings");
        pacer.link_up(now);
        pacer.attach(TrackId(1), TrackSettings::default());
        let mut link = Link::new(Ssrc(1), RtpStart::default(), now);
        link.described(Mode::ALL[0].name(), &KEY, now).expect("a mode of this build");
        Self { pacer, frames: frames(), link, packet: Vec::with_capacity(MAX_DATAGRAM) }
    }

    fn play(&mut self, now: Instant) {
        while let Some(action) = self.pacer.poll(now) {
            match action {
                Action::Demand(track, frames) => {
                    let opus = Frame::Opus(Bytes::from_static(&PLAYED));
                    self.pacer.supply(track, Run::default(), std::iter::repeat_n(opus, frames), now);
                }
                Action::Speaking(_) => self.pacer.speaking_sent(now),
                Action::Voice(frame) => {
                    let sealer = &mut self.frames.sealer;
                    let write_frame = |out: &mut Vec<u8>| sealer.seal(&frame.opus, out) != Sealed::Withheld;
                    self.link.seal(frame.elapsed, &mut self.packet, write_frame).expect("a nonce is left");
                    self.link.voice_sent(black_box(&self.packet).len());
                }
                _ => {}
            }
        }
    }
}

/// Writes and seals the packet of one frame.
fn seal(mode: Mode) -> impl FnMut() {
    let mut link = Link::new(Ssrc(1), RtpStart::default(), now());
    link.described(mode.name(), &KEY, now()).expect("a mode of this build");
    let mut packet = Vec::with_capacity(MAX_DATAGRAM);
    move || {
        let write_frame = |out: &mut Vec<u8>| {
            out.extend_from_slice(black_box(&OPUS));
            true
        };
        link.seal(960, &mut packet, write_frame).expect("a nonce is left");
        link.voice_sent(packet.len());
        black_box(&packet);
    }
}

/// Copies a packet to where a socket would have put it, and opens it there.
fn open(mode: Mode) -> impl FnMut() {
    let mut cipher = Cipher::new(mode, &KEY, 0);
    let header = Header::voice(Sequence(0), Timestamp(0), Ssrc(1));
    let mut packet = [&header.to_bytes()[..], &OPUS].concat();
    cipher.seal(&mut packet, FIXED_HEADER).expect("a nonce is left");
    let mut buffer = packet.clone();
    move || {
        buffer.copy_from_slice(black_box(&packet));
        black_box(cipher.open(&mut buffer, FIXED_HEADER)).expect("it was sealed with this key");
    }
}

fn dave_seal() -> impl FnMut() {
    let (mut frames, mut sealed) = (frames(), Vec::with_capacity(MAX_DATAGRAM));
    move || {
        sealed.clear();
        black_box(frames.sealer.seal(black_box(&OPUS), &mut sealed));
    }
}

/// A frame is opened once, so each is sealed first.
fn dave_seal_and_open() -> impl FnMut() {
    let (mut frames, now) = (frames(), now());
    let (mut sealed, mut opened) = (Vec::with_capacity(MAX_DATAGRAM), Vec::with_capacity(MAX_DATAGRAM));
    move || {
        sealed.clear();
        frames.sealer.seal(black_box(&OPUS), &mut sealed);
        let result = frames.openers.open(SPEAKER, &sealed, &mut opened, now);
        black_box(result).expect("it was sealed with this key");
    }
}

fn frames() -> Frames {
    let secret = || BaseSecret::new([1; 16]);
    let mut frames = Frames::new();
    frames.install(KeyChange::Receivers { epoch: 1, secrets: vec![(SPEAKER, secret())] }, now());
    frames.install(KeyChange::Sender(SenderKey::Epoch { epoch: 1, secret: secret() }), now());
    frames
}

/// Two tracks at full scale, so that the limiter has something to do.
fn mix_two() -> impl FnMut() {
    let (one, other, mut limiter) = (tone(0), tone(7), Limiter::new());
    move || {
        let mut mixed = one.clone();
        mix(&mut mixed, black_box(&other), 0.8);
        limiter.limit(&mut mixed);
        black_box(mixed);
    }
}

/// 20 ms of what is pushed, and of what comes out.
fn resample() -> impl FnMut() {
    let mut resampler = Resampler::new(44_100, 2).expect("an ordinary rate");
    let pushed = tone(0)[..2 * 882].to_vec();
    move || {
        resampler.push(black_box(&pushed));
        while let Some(frame) = resampler.next_frame() {
            black_box(frame);
        }
    }
}

fn encode() -> impl FnMut() {
    let mut encoder = Encoder::new(&EncoderSettings::default()).expect("libopus takes the default settings");
    let frames: Vec<Pcm> = (0..50).map(tone).collect();
    let (mut packet, mut number) = ([0; MAX_PACKET], 0);
    move || {
        number = (number + 1) % frames.len();
        black_box(encoder.encode(black_box(&frames[number]), &mut packet))
            .expect("the buffer is large enough");
    }
}

/// Something that is neither silence nor a plain tone.
fn tone(seed: usize) -> Pcm {
    let mut noise = seed as u32 + 1;
    let mut frame = Pcm::default();
    for (number, sample) in frame.iter_mut().enumerate() {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let time = (seed * FRAME_SAMPLES + number / 2) as f32 / 48_000.0;
        let chord = (time * 2_764.6).sin() + (time * 3_468.3).sin();
        *sample = chord * 0.4 + (noise >> 8) as f32 / (1 << 24) as f32 * 0.1;
    }
    frame
}

/// Some instant: nothing here depends on the time.
#[expect(clippy::disallowed_methods, reason = "a machine wants some instant to start from")]
fn now() -> Instant {
    Instant::now()
}

const KEY: SecretKey = SecretKey([7; 32]);
const SPEAKER: UserId = UserId(1);
/// A packet of 20 ms that is passed on, as long as one at 64 kbit/s.
const PLAYED: [u8; 160] = [0xFC; 160];
/// As long as a packet at 64 kbit/s.
const OPUS: [u8; 160] = [0x5a; 160];
