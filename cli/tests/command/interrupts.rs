//! Ctrl-C: the first ends politely whatever goes on, the second at once.

use std::time::Duration;

use actix_voice_loopback::{Discord, Side};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::{net::TcpListener, process::Child, time::Instant};

use crate::support::{
    Fixture, Stderr, TEST_TIMEOUT, audio, command, exclusive, finish, interrupt, pid, signal,
};

/// Waits until the bot has requested to join.
async fn until_join_requested(fixture: &Fixture) {
    let asked = |discord: &Discord| !discord.received(Side::Main, fixture.bot.user_id, 4).is_empty();
    fixture.discord.until(asked, TEST_TIMEOUT).await.expect("the bot asks to join");
}

async fn interrupted_in_time(child: Child) -> Value {
    let began = Instant::now();
    interrupt(&child);
    let report = finish(child).await.code(0).json();
    assert!(began.elapsed() < INTERRUPT_TIMEOUT, "it took {:?}", began.elapsed());
    report
}

#[tokio::test]
async fn ctrl_c_ends_a_join_that_waits_for_its_endpoint() {
    let fixture = Fixture::start().await;
    fixture.discord.null_endpoint_first();
    let mut play = fixture.play();
    let child = play.arg(audio("speech.opus")).spawn().unwrap();
    until_join_requested(&fixture).await;
    let report = interrupted_in_time(child).await;
    let (end, packets, mode) = (&report["end"], &report["packets"], &report["mode"]);
    assert_eq!((end, packets, mode), (&"interrupted".into(), &0.into(), &Value::Null));
    let left = |discord: &Discord| !discord.members_of(&fixture.channel).contains(&fixture.bot.user_id);
    fixture.discord.until(left, TEST_TIMEOUT).await.expect("the bot leaves");
}

#[tokio::test]
async fn ctrl_c_ends_a_join_that_is_refused_in_silence() {
    let fixture = Fixture::start().await;
    fixture.discord.refuse_silently(&fixture.channel);
    let mut play = fixture.play();
    let child = play.arg(audio("speech.opus")).spawn().unwrap();
    until_join_requested(&fixture).await;
    assert_eq!(interrupted_in_time(child).await["end"], "interrupted");
}

#[tokio::test]
async fn ctrl_c_ends_the_wait_for_a_gateway_that_says_nothing() {
    let _exclusive = exclusive().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = format!("ws://{}", silent.local_addr().unwrap());
    let play = ["play", "--guild", "1", "--channel", "2", "--json", "--gateway", &gateway];
    let bench = ["bench", "--calls", "1", "--seconds", "9", "--json", "--gateway", &gateway, "--file"];
    for arguments in [&play[..], &bench[..]] {
        let mut command = command();
        command.env("DISCORD_TOKEN", "t").args(arguments).arg(audio("speech.opus"));
        let child = command.spawn().unwrap();
        let _open = silent.accept().await.unwrap();
        assert_eq!(interrupted_in_time(child).await["end"], "interrupted", "{arguments:?}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_a_demo_which_was_not_heard_whole_then() {
    let _exclusive = exclusive().await;
    let mut demo = command();
    demo.args(["demo", "--seconds", "600"]);
    let mut child = demo.spawn().unwrap();
    let mut stderr = Stderr::of(&mut child);
    stderr.until("connected").await;
    interrupt(&child);
    let (ran, said) = tokio::join!(finish(child), stderr.all());
    assert_eq!(ran.code(7).stdout(), "");
    assert!(said.ends_with("actix-voice: not heard whole: interrupted\n"), "{said}");
}

#[tokio::test]
async fn a_second_ctrl_c_ends_it_at_once() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    let child = play.arg(audio("speech.opus")).spawn().unwrap();
    fixture.until_heard(10).await;
    // Two of a kind could become one on the way. Speech alone takes 100 ms to end.
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    assert_eq!(finish(child).await.code(130).stdout(), "", "there is no time for a report");
}

/// A terminal sends Ctrl-C to every process of its group.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn ctrl_c_ends_a_bench_and_not_its_loopback_under_it() {
    let _exclusive = exclusive().await;
    let mut bench = command();
    bench.args(["bench", "--calls", "2", "--seconds", "600", "--json", "--file"]).arg(audio("music.opus"));
    bench.env("RUST_LOG", "actix_voice=info").env("NO_COLOR", "1");
    let mut child = bench.process_group(0).spawn().unwrap();
    let group = pid(&child);
    let mut stderr = Stderr::of(&mut child);
    stderr.until("2 calls spoke after").await;
    // The log tells of the key without which nothing leaves.
    stderr.until("epoch=1").await;
    let loopback = children(group).pop().expect("it has a loopback");
    assert_eq!(rustix::process::getpgid(Some(loopback)).unwrap(), loopback, "it is in a group of its own");

    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    let (ran, _said) = tokio::join!(finish(child), stderr.all());
    let report = ran.code(0).json();
    assert!(report["packets"].as_u64().unwrap() > 0, "{report}");
    let (end, resumes, anew) = (&report["end"], &report["resumes"], &report["reconnects"]);
    assert_eq!((end, resumes, anew), (&"interrupted".into(), &0.into(), &0.into()));
}

#[cfg(target_os = "linux")]
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().unwrap())).collect()
}

/// How long a command may take to end after Ctrl-C; what it would wait for otherwise takes longer.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(8);
