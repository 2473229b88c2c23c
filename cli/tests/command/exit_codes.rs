//! Each kind of failure has its exit code, and a message that says what to do.

use crate::support::{Fixture, audio, command, file, finish, run};

#[tokio::test]
async fn a_token_that_discord_refuses_is_code_3_and_is_not_printed() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play_as("a-secret-of-mine");
    play.arg("--json").arg(audio("speech.opus"));
    let ran = run(play).await.code(3);
    assert!(ran.stderr().contains("rejected the bot token"), "{}", ran.stderr());
    assert!(ran.json()["end"].as_str().unwrap().contains("rejected the bot token"));
    assert!(!format!("{}{}", ran.stdout(), ran.stderr()).contains("a-secret-of-mine"));
}

#[tokio::test]
async fn a_full_channel_is_code_4_and_the_message_says_so() {
    let fixture = Fixture::start().await;
    fixture.channel.user_limit(1);
    let mut play = fixture.play();
    play.arg(audio("speech.opus"));
    let ran = run(play).await.code(4);
    assert_eq!(ran.stderr().matches("the channel may be full").count(), 1, "{}", ran.stderr());
}

#[tokio::test]
async fn a_file_that_is_not_there_is_code_5_before_anything_is_joined() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.arg(audio("speech.opus")).arg("no such song.opus");
    let ran = run(play).await.code(5);
    assert!(ran.stderr().contains("no such song.opus: no such file"), "{}", ran.stderr());
    assert!(
        fixture.discord.log().iter().all(|entry| entry.user != Some(fixture.bot.user_id)),
        "nobody logged in"
    );
}

#[tokio::test]
async fn a_file_that_is_no_audio_is_code_5() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.arg(file("words.mp3", b"all work and no play makes Jack a dull boy"));
    let said = run(play).await.code(5).stderr();
    assert!(said.contains("words.mp3") && said.lines().count() == 1, "{said}");
}

#[tokio::test]
async fn a_damaged_file_is_played_up_to_the_damage_and_is_code_5() {
    let fixture = Fixture::start().await;
    let whole = std::fs::read(audio("speech.flac")).unwrap();
    let mut play = fixture.play();
    play.arg(file("torn.flac", &whole[..whole.len() / 2]));
    let ran = run(play).await.code(5);
    assert!(ran.stderr().contains("torn.flac: damaged after"), "{}", ran.stderr());
    let packets = ran.json()["packets"].as_u64().unwrap();
    assert!((100..300).contains(&packets), "about half of 7 s was played: {packets}");
}

#[tokio::test]
async fn a_gateway_that_cannot_be_reached_is_code_6() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut play = command();
    play.args([
        "play",
        "--gateway",
        &format!("ws://{closed}"),
        "--token",
        "t",
        "--guild",
        "1",
        "--channel",
        "2",
    ]);
    play.arg(audio("speech.opus"));
    let ran = run(play).await.code(6);
    assert!(ran.stderr().contains("cannot be reached"), "{}", ran.stderr());
}

#[tokio::test]
async fn a_call_that_a_moderator_ends_is_code_7() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.arg(audio("speech.opus"));
    let (ran, ()) = tokio::join!(run(play), async {
        fixture.until_heard(50).await;
        fixture.discord.kick(fixture.bot.user_id, &fixture.guild);
    });
    let ran = ran.code(7);
    let said = ran.stderr();
    assert_eq!(said.matches("disconnected by a moderator").count(), 1, "{said}");
    assert!(said.contains("failed: ") && said.contains(" packets in "), "what was done is told: {said}");
    assert!(ran.json()["packets"].as_u64().unwrap() > 0, "what was played is counted");
}

#[tokio::test]
async fn wrong_arguments_are_code_2() {
    let mut play = command();
    play.args(["play", "--guild", "1", "--channel", "2", "--token", "t", "--gateway", "http://x", "file"]);
    let ran = run(play).await.code(2);
    assert!(ran.stderr().contains("wss://host:port"), "{}", ran.stderr());
    let mut play = command();
    play.args(["play", "--guild", "1", "--channel", "2", "file"]);
    let ran = run(play).await.code(2);
    assert!(ran.stderr().contains("--token"), "{}", ran.stderr());
}

#[tokio::test]
async fn the_help_tells_the_exit_codes_and_not_the_token() {
    let mut help = command();
    help.arg("--help");
    assert!(run(help).await.code(0).stdout().contains("Exit codes:"));
    let mut help = command();
    help.env("DISCORD_TOKEN", "a-secret-of-mine").args(["play", "--help"]);
    let ran = run(help).await.code(0);
    assert!(ran.stdout().contains("DISCORD_TOKEN") && !ran.stdout().contains("a-secret-of-mine"));
}

#[tokio::test]
async fn audio_that_went_nowhere_for_a_while_is_code_7_though_the_path_is_back() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.arg(audio("speech.opus")).arg(audio("speech.opus"));
    let child = play.spawn().unwrap();
    // The first keepalive has been echoed.
    fixture.until_heard(260).await;
    fixture.discord.kill_media_path(fixture.bot.user_id);
    let ran = finish(child).await.code(7);
    let (report, heard) = (ran.json(), fixture.heard().packets);
    assert_eq!(report["path_losses"], 1, "{report}");
    assert!(report["end"].as_str().unwrap().contains("the UDP path died once"), "{report}");
    let sent = report["packets"].as_u64().unwrap();
    assert!((300..sent - 200).contains(&heard), "{heard} of {sent} packets were heard");
}
