//! Tracks made one, and made good.

use actix_voice_loopback::{
    judge::{Judgement, PlayedRecording},
    speech::{ClientVoice, Speech, synthesise},
};

use super::*;

/// Lets a speaker say this from a moment on, some packets of it lost.
fn speak(studio: &mut Studio, user: UserId, speech: &Speech, lost: impl Fn(u32) -> bool) {
    let from = studio.now;
    let mut missing = 0;
    for (n, said) in speech.packets.iter().enumerate() {
        let arrived = from + said.at;
        if lost(n as u32) {
            missing += 1;
            continue;
        }
        studio.pass(arrived.saturating_duration_since(studio.now));
        if missing > 0 {
            let time = said.time - 960 * u64::from(missing);
            studio.recording.heard(&super::lost(user, time, arrived, missing));
            missing = 0;
        }
        studio.recording.heard(&heard(user, said.time, arrived, said.opus.clone()));
    }
}

fn mixed(studio: &Studio, users: &[UserId], format: MixFormat) -> Vec<u8> {
    let track = |user: &UserId| TrackPlayer::new(&studio.files[&RecordingFile::Track(*user)][..]).unwrap();
    let mut file = Vec::new();
    mix(users.iter().map(track).collect(), format, &mut file).unwrap();
    file
}

fn speech(seed: u64) -> Speech {
    ClientVoice::discord().without_dtx().speak(&synthesise(seed, Duration::from_secs(5))).unwrap()
}

#[test]
fn what_packets_repeat_of_those_that_are_lost_is_heard_again() {
    let mut studio = Studio::new();
    let said = speech(1);
    speak(&mut studio, ANNA, &said, |n| n % 7 == 3);
    studio.finish();
    let file = &studio.files[&RecordingFile::Track(ANNA)];
    let mut restored = Vec::new();
    let mut track = TrackPlayer::new(&file[..]).unwrap();
    while let Some(frame) = track.next_frame().unwrap() {
        restored.extend_from_slice(&frame[..]);
    }
    let original = said.decoded().unwrap();
    let restored = Judgement::of(&original, &restored, Duration::ZERO).score;
    let played = PlayedRecording::ogg(file).unwrap();
    let concealed = Judgement::of(&original, &played.audio, Duration::ZERO).score;
    let worth = restored.snr_db - concealed.snr_db;
    assert!(worth > 3.0, "{:.1} dB against {:.1}", restored.snr_db, concealed.snr_db);
}

#[test]
fn what_is_lost_in_bursts_is_made_good_as_far_as_can_be() {
    let mut values = Vec::new();
    for seed in 0..4 {
        let mut studio = Studio::new();
        let said = ClientVoice::discord().speak(&synthesise(seed, Duration::from_secs(8))).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lost = false;
        let losses: Vec<bool> = (0..said.packets.len())
            .map(|_| {
                lost = random.f64() < if lost { 0.4 } else { 0.067 };
                lost
            })
            .collect();
        speak(&mut studio, ANNA, &said, |n| losses[n as usize]);
        studio.finish();
        let file = &studio.files[&RecordingFile::Track(ANNA)];
        let (mut restored, mut track) = (Vec::new(), TrackPlayer::new(&file[..]).unwrap());
        while let Some(frame) = track.next_frame().unwrap() {
            restored.extend_from_slice(&frame[..]);
        }
        let original = said.decoded().unwrap();
        let concealed = PlayedRecording::ogg(file).unwrap().audio;
        values.push([&restored, &concealed].map(|heard| pesq(&original, heard)));
    }
    let mean = |which: usize| values.iter().map(|pair| pair[which]).sum::<f32>() / values.len() as f32;
    let [restored, concealed] = [0, 1].map(mean);
    assert!(restored > 3.0 && restored > concealed + 0.5, "{values:.2?}");
}

/// PESQ, wideband.
fn pesq(original: &[f32], heard: &[f32]) -> f32 {
    let telephone = |stereo: &[f32]| -> Vec<i16> {
        stereo.chunks(6).map(|chunk| (chunk.iter().sum::<f32>() / 6.0 * 32_767.0) as i16).collect()
    };
    pesq::pesq_wb(&telephone(original), &telephone(heard)).unwrap()
}

#[test]
fn a_mix_has_all_speakers_in_their_places() {
    let mut studio = Studio::new();
    let (anna, ben) = (speech(2), speech(3));
    speak(&mut studio, ANNA, &anna, |_| false);
    studio.pass(Duration::from_secs(1));
    let at = studio.now - studio.began;
    speak(&mut studio, BEN, &ben, |_| false);
    studio.pass(Duration::from_secs(1));
    studio.finish();
    let mixed = mixed(&studio, &[ANNA, BEN], MixFormat::Ogg);
    let played = PlayedRecording::ogg(&mixed).unwrap();
    assert!(played.complete && played.undecodable == 0);
    for (speech, at) in [(anna, Duration::ZERO), (ben, at)] {
        let from = at.saturating_sub(Duration::from_millis(500));
        let heard = played.between(from, at + Duration::from_secs(6));
        let judgement = Judgement::of(&speech.decoded().unwrap(), &heard, at - from);
        assert!(judgement.late_ms.abs() < 1.0 && judgement.score.is_faithful(), "{judgement}");
    }
}

#[cfg(feature = "decode")]
#[test]
fn a_flac_mix_is_what_was_decoded_sample_for_sample() {
    use crate::{audio::frame::Frame, source::from_reader};
    let mut studio = Studio::new();
    speak(&mut studio, ANNA, &speech(4), |_| false);
    studio.finish();
    let flac: &'static [u8] = mixed(&studio, &[ANNA], MixFormat::Flac).leak();
    let mut source = from_reader("mix.flac", flac).unwrap();
    let mut track = TrackPlayer::new(&studio.files[&RecordingFile::Track(ANNA)][..]).unwrap();
    let mut frames = 0;
    while let Some(expected) = track.next_frame().unwrap() {
        let Ok(Some(Frame::Pcm(read))) = crate::source::Source::next_frame(&mut source) else {
            panic!("frame {frames} is missing")
        };
        let differs = read.iter().zip(expected.iter()).any(|(a, b)| (a - b).abs() > 1.0 / 30_000.0);
        assert!(!differs, "frame {frames}");
        frames += 1;
    }
    assert!(frames > 200, "{frames} frames");
}

#[test]
fn the_page_holds_the_waveforms_and_the_files() {
    let mut studio = Studio::new();
    say(&mut studio, ANNA, &mut 0, 0, 45);
    studio.recording.mark("<topic> 2", studio.now);
    studio.finish();
    let track = PageTrack::new("1.ogg", "Anna", vec![0.0, 0.5, 1.0]).content(b"foobar".to_vec());
    let page = page(&studio.session(), &[track], &studio.text(RecordingFile::Labels));
    for part in [
        "2026-12-31T23:59:59.000Z, 0:01.0; guild 10, channel 20",
        "<h2>Anna</h2><p>0:01.0 of speech, 50 packets, 0 lost</p>",
        "M0.5 49.7V50.3M1.5 25.5V74.5M2.5 1.0V99.0",
        "src=\"data:audio/ogg;base64,Zm9vYmFy\"",
        "<li>0:01.0 &lt;topic&gt; 2</li>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("http"), "it needs nothing else");
}
