//! What losses do to speech.

use std::time::{Duration, Instant};

use actix_voice::{
    audio::opus::{Decoder, has_redundancy},
    hearing::{Action, Format, Heard, Hearing, ListenId, Preset, Rate, Selection, Shape, VoicePacket},
    id::{GuildId, Ssrc, UserId},
    jitter::Packet,
};
use bytes::Bytes;

use super::{
    network::Losses,
    speech::{Copies, encode, frames, sixteen_bits},
};

const SIXTEEN: Format = Format::Mono(Rate::Khz16);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

/// What an agent hears of these packets, of which some are lost.
fn heard(
    packets: &[Bytes],
    losses: impl IntoIterator<Item = bool>,
) -> (Vec<f32>, actix_voice::jitter::Counts) {
    let (start, mut hearing) = (start(), Hearing::new(GuildId(1)));
    hearing.listen(ListenId(1), Preset::Agent, SIXTEEN, Selection::all(), Shape::Frames);
    let mut told: Vec<Heard> = Vec::new();
    let mut poll = |hearing: &mut Hearing, now| {
        while let Some(action) = hearing.poll(now) {
            if let Action::Frame(_, heard) = action {
                told.push(heard);
            }
        }
    };
    for (nth, (opus, lost)) in packets.iter().zip(losses).enumerate() {
        let now = start + Duration::from_millis(20) * nth as u32;
        // The first is needed to know when it begins.
        if !lost || nth == 0 {
            let (sequence, timestamp) = (nth as u16, 960 * nth as u32);
            let packet = Packet { sequence, timestamp, arrived: now, opus: opus.clone() };
            hearing.packet(VoicePacket { user: UserId(2), ssrc: Ssrc(3), packet }, now);
        }
        for millisecond in [0, 10] {
            poll(&mut hearing, now + Duration::from_millis(millisecond));
        }
    }
    hearing.finish();
    poll(&mut hearing, start + Duration::from_secs(3_600));
    let first = told[0].time;
    let mut samples = vec![0.0; packets.len() * 320];
    for frame in &told {
        let at = (frame.time - first) as usize / 3;
        let pcm = frame.pcm.as_ref().expect("samples were asked for");
        samples[at..at + pcm.samples.len()].copy_from_slice(&pcm.samples);
    }
    (samples, hearing.stats()[0].counts)
}

/// What can be made of the packets by who knows from the start which are lost.
fn best(packets: &[Bytes], losses: &[bool]) -> Vec<f32> {
    let (mut decoder, mut out) = (Decoder::to(16_000, 1).unwrap(), Vec::new());
    for nth in 0..packets.len() {
        let lost = losses[nth] && nth > 0;
        let next = packets.get(nth + 1).filter(|_| !losses[nth + 1]);
        match (lost, next) {
            (false, _) => decoder.decode(Some(&packets[nth]), &mut out).unwrap(),
            (true, Some(next)) => decoder.recover(next, 960, &mut out).unwrap(),
            (true, None) => decoder.conceal(960, &mut out).unwrap(),
        };
    }
    out
}

fn score(reference: &[f32], samples: &[f32]) -> f32 {
    pesq::pesq_wb(&sixteen_bits(reference), &sixteen_bits(samples)).unwrap()
}

#[test]
fn speech_with_losses_is_understood_thanks_to_the_copies_in_the_packets_that_come() {
    let frames = frames("speech.wav", 3);
    let packets = encode(&frames, Copies::With);
    let plain = encode(&frames, Copies::Without);
    let (clean, _) = heard(&packets, std::iter::repeat(false));
    let (plain_clean, _) = heard(&plain, std::iter::repeat(false));
    for (share, bar, advantage) in [(0.05, 3.6, 0.6), (0.10, 3.0, 0.8), (0.20, 2.15, 0.6)] {
        let seeds = 0..5;
        let count = seeds.end as f32;
        let (mut sum, mut sum_best, mut sum_plain) = (0.0, 0.0, 0.0);
        let (mut recovered, mut recoverable) = (0, 0);
        for seed in seeds {
            let losses: Vec<bool> = Losses::bursts(share, seed).take(packets.len()).collect();
            let (samples, counts) = heard(&packets, losses.iter().copied());
            sum += score(&clean, &samples);
            sum_best += score(&clean, &best(&packets, &losses));
            sum_plain += score(&plain_clean, &heard(&plain, losses.iter().copied()).0);
            recovered += counts.recovered;
            let carries = |nth: usize| losses[nth] && !losses[nth + 1] && has_redundancy(&packets[nth + 1]);
            recoverable += (1..packets.len() - 1).filter(|nth| carries(*nth)).count() as u64;
        }
        let (mean, mean_best, mean_plain) = (sum / count, sum_best / count, sum_plain / count);
        println!(
            "{share}: PESQ {mean:.2}, knowing all {mean_best:.2}, without copies {mean_plain:.2}; {recovered} of {recoverable} recovered"
        );
        assert!(mean >= bar, "{share}: {mean}");
        assert!(mean >= mean_best - 0.05, "{share}: {mean}, {mean_best} by who knows all");
        assert!(mean >= mean_plain + advantage, "{share}: {mean}, {mean_plain} without copies");
        assert!(recovered as f64 >= 0.99 * recoverable as f64, "{recovered} of {recoverable}");
    }
}
