//! `actix-voice demo`: the story in real time.

use std::path::Path;
#[cfg(unix)]
use std::time::Duration;

use crate::support::{command, exclusive, run};

#[cfg(unix)]
use crate::support::{Stderr, finish, signal};

#[tokio::test]
async fn the_demo_is_heard_whole_across_a_cut() {
    let _exclusive = exclusive().await;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let mut demo = command();
    demo.args(["demo", "--seconds", "6", "--out"]).arg(&directory);
    let ran = run(demo).await.code(0);
    let account = ran.stdout();
    // Six seconds, and five frames of silence.
    for line in [
        "heard      305 packets; 300 of 300 byte for byte\n",
        "lost       0 ",
        "resumed once, joined anew never",
        "heard whole",
    ] {
        assert!(account.contains(line), "{line}: {account}");
    }
    for word in ["late ", "gap ", "match      100.0 % in its place"] {
        assert!(account.contains(word), "{word}: {account}");
    }
    let recording = std::fs::read(directory.join("heard.ogg")).unwrap();
    assert!(recording.starts_with(b"OggS"));
    assert!(recording.len() > 50_000, "{} bytes of 6 s", recording.len());
}

#[cfg(unix)]
#[tokio::test]
async fn a_stutter_that_a_listener_notices_is_not_heard_whole() {
    use rustix::process::Signal;
    let _exclusive = exclusive().await;
    let mut demo = command();
    // The cut comes after ten of them, and the stutter certainly before the end.
    demo.args(["demo", "--seconds", "20"]);
    let mut child = demo.spawn().unwrap();
    let mut stderr = Stderr::of(&mut child);
    stderr.until("resumed").await;
    signal(&child, Signal::STOP);
    // This is the stutter.
    tokio::time::sleep(Duration::from_millis(500)).await;
    signal(&child, Signal::CONT);
    let (ran, said) = tokio::join!(finish(child), stderr.all());
    assert!(!ran.code(7).stdout().contains("heard whole"));
    let verdict = said.lines().last().unwrap();
    assert!(verdict.starts_with("actix-voice: not heard whole: ") && verdict.contains("hides 200"), "{said}");
}

#[tokio::test]
async fn the_demo_hears_two_members_as_well_as_can_be_though_a_tenth_is_lost() {
    let _exclusive = exclusive().await;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-hear");
    // What a test before has left.
    let _ = std::fs::remove_dir_all(&directory);
    let mut demo = command();
    demo.args(["demo", "--hear", "--out"]).arg(&directory);
    let account = run(demo).await.code(0).stdout();
    assert_eq!(account.matches("\nPESQ  ").count(), 2, "{account}");
    assert!(account.contains(" lost (") && account.contains("heard as well as can be"), "{account}");
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 5, "two tracks and what is known of them");
}

#[tokio::test]
async fn a_demo_too_short_for_a_cut_or_too_long_for_the_memory_is_refused() {
    for seconds in ["4", "601"] {
        let mut demo = command();
        demo.args(["demo", "--seconds", seconds]);
        assert!(run(demo).await.code(2).stderr().contains("5..=600"));
    }
}
