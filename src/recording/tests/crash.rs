//! Whatever moment a recording is cut off at, all but the last second is there.

use super::*;

#[test]
fn a_second_ago_is_written_at_any_moment() {
    let mut studio = Studio::new();
    for n in 0..1_000 {
        let frame = heard(ANNA, u64::from(n) * 960, studio.now, packet(n));
        studio.recording.heard(&frame);
        studio.pass(FRAME);
        // This packet ends now.
        let written =
            studio.files.get(&RecordingFile::Track(ANNA)).map_or(0, |file| Places::of(file).sounds.len());
        assert!(written + 50 > n as usize, "after {n} packets {written} are written");
    }
}

#[test]
fn cut_anywhere_a_file_can_be_read_up_to_there() {
    let mut studio = Studio::new();
    say(&mut studio, ANNA, &mut 0, 0, 500);
    studio.finish();
    let file = &studio.files[&RecordingFile::Track(ANNA)];
    let mut before = 0;
    for cut in (200..file.len()).step_by(13) {
        let places = Places::of(&file[..cut]);
        let numbers: Vec<u32> = places.sounds.iter().map(|(_, packet)| number(packet)).collect();
        assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
        assert!(numbers.len() >= before && !places.complete);
        before = numbers.len();
    }
    assert!(before > 450);
}
