//! The files, and what stands in them.

use super::*;

#[test]
fn all_that_is_said_is_in_the_speakers_file_as_it_came() {
    let mut studio = Studio::new();
    let (mut time, mut first) = (5_000_000_000, 0);
    for pause in [200, 1_000, 30_000] {
        say(&mut studio, ANNA, &mut time, first, 100);
        first += 100;
        studio.pass(Duration::from_millis(pause));
        time += pause * 48;
    }
    studio.finish();
    let places = studio.places(ANNA);
    assert!(places.complete);
    let numbers: Vec<u32> = places.sounds.iter().map(|(_, packet)| number(packet)).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    let starts: Vec<i64> = [0, 100, 200].map(|n| places.sounds[n].0 / 48).to_vec();
    assert_eq!(starts, [0, 2_100 + 200, 2 * 2_100 + 1_200], "ms");
    assert_eq!(places.length, i64::try_from((studio.now - studio.began).as_millis()).unwrap() * 48);
    let session = studio.session();
    assert_eq!(session.began, "2026-12-31T23:59:59.000Z");
    assert_eq!((session.end, session.duration_ms), (Some(RecordingEnd::Stopped), 37_500));
    let [anna] = &session.speakers[..] else { panic!("{:?}", session.speakers) };
    assert_eq!((anna.user, anna.file.as_str()), (ANNA, "1.ogg"));
    assert_eq!((anna.packets, anna.lost, anna.talkspurts, anna.spoken_ms), (315, 0, 3, 6_300));
}

#[test]
fn losses_are_left_to_the_player_and_counted() {
    let mut studio = Studio::new();
    for n in 0..50 {
        let (time, now) = (u64::from(n) * 960, studio.now);
        match n {
            10 | 21 => {}
            11 => {
                studio.recording.heard(&lost(ANNA, time - 960, now, 1));
                studio.recording.heard(&heard(ANNA, time, now, packet(n)));
            }
            22 => {
                studio.recording.heard(&lost(ANNA, time - 960, now, 1));
                studio.recording.heard(&heard(ANNA, time, now, packet(n)));
            }
            30..40 => {}
            40 => {
                studio.recording.heard(&lost(ANNA, 30 * 960, now, 10));
                studio.recording.heard(&heard(ANNA, time, now, packet(n)));
            }
            n => studio.recording.heard(&heard(ANNA, time, now, packet(n))),
        }
        studio.pass(FRAME);
    }
    studio.finish();
    let places = studio.places(ANNA);
    let missing: Vec<_> = places.missing.iter().map(|(at, samples)| (at / 960, samples / 960)).collect();
    assert_eq!(missing, [(10, 1), (21, 1), (30, 6), (36, 4)]);
    assert!(places.sounds.iter().all(|(at, packet)| *at == i64::from(number(packet)) * 960));
    let [anna] = &studio.session().speakers[..] else { panic!() };
    assert_eq!((anna.packets, anna.lost), (38, 12));
}

#[test]
fn what_a_sender_leaves_out_in_mid_speech_is_left_to_the_player_and_pauses_are_silent() {
    let mut studio = Studio::new();
    // Every 400 ms one packet, as an encoder that transmits nothing sends them.
    for n in 0..4 {
        studio.recording.heard(&heard(ANNA, n * 19_200, studio.now, packet(n as u32)));
        studio.pass(FRAME * 20);
    }
    studio.pass(Duration::from_secs(3));
    studio.recording.heard(&heard(ANNA, 80_000 + 48_000 * 3, studio.now, packet(9)));
    studio.finish();
    let places = studio.places(ANNA);
    let missing: u32 = places.missing.iter().map(|(_, samples)| samples).sum();
    assert_eq!(missing, 3 * (19_200 - 960));
}

#[test]
fn markers_and_talkspurts_are_labels_and_lines_of_the_log() {
    let mut studio = Studio::new();
    studio.recording.joined(&[ANNA, BEN], studio.now);
    studio.recording.encrypted(Some("123"), studio.now);
    studio.recording.encrypted(Some("123"), studio.now);
    say(&mut studio, ANNA, &mut 0, 0, 45);
    studio.recording.mark("topic\t2\n", studio.now);
    studio.pass(Duration::from_secs(1));
    studio.recording.left(BEN, studio.now);
    studio.finish();
    assert_eq!(studio.text(RecordingFile::Labels), "1.000000\t1.000000\ttopic 2 \n0.000000\t1.000000\t1\n");
    let events = studio.text(RecordingFile::Events);
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["began", "joined", "joined", "privacy_code", "marker", "left", "ended"]);
    assert_eq!(events[5], serde_json::json!({ "at_ms": 2_000, "event": "left", "user": "2" }));
    assert_eq!(studio.session().privacy_codes.len(), 1);
}

#[test]
fn what_is_said_in_a_pause_is_silence() {
    let mut studio = Studio::new();
    let mut time = 0;
    say(&mut studio, ANNA, &mut time, 0, 45);
    studio.recording.pause(studio.now);
    say(&mut studio, ANNA, &mut time, 100, 45);
    studio.recording.resume(studio.now);
    say(&mut studio, ANNA, &mut time, 200, 45);
    studio.finish();
    let places = studio.places(ANNA);
    let numbers: Vec<u32> = places.sounds.iter().map(|(_, packet)| number(packet)).collect();
    assert_eq!(numbers, (0..45).chain(200..245).collect::<Vec<_>>());
    assert_eq!(places.sounds[45].0, 2 * 48_000);
    assert_eq!(studio.session().paused_packets, 50);
}

#[test]
fn what_is_said_after_the_end_is_not_part_of_it_though_it_is_told_before() {
    let mut studio = Studio::new();
    let mut time = 0;
    say(&mut studio, ANNA, &mut time, 0, 45);
    let end = studio.now;
    studio.recording.take_until(end);
    let late = heard(ANNA, time, end - FRAME / 2, packet(45));
    studio.recording.heard(&late);
    studio.pass(FRAME);
    say(&mut studio, ANNA, &mut (time + 960), 46, 10);
    studio.recording.finish(RecordingEnd::Stopped, end);
    studio.carry_out();
    let places = studio.places(ANNA);
    assert_eq!(places.sounds.len(), 46);
    // A packet that was on its way, and the 2.5 ms of the last page.
    assert_eq!(places.length, 48_000 + 960 + 120);
}
