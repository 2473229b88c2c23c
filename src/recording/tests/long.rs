//! Eight hours.

use super::*;

#[test]
fn eight_hours_of_ten_speakers_do_not_grow() {
    let mut studio = Studio::new();
    studio.keeps = false;
    let mut most_waiting = 0;
    for second in 0..8 * 3_600_u64 {
        // One speaks after the other, for three seconds each.
        let user = UserId(1 + second / 3 % 10);
        for n in 0..50 {
            let time = (second * 50 + n) * 960;
            studio.recording.heard(&heard(user, time, studio.now + FRAME * n as u32, packet(n as u32)));
        }
        let before = studio.written;
        studio.pass(Duration::from_secs(1));
        most_waiting = most_waiting.max(studio.written - before);
    }
    studio.finish();
    let session = studio.session();
    assert_eq!(session.speakers.len(), 10);
    assert_eq!(session.speakers.iter().map(|speaker| speaker.packets).sum::<u64>(), 8 * 3_600 * 50);
    assert!(most_waiting < 100_000, "{most_waiting} bytes were written at once");
    let session_bytes = studio.files[&RecordingFile::Session].len();
    assert!(session_bytes < 5_000, "{session_bytes} bytes");
    assert!(format!("{:?}", studio.recording).len() < 20_000, "nothing is kept");
}
