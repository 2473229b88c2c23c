//! `actix-voice bench`.

use crate::support::{audio, command, exclusive, run};

#[tokio::test]
async fn a_bench_without_a_gateway_starts_a_loopback_and_reports_what_the_calls_cost() {
    let _exclusive = exclusive().await;
    let mut bench = command();
    bench.args(["bench", "--calls", "3", "--seconds", "2", "--json", "--file"]).arg(audio("music.opus"));
    let report = run(bench).await.code(0).json();
    assert_eq!((&report["calls"], &report["end"]), (&3.into(), &"finished".into()));
    let packets = report["packets"].as_u64().unwrap();
    assert!((300..400).contains(&packets), "two seconds of three calls: {report}");
    assert!(report["seconds_until_all_speak"].as_f64().unwrap() < 10.0, "{report}");
    let share = report["cpu_seconds_per_call_second"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{report}");
    assert!(report["lateness_us"]["p99"].is_u64() && report["mode"].is_string(), "{report}");
    if cfg!(target_os = "linux") {
        assert!(report["resident_bytes"].as_u64().unwrap() > 1 << 20, "{report}");
        assert!(report["threads"].as_u64().unwrap() > 1, "{report}");
    }
}

#[tokio::test]
async fn a_silent_bench_joins_and_plays_nothing() {
    let _exclusive = exclusive().await;
    let mut bench = command();
    bench.args(["bench", "--calls", "2", "--seconds", "1", "--json", "--silent"]);
    let ran = run(bench).await.code(0);
    let report = ran.json();
    assert_eq!((&report["calls"], &report["packets"]), (&2.into(), &0.into()), "{report}");
    assert!(ran.stderr().contains("2 calls joined after "), "{}", ran.stderr());
}

#[tokio::test]
async fn two_tracks_of_a_call_are_mixed() {
    let _exclusive = exclusive().await;
    let packet_length = async |tracks: &str| {
        let mut bench = command();
        bench.args(["bench", "--calls", "1", "--seconds", "2", "--json", "--tracks", tracks, "--file"]);
        bench.arg(audio("speech.opus"));
        let report = run(bench).await.code(0).json();
        report["bytes"].as_u64().unwrap() / report["packets"].as_u64().unwrap()
    };
    // The file has 48 kbit/s, which pass through. What is mixed is encoded anew, at 128.
    let (passed, mixed) = (packet_length("1").await, packet_length("2").await);
    assert!(mixed > passed + 15, "{passed} bytes each, and {mixed} mixed");
}

#[tokio::test]
async fn a_bench_of_more_calls_than_guilds_says_how_many_there_are() {
    let fixture = crate::support::Fixture::start().await;
    let mut bench = command();
    bench.env("DISCORD_TOKEN", &fixture.bot.token).args([
        "bench",
        "--calls",
        "2",
        "--seconds",
        "1",
        "--gateway",
    ]);
    bench.arg(fixture.discord.gateway_url()).arg("--file").arg(audio("music.opus"));
    let ran = run(bench).await.code(4);
    assert_eq!(ran.stderr().lines().count(), 1, "no table of zeros: {}", ran.stderr());
    assert!(
        ran.stderr()
            .contains("1 guild with a voice channel that it can see, and 2 calls are wanted: invite it"),
        "{}",
        ran.stderr()
    );
}

#[tokio::test]
async fn a_gateway_wants_a_token_from_the_arguments_or_the_environment() {
    let mut bench = command();
    bench.args(["bench", "--calls", "1", "--seconds", "1", "--gateway", "ws://127.0.0.1:1", "--file", "x"]);
    assert!(run(bench).await.code(2).stderr().contains("--token <T>"));
    let mut bench = command();
    bench.env("DISCORD_TOKEN", "t");
    bench.args(["bench", "--calls", "1", "--seconds", "1", "--gateway", "ws://127.0.0.1:1", "--file", "x"]);
    assert!(run(bench).await.code(5).stderr().contains("x: no such file"));
}

#[tokio::test]
async fn a_bench_that_nobody_can_hear_is_code_7() {
    let fixture = crate::support::Fixture::start().await;
    fixture.listener.leave();
    let mut bench = command();
    bench.env("DISCORD_TOKEN", &fixture.bot.token).args([
        "bench",
        "--calls",
        "1",
        "--seconds",
        "1",
        "--gateway",
    ]);
    bench.arg(fixture.discord.gateway_url()).arg("--file").arg(audio("music.opus"));
    let ran = run(bench).await.code(7);
    assert!(
        ran.stderr().contains("nobody else was in the channel, or no key was agreed on: "),
        "{}",
        ran.stderr()
    );
}
