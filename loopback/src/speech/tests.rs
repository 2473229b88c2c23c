//! What a client sends, looked at packet by packet.

use super::*;
use crate::opus::is_silence;
use crate::score::match_score;

/// Speech, a pause, and speech again.
fn words() -> Vec<f32> {
    let mut audio = synthesise(3, Duration::from_millis(900));
    audio.extend(std::iter::repeat_n(0.0, 2 * 96_000));
    audio.extend(synthesise(4, Duration::from_millis(900)));
    audio.extend(std::iter::repeat_n(0.0, 2 * 48_000));
    audio
}

/// Talkspurts: stretches of packets without a pause of half a second.
fn talkspurts(speech: &Speech) -> Vec<&[SpokenPacket]> {
    speech.packets.chunk_by(|a, b| b.at - a.at < Duration::from_millis(450)).collect()
}

#[test]
fn a_talkspurt_trails_for_25_frames_and_ends_with_five_of_silence() {
    let audio = words();
    let speech = ClientVoice::discord().without_dtx().speak(&audio).unwrap();
    let spurts = talkspurts(&speech);
    assert_eq!(spurts.len(), 2);
    for spurt in &spurts {
        let silent = spurt.iter().rev().take_while(|packet| packet.opus == SILENCE[..]).count();
        assert_eq!(silent, 5);
        let spoken = (spurt[0].time..).step_by(960).take(spurt.len()).filter(|time| {
            let start = 2 * *time as usize;
            audio.get(start..start + 1_920).is_some_and(is_speech)
        });
        let last_spoken = spoken.last();
        let trailing = (spurt[spurt.len() - 1].time - last_spoken.unwrap()) / 960;
        assert_eq!(trailing, 25);
        let steps = spurt.windows(2).map(|pair| pair[1].time - pair[0].time);
        assert!(steps.into_iter().all(|step| step == 960), "20 ms each");
    }
}

#[test]
fn with_dtx_silent_frames_are_left_out_and_the_time_goes_on() {
    let with = ClientVoice::discord().speak(&words()).unwrap();
    let without = ClientVoice::discord().without_dtx().speak(&words()).unwrap();
    assert!(with.packets.len() < without.packets.len(), "{} packets", with.packets.len());
    assert_eq!(with.packets.last().unwrap().time, without.packets.last().unwrap().time);
    assert!(with.packets.iter().all(|packet| packet.opus.len() > 2));
}

#[test]
fn most_packets_of_speech_carry_their_predecessor_unless_told_not_to() {
    let carrying = |voice: ClientVoice| {
        let speech = voice.speak(&synthesise(5, Duration::from_secs(6))).unwrap();
        let sound = speech.packets.iter().filter(|packet| !is_silence(&packet.opus)).collect::<Vec<_>>();
        sound.iter().filter(|packet| carries_redundancy(&packet.opus)).count() as f64 / sound.len() as f64
    };
    let (with, without) = (carrying(ClientVoice::discord()), carrying(ClientVoice::discord().without_fec()));
    assert!(with > 0.6 && without == 0.0, "{with:.2} with FEC, {without:.2} without");
}

/// SILK's header begins with a bit for the voice of each frame and channel and then one for redundancy (RFC 6716 section 4.2.3).
fn carries_redundancy(packet: &[u8]) -> bool {
    let silk = packet[0] >> 3 < 16;
    silk && packet.len() > 1 && packet[1] & 0x40 != 0
}

#[test]
fn packets_last_as_long_as_they_are_asked_to_and_sound_the_same() {
    let audio = synthesise(6, Duration::from_secs(3));
    for milliseconds in [2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0] {
        let voice = ClientVoice::discord().without_dtx().bitrate(96_000).frame_ms(milliseconds);
        for voice in [voice.clone(), voice.mono()] {
            let speech = voice.speak(&audio).unwrap();
            let sound = speech.packets.iter().filter(|packet| !is_silence(&packet.opus));
            assert!(sound.into_iter().all(|packet| f64::from(packet.samples()) == milliseconds * 48.0));
            let score = match_score(&audio, &speech.decoded().unwrap());
            assert!(score.correlation > 0.8, "{milliseconds} ms: {score}");
            assert!(score.offset.abs() < 48, "{milliseconds} ms: {} samples late", score.offset);
        }
    }
    assert!(ClientVoice::discord().frame_ms(30.0).speak(&audio).is_err());
}

#[test]
fn a_clock_that_is_too_fast_sends_early() {
    let speech = ClientVoice::discord().speak(&synthesise(1, Duration::from_secs(2))).unwrap().on_clock(1e6);
    let last = speech.packets.last().unwrap();
    assert_eq!(last.at, duration(last.time) / 2);
}

#[test]
fn voices_differ_and_have_pauses() {
    let [one, other] = [1, 2].map(|seed| synthesise(seed, Duration::from_secs(5)));
    assert_eq!(one.len(), 2 * 5 * 48_000);
    assert!(one != other && one == synthesise(1, Duration::from_secs(5)));
    let silent = one.chunks(1_920).filter(|frame| frame.iter().all(|sample| *sample == 0.0)).count();
    assert!((25..150).contains(&silent), "{silent} silent frames of 250");
}
