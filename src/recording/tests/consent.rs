//! Of who is refused, or refuses, not a byte is kept.

use super::*;

#[test]
fn of_the_refused_not_a_byte_is_written() {
    let settings = Settings::new(GUILD, ChannelId(20)).selection(Selection::all().deny([BEN]));
    let mut studio = Studio::with(settings);
    studio.recording.joined(&[ANNA, BEN], studio.now);
    say(&mut studio, BEN, &mut 0, 0, 100);
    say(&mut studio, ANNA, &mut 0, 0, 100);
    studio.recording.left(BEN, studio.now);
    studio.finish();
    assert!(!studio.files.contains_key(&RecordingFile::Track(BEN)));
    for file in [RecordingFile::Session, RecordingFile::Events, RecordingFile::Labels] {
        assert!(!studio.text(file).contains("\"2\"") && !studio.text(file).contains("\t2\n"), "{file}");
    }
    assert_eq!(studio.session().speakers.len(), 1);
}

#[test]
fn who_opts_out_on_the_way_is_removed_and_stays_away() {
    let mut studio = Studio::new();
    let mut time = 0;
    say(&mut studio, BEN, &mut time, 0, 100);
    assert!(studio.files.contains_key(&RecordingFile::Track(BEN)));
    studio.recording.refuse(BEN, studio.now);
    say(&mut studio, BEN, &mut time, 0, 100);
    assert!(!studio.files.contains_key(&RecordingFile::Track(BEN)));
    studio.recording.agree(BEN, studio.now);
    say(&mut studio, BEN, &mut time, 500, 10);
    studio.finish();
    let places = studio.places(BEN);
    assert_eq!(places.sounds.len(), 10);
    assert_eq!(places.sounds[0].0, 2 * 2_100 * 48, "in its place, behind silence");
    assert!(studio.text(RecordingFile::Events).contains(r#""event":"consent","given":false"#));
}
