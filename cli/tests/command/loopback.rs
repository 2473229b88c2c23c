//! `actix-voice loopback`.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::hall::{audio, command, finish, interrupt, run};

#[cfg(unix)]
#[tokio::test]
async fn the_loopback_says_how_to_play_into_it_until_ctrl_c() {
    let mut loopback = command();
    loopback.args(["loopback", "--listen", "127.0.0.1", "--guilds", "2", "--token", "knock-knock"]);
    let mut child = loopback.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let invitation: Value = serde_json::from_str(&line).unwrap();
    let text = |field: &str| invitation[field].as_str().unwrap().to_owned();
    assert_eq!((text("token").as_str(), &invitation["guilds"]), ("knock-knock", &2.into()));

    let mut play = command();
    play.args(["play", "--gateway", &text("gateway"), "--token", "knock-knock"]);
    play.args(["--guild", &text("guild"), "--channel", &text("channel")]).arg(audio("music.opus"));
    let ran = run(play).await.code(0);
    assert!(ran.stdout().is_empty(), "without --json everything is on stderr");
    assert!(ran.stderr().contains("finished"), "{}", ran.stderr());

    interrupt(&child);
    let ran = finish(child).await.code(0);
    assert!(ran.stderr().contains("actix-voice play --gateway ws://127.0.0.1:"), "{}", ran.stderr());
}
