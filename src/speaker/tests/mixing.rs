//! Stories of what is heard: packets are decoded, and listened to.

use super::*;
use crate::audio::{
    frame::{CHANNELS, SAMPLE_RATE},
    opus::{self, Decoder},
};

/// A tone that goes on for ever, both channels alike.
pub(super) fn tone(hertz: f32, amplitude: f32) -> impl FnMut() -> Pcm {
    let mut at = 0u32;
    move || {
        let mut pcm = Pcm::default();
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            let turns = hertz * at as f32 / SAMPLE_RATE as f32;
            pair.fill(amplitude * (turns * std::f32::consts::TAU).sin());
            at = (at + 1) % SAMPLE_RATE;
        }
        pcm
    }
}

fn pcm_source(hertz: f32, amplitude: f32) -> Fast {
    let mut tone = tone(hertz, amplitude);
    Box::new(move || Some(Frame::Pcm(tone())))
}

fn opus_source(hertz: f32, amplitude: f32) -> Fast {
    let mut tone = tone(hertz, amplitude);
    let mut encoder = Encoder::new(&EncoderSettings::default()).unwrap();
    Box::new(move || {
        let mut packet = [0; MAX_PACKET];
        let length = encoder.encode(&tone(), &mut packet).unwrap();
        Some(Frame::Opus(Bytes::copy_from_slice(&packet[..length])))
    })
}

/// How loud a pitch is in the second half of what was heard: the amplitude of a pure tone.
fn amplitude(heard: &[Bytes], hertz: f32) -> f32 {
    let mut decoder = Decoder::new().unwrap();
    let mut samples = Vec::new();
    for packet in heard {
        decoder.decode(Some(packet), &mut samples).unwrap();
    }
    let left: Vec<f32> = samples.into_iter().step_by(CHANNELS).collect();
    let steady = &left[left.len() / 2..];
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (at, sample) in steady.iter().enumerate() {
        let angle = hertz * at as f32 / SAMPLE_RATE as f32 * std::f32::consts::TAU;
        sine += sample * angle.sin();
        cosine += sample * angle.cos();
    }
    2.0 * f32::hypot(sine, cosine) / steady.len() as f32
}

pub(super) fn assert_close(is: f32, wanted: f32) {
    assert!((is - wanted).abs() < 0.02, "amplitude {is}, wanted {wanted}");
}

#[test]
fn one_opus_track_at_full_volume_passes_untouched() {
    let mut story = Story::linked();
    story.play(MUSIC, source(50));
    story.pass(SECOND - FRAME);
    assert_eq!(story.heard(), packets(0..50));
    assert_eq!(story.playout.counts().passed_through, 50);
}

#[test]
fn two_tracks_are_heard_together() {
    for (music, speech) in [
        (pcm_source(500.0, 0.3), pcm_source(2000.0, 0.2)),
        (opus_source(500.0, 0.3), pcm_source(2000.0, 0.2)),
        (opus_source(500.0, 0.3), opus_source(2000.0, 0.2)),
    ] {
        let mut story = Story::linked();
        story.sources.insert(MUSIC, music);
        story.sources.insert(SPEECH, speech);
        story.playout.attach(MUSIC, live(MICROPHONE, 1.0));
        story.playout.attach(SPEECH, live(MICROPHONE, 1.0));
        story.drive();
        story.pass(SECOND);
        let heard = story.heard();
        assert_close(amplitude(&heard, 500.0), 0.3);
        assert_close(amplitude(&heard, 2000.0), 0.2);
        assert_close(amplitude(&heard, 1100.0), 0.0);
        assert_eq!(story.playout.counts().codec_errors, 0);
    }
}

#[test]
fn volume_scales_either_kind_of_frame() {
    for source in [pcm_source(500.0, 0.4), opus_source(500.0, 0.4)] {
        let mut story = Story::linked();
        story.sources.insert(MUSIC, source);
        story.attach(MUSIC, MICROPHONE, 0.5);
        story.pass(SECOND);
        assert_close(amplitude(&story.heard(), 500.0), 0.2);
        assert_eq!(story.playout.counts().passed_through, 0);
    }
}

#[test]
fn a_loud_track_keeps_its_shape() {
    let mut story = Story::linked();
    story.sources.insert(MUSIC, pcm_source(500.0, 0.99));
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.pass(SECOND);
    let heard = story.heard();
    assert_close(amplitude(&heard, 500.0), 0.99);
    assert!(amplitude(&heard, 1500.0) < 0.005, "a bent sine has overtones");
}

#[test]
fn two_loud_tracks_stay_inside_full_scale_without_overtones() {
    let mut story = Story::linked();
    for id in [MUSIC, SPEECH] {
        story.sources.insert(id, pcm_source(500.0, 0.9));
        story.playout.attach(id, live(MICROPHONE, 1.0));
    }
    story.drive();
    story.pass(SECOND);
    let heard = story.heard();
    assert_close(amplitude(&heard, 500.0), 0.9);
    assert!(amplitude(&heard, 1500.0) < 0.005);
}

#[test]
fn the_music_goes_on_alone_and_untouched_when_the_speech_beside_it_ends() {
    let mut story = Story::linked();
    story.sources.insert(MUSIC, opus_source(500.0, 0.3));
    let mut speech = tone(2000.0, 0.2);
    let mut left = 50;
    story.sources.insert(
        SPEECH,
        Box::new(move || {
            left -= 1;
            (left >= 0).then(|| Frame::Pcm(speech()))
        }),
    );
    story.playout.attach(MUSIC, live(MICROPHONE, 1.0));
    story.playout.attach(SPEECH, live(MICROPHONE, 1.0));
    story.drive();
    story.pass(SECOND);
    story.log();
    story.pass(SECOND);
    let heard = story.heard();
    assert_close(amplitude(&heard, 500.0), 0.3);
    assert_close(amplitude(&heard, 2000.0), 0.0);
    assert_eq!(story.playout.counts().passed_through, 46, "all but the second both played, and 100 ms");
}

#[test]
fn a_track_beside_one_that_has_not_begun_is_heard_all_the_same() {
    let mut story = Story::linked();
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.play(MUSIC, opus_source(500.0, 0.3));
    story.pass(SECOND);
    assert_close(amplitude(&story.heard(), 500.0), 0.3);
}

#[test]
fn what_is_no_packet_of_twenty_milliseconds_is_counted_and_silent() {
    let sixty = Bytes::from_static(&[0xFF, 3, 0, 0, 0]);
    assert_eq!(opus::samples(&sixty), Ok(2880));
    let huge = Bytes::from([&[0xFF, 0b1000_0001 | 1][..], &[0; 2000]].concat());
    for bad in [sixty, Bytes::new(), Bytes::from_static(&[0xFF]), huge] {
        let mut story = Story::linked();
        let mut frames = std::iter::once(Frame::Opus(bad.clone())).chain((1..).map(opus));
        story.play(MUSIC, Box::new(move || frames.next()));
        story.pass(FRAME * 9);
        let heard = story.heard();
        assert_eq!(opus::duration(&heard[0]), Ok(FRAME));
        assert_ne!(heard[0], bad);
        assert_close(amplitude(&heard[..1], 500.0), 0.0);
        assert_eq!(heard[6..], packets(6..10), "and the track goes on");
        assert_eq!(story.playout.counts().codec_errors, 1);
    }
}

#[test]
fn a_packet_too_large_for_a_datagram_is_encoded_anew() {
    // Eight frames of 2.5 ms, each of 250 bytes, at a constant bitrate (RFC 6716 section 3.2.5).
    let large = Bytes::from([&[0b1110_0111, 8][..], &[0; 2000]].concat());
    assert_eq!(opus::duration(&large), Ok(FRAME));
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, Frame::Opus(large));
    story.pass(FRAME);
    let heard = story.heard();
    assert!(heard[0].len() <= MAX_PACKET, "{} bytes", heard[0].len());
    assert_eq!(story.playout.counts().passed_through, 0);
}

#[test]
fn what_is_no_number_is_silence_and_harms_nothing_after_it() {
    let mut story = Story::linked();
    let mut tone = tone(500.0, 0.3);
    let mut broken = 10;
    story.play(
        MUSIC,
        Box::new(move || {
            broken -= 1;
            Some(Frame::Pcm(if broken > 0 { Pcm::new([f32::NAN; 1920]) } else { tone() }))
        }),
    );
    story.pass(SECOND);
    assert_close(amplitude(&story.heard(), 500.0), 0.3);
}

#[test]
fn a_lower_bitrate_makes_smaller_packets() {
    let mut story = Story::linked();
    let mut noise = 1u32;
    story.play(
        MUSIC,
        Box::new(move || {
            let mut pcm = Pcm::default();
            for sample in pcm.iter_mut() {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sample = (noise >> 8) as f32 / (1 << 24) as f32 - 0.5;
            }
            Some(Frame::Pcm(pcm))
        }),
    );
    let bytes = |heard: Vec<Bytes>| heard.iter().map(Bytes::len).sum::<usize>();
    story.pass(SECOND);
    let before = bytes(story.heard());
    story.playout.set_bitrate(16_000).unwrap();
    story.pass(SECOND);
    let after = bytes(story.heard());
    assert!(after * 4 < before, "{before} bytes, then {after}");
}
