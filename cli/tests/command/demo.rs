//! `actix-voice demo`: the story in real time.

use std::path::Path;

use crate::hall::{command, run};

#[tokio::test]
async fn the_demo_is_heard_whole_across_a_cut() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let mut demo = command();
    demo.args(["demo", "--seconds", "6", "--out"]).arg(&directory);
    let ran = run(demo).await.code(0);
    let account = ran.stdout();
    // Six seconds, and five frames of silence.
    for line in
        ["heard      305 packets\n", "lost       0 ", "resumed once, joined anew never", "heard whole"]
    {
        assert!(account.contains(line), "{line}: {account}");
    }
    for word in ["late ", "gap ", "matches the original"] {
        assert!(account.contains(word), "{word}: {account}");
    }
    let recording = std::fs::read(directory.join("heard.ogg")).unwrap();
    assert!(recording.starts_with(b"OggS"));
    assert!(recording.len() > 50_000, "{} bytes of 6 s", recording.len());
}
