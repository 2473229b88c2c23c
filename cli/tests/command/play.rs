//! `actix-voice play`.

use std::time::Duration;

use actix_voice_loopback::Discord;
#[cfg(unix)]
use actix_voice_loopback::{Closer, Event, Side};
use serde_json::Value;

use crate::support::{Fixture, Stderr, audio, file, finish, run};

#[cfg(unix)]
use crate::support::{interrupt, signal};

#[tokio::test]
async fn files_are_played_one_after_another_and_the_report_is_one_json_object() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.arg(audio("speech.opus")).arg(audio("music.mp3"));
    let ran = run(play).await.code(0);
    let report = ran.json();
    let Value::Object(fields) = &report else { panic!("an object: {report}") };
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    let documented = [
        "bytes",
        "end",
        "lateness_us",
        "mode",
        "packets",
        "path_losses",
        "reconnects",
        "resumes",
        "seconds",
        "skipped",
        "underruns",
        "unsent",
        "withheld",
    ];
    assert_eq!(names, documented);
    assert_eq!((&report["unsent"], &report["path_losses"]), (&0.into(), &0.into()));
    for quantile in ["p50", "p95", "p99", "max"] {
        assert!(report["lateness_us"][quantile].is_u64(), "{report}");
    }
    assert_eq!((&report["end"], &report["mode"]), (&"finished".into(), &"aead_aes256_gcm_rtpsize".into()));
    // 7.1 s and 5 s, and five frames of silence.
    let packets = report["packets"].as_u64().unwrap();
    assert!((600..=620).contains(&packets), "{report}");
    assert!((11.5..14.0).contains(&report["seconds"].as_f64().unwrap()), "{report}");

    fixture.until_heard(packets).await;
    let hearing = fixture.heard();
    assert_eq!((hearing.packets, hearing.lost), (packets, 0));
    assert!(hearing.longest_gap < Duration::from_millis(200), "from file to file: {:?}", hearing.longest_gap);
    assert_eq!(fixture.discord.violations(), []);
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_speech_with_silence_and_leaves() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.arg(audio("speech.opus"));
    let child = play.spawn().unwrap();
    fixture.until_heard(50).await;
    interrupt(&child);
    let report = finish(child).await.code(0).json();
    assert_eq!(report["end"], "interrupted");

    let packets = report["packets"].as_u64().unwrap();
    assert!(packets < 300, "7 s are 350 packets: {packets}");
    fixture.until_heard(packets).await;
    let hearing = fixture.heard();
    let last: Vec<_> = hearing.audio.iter().rev().take(5).map(|packet| packet.opus.to_vec()).collect();
    assert_eq!(last, vec![SILENCE.to_vec(); 5]);

    let user = fixture.bot.user_id;
    let left_politely = |discord: &Discord| {
        let speaking = discord.received(Side::Voice, user, 5).pop();
        let update = discord.received(Side::Main, user, 4).pop();
        let closed = discord.log().into_iter().any(|entry| {
            let by_client = Event::Closed { by: Closer::Client, code: Some(1000) };
            entry.side == Side::Main && entry.user == Some(user) && entry.event == by_client
        });
        speaking.is_some_and(|op| op["speaking"] == 0)
            && update.is_some_and(|op| op["channel_id"].is_null())
            && closed
    };
    fixture.discord.until(left_politely, Duration::from_secs(2)).await.unwrap();
}

#[tokio::test]
async fn what_is_played_to_nobody_is_said_so_and_is_code_7() {
    let fixture = Fixture::start().await;
    fixture.listener.leave();
    let mut play = fixture.play();
    play.arg(audio("music.opus"));
    let ran = run(play).await.code(7);
    let said = ran.stderr();
    assert!(said.contains(": nothing is sent until there is one\n"), "{said}");
    assert!(said.contains("failed: 0 packets in "), "{said}");
    let verdict = said.lines().last().unwrap();
    assert!(
        verdict.starts_with("actix-voice: nobody else was in the channel, or no key was agreed on: "),
        "{said}"
    );
    assert!(verdict.ends_with(" frames were not sent"), "{said}");
    assert_eq!(ran.json()["packets"], 0);
}

#[tokio::test]
async fn whoever_comes_late_hears_the_rest_and_the_summary_tells_what_was_not_sent() {
    let fixture = Fixture::start().await;
    fixture.listener.leave();
    let mut play = fixture.play();
    // Long enough that somebody comes before it is over, also on a busy machine.
    play.args([audio("speech.opus"), audio("speech.opus"), audio("speech.opus")]);
    let mut child = play.spawn().unwrap();
    let mut stderr = Stderr::of(&mut child);
    stderr.until("nothing is sent until there is one").await;
    let late = fixture.channel.listener("late");
    let (ran, said) = tokio::join!(finish(child), stderr.all());
    let packets = ran.code(0).json()["packets"].as_u64().unwrap();
    assert!(packets > 0 && late.packets_heard(fixture.bot.user_id) > 0, "{packets}");
    assert!(said.contains("a key is there: it is sent now"), "{said}");
    assert!(said.contains(" frames were not sent: nobody else was in the channel, or"), "{said}");
}

#[tokio::test]
async fn a_gateway_behind_a_certificate_authority_of_ones_own_is_trusted_through_ssl_cert_file() {
    let fixture = Fixture::start_with(Discord::builder().tls()).await;
    let authority = file("authority.pem", fixture.discord.ca_pem().unwrap().as_bytes());
    let mut play = fixture.play();
    play.env("SSL_CERT_FILE", authority).arg(audio("music.opus"));
    let report = run(play).await.code(0).json();
    assert_eq!(report["end"], "finished");

    let mut untrusting = fixture.play();
    untrusting.env_remove("SSL_CERT_FILE").arg(audio("music.opus"));
    let ran = run(untrusting).await.code(6);
    assert!(ran.stderr().contains("ertificate"), "{}", ran.stderr());
}

#[cfg(unix)]
const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_stood_still_goes_on_where_it_was_and_says_so() {
    use rustix::process::Signal;

    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    let child = play.arg(audio("speech.opus")).spawn().unwrap();
    fixture.until_heard(50).await;
    signal(&child, Signal::STOP);
    // The fault itself: a machine that is suspended for a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    signal(&child, Signal::CONT);
    let ran = finish(child).await.code(0);
    let report = ran.json();
    let skipped = report["skipped"].as_u64().unwrap();
    assert!((40..=60).contains(&skipped), "{report}");
    assert!(ran.stderr().contains("left out: this machine stood still"), "{}", ran.stderr());
    // 7.1 s, and five frames of silence: nothing of the file is missing.
    let packets = report["packets"].as_u64().unwrap();
    assert!((355..=365).contains(&packets), "{report}");
    fixture.until_heard(packets).await;
    assert_eq!(fixture.heard().lost, 0);
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens_and_the_files_begin_where_they_were_asked_to() {
    let fixture = Fixture::start().await;
    let mut play = fixture.play();
    play.args(["--json-events", "--seek", "0:02", "--volume", "-6dB", "--crossfade", "1"]);
    play.arg(audio("music.opus")).arg(audio("speech.opus"));
    let ran = run(play).await.code(0);
    let stdout = ran.stdout();
    let told: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let events: Vec<_> = told.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["playing", "playing", "finished"], "{told:?}");
    let seconds = |nth: usize| told[nth]["seconds"].as_f64().expect("it is known how long they are");
    let packets = told[3]["packets"].as_u64().unwrap() as f64;
    let expected = (seconds(0) + seconds(1) - 3.0) * 50.0;
    assert!((packets - expected).abs() < 20.0, "{packets} packets for {expected}");
    assert_eq!(fixture.heard().lost, 0);
}
