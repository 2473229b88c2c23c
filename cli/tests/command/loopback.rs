//! `actix-voice loopback`.

use std::process::Stdio;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::{Stderr, audio, command, exclusive, file, finish, interrupt, run};

/// A loopback that has started, and what its first line says.
async fn started(arguments: &[&str]) -> (Child, Value) {
    let mut loopback = command();
    let mut child = loopback.arg("loopback").args(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

fn text(info: &Value, field: &str) -> String {
    info[field].as_str().unwrap_or_else(|| panic!("{field} of {info}")).to_owned()
}

fn play(info: &Value, token: &str) -> Command {
    let mut play = command();
    play.env("DISCORD_TOKEN", token).args(["play", "--gateway", &text(info, "gateway")]);
    play.args(["--guild", &text(info, "guild"), "--channel", &text(info, "channel")]);
    play.arg(audio("music.opus"));
    play
}

#[tokio::test]
async fn the_loopback_says_how_to_play_into_it_until_ctrl_c() {
    let _exclusive = exclusive().await;
    let (child, info) = started(&["--listen", "127.0.0.1", "--guilds", "2"]).await;
    assert_eq!(info["guilds"], 2);
    let ran = run(play(&info, &text(&info, "token"))).await.code(0);
    assert!(ran.stdout().is_empty(), "without --json everything is on stderr");
    assert!(ran.stderr().contains("finished: 256 packets"), "{}", ran.stderr());

    interrupt(&child);
    let said = finish(child).await.code(0).stderr();
    let hint = format!("DISCORD_TOKEN={} actix-voice play --gateway ws://127.0.0.1:", text(&info, "token"));
    assert!(said.contains(&hint) && said.contains("with 2 guilds; "), "{said}");
    assert!(said.ends_with("the bot broke no rule\n"), "{said}");
}

#[tokio::test]
async fn a_token_of_ones_own_lets_the_bot_in_and_is_not_printed() {
    let _exclusive = exclusive().await;
    let (child, info) = started(&["--token", "knock-knock"]).await;
    run(play(&info, "knock-knock")).await.code(0);
    interrupt(&child);
    let said = finish(child).await.code(0).stderr();
    assert!(said.contains("DISCORD_TOKEN=… actix-voice play") && said.contains("with 1 guild; "), "{said}");
    assert!(!format!("{said}{info}").contains("knock-knock"));
}

#[tokio::test]
async fn for_each_line_it_tells_what_came_since_the_line_before() {
    let _exclusive = exclusive().await;
    let mut loopback = command();
    loopback.args(["loopback", "--measure", "--no-send-limit"]).stdin(Stdio::piped());
    let mut child = loopback.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let info: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    run(play(&info, &text(&info, "token"))).await.code(0);

    let mut input = child.stdin.take().unwrap();
    let mut figures = Vec::new();
    for _ in 0..2 {
        input.write_all(b"\n").await.unwrap();
        let line = lines.next_line().await.unwrap().unwrap();
        figures.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    let [first, second] = figures.as_slice() else { unreachable!() };
    assert_eq!((&first["senders"], &first["packets"], &first["lost"]), (&1.into(), &256.into(), &0.into()));
    let spacing = first["spacing_us"]["p50"].as_u64().unwrap();
    assert!((18_000..=22_000).contains(&spacing), "{first}");
    let counted: u64 =
        first["histogram"].as_array().unwrap().iter().map(|bin| bin[1].as_u64().unwrap()).sum();
    assert_eq!(counted, 255, "from each packet to the next");
    assert_eq!((&second["senders"], &second["packets"]), (&0.into(), &0.into()), "{second}");

    // Without its input it goes on.
    drop(input);
    run(play(&info, &text(&info, "token"))).await.code(0);
    interrupt(&child);
    finish(child).await.code(0);
}

#[tokio::test]
async fn a_broken_rule_is_told_as_it_is_broken() {
    let _exclusive = exclusive().await;
    let (mut child, info) = started(&[]).await;
    let mut stderr = Stderr::of(&mut child);
    let gateway = text(&info, "gateway");
    let mut rude = TcpStream::connect(gateway.trim_start_matches("ws://")).await.unwrap();
    let hello = "GET /?v=10&encoding=json HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    rude.write_all(hello.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(rude.read_u8().await.unwrap());
    }
    // A text frame, masked with zeros (RFC 6455 section 5.2): op 4 before anybody knows who asks.
    let payload = br#"{"op":4,"d":{}}"#;
    let frame = [&[0x81, 0x80 | payload.len() as u8, 0, 0, 0, 0], &payload[..]].concat();
    rude.write_all(&frame).await.unwrap();
    stderr.until("the bot broke a rule of Discord's: op 4 came before Identify").await;

    interrupt(&child);
    let (ran, said) = tokio::join!(finish(child), stderr.all());
    ran.code(0);
    assert!(said.ends_with("the bot broke 1 rule\n"), "{said}");
    assert_eq!(said.matches("op 4 came before Identify").count(), 1, "{said}");
}

#[tokio::test]
async fn what_the_bot_said_is_written_when_asked_for() {
    let _exclusive = exclusive().await;
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("loopback-out");
    let (child, info) = started(&["--guilds", "2", "--out", out.to_str().unwrap()]).await;
    run(play(&info, &text(&info, "token"))).await.code(0);
    interrupt(&child);
    let said = finish(child).await.code(0).stderr();
    assert!(said.contains("1 recording of what the bot said"), "{said}");
    let [guild, user] = ["guild", "user"].map(|field| text(&info, field));
    let written = out.join(format!("guild-{guild}-user-{user}.ogg"));
    let recording = std::fs::read(&written).unwrap();
    assert!(recording.starts_with(b"OggS") && recording.len() > 50_000, "{} bytes", recording.len());
    run(command_of_playing(&info, &written)).await.code(6);
    std::fs::remove_dir_all(out).unwrap();
}

/// Plays what was written; the file is opened before the gateway, which is gone, is called.
fn command_of_playing(info: &Value, file: &std::path::Path) -> Command {
    let mut play = play(info, "t");
    play.arg(file);
    play
}

#[tokio::test]
async fn with_tls_it_hands_out_the_authority_to_trust() {
    let _exclusive = exclusive().await;
    let authority = file("loopback-authority.pem", b"");
    let (child, info) = started(&["--tls", authority.to_str().unwrap()]).await;
    assert!(text(&info, "gateway").starts_with("wss://127.0.0.1:"), "{info}");
    let token = text(&info, "token");
    let mut trusting = play(&info, &token);
    trusting.env("SSL_CERT_FILE", text(&info, "authority"));
    run(trusting).await.code(0);
    let mut untrusting = play(&info, &token);
    untrusting.env_remove("SSL_CERT_FILE");
    run(untrusting).await.code(6);
    interrupt(&child);
    let said = finish(child).await.code(0).stderr();
    assert!(
        said.contains("SSL_CERT_FILE='") && said.contains("loopback-authority.pem' DISCORD_TOKEN="),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_that_no_bot_can_connect_to_is_code_2() {
    for (arguments, remedy) in [
        (&["--listen", "0.0.0.0"][..], "give the one address by which the bot reaches this machine"),
        (&["--listen", "[::]:8080"][..], "give the one address by which the bot reaches this machine"),
        (&["--tls", "--listen", "127.0.0.2"][..], "127.0.0.1 and ::1 alone"),
    ] {
        let mut loopback = command();
        loopback.arg("loopback").args(arguments);
        let ran = run(loopback).await.code(2);
        assert!(ran.stderr().contains(remedy), "{}", ran.stderr());
    }
}
