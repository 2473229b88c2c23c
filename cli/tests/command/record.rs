//! `actix-voice record`: members speak, the command records, and what it leaves is played and compared with what they said.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use actix_voice_loopback::{
    Bot, Channel, Discord, Member,
    judge::{Judgement, PlayedRecording},
    speech::{ClientVoice, Speech, synthesise},
};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{Finished, Fixture, Stderr, TEST_TIMEOUT, command, exclusive, finish, run};

#[cfg(unix)]
use crate::support::{interrupt, signal};

fn record(fixture: &Fixture, folder: &Path) -> Command {
    record_as(fixture, &fixture.bot, &fixture.channel, folder)
}

fn record_as(fixture: &Fixture, bot: &Bot, channel: &Channel, folder: &Path) -> Command {
    let mut record = command();
    record.env("DISCORD_TOKEN", &bot.token).args(["record", "--gateway", &fixture.discord.gateway_url()]);
    record.args(["--guild", &fixture.guild.id.to_string(), "--channel", &channel.id.to_string()]);
    record.arg("--out").arg(folder);
    record
}

/// A folder that is not there yet.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("record-{name}"));
    // What a test before has left.
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn speech(seed: u64, seconds: u64) -> Speech {
    ClientVoice::discord().without_dtx().speak(&synthesise(seed, Duration::from_secs(seconds))).unwrap()
}

/// Waits until the bot is in the call, its keys agreed on.
async fn until_recording(fixture: &Fixture, channel: &Channel, members: usize) {
    let inside = |discord: &Discord| discord.dave_members(channel).len() == members;
    fixture.discord.until(inside, TEST_TIMEOUT).await.expect("the bot joins");
}

fn played(folder: &Path, member: &Member) -> PlayedRecording {
    let file = std::fs::read(folder.join(format!("{}.ogg", member.user_id))).expect("the member is recorded");
    PlayedRecording::ogg(&file).unwrap()
}

fn session(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("session.json")).unwrap()).unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn every_speaker_has_a_file_that_holds_what_was_said_and_all_are_told_of() {
    let fixture = Fixture::start().await;
    let [anna, ben, refused] = ["anna", "ben", "refused"].map(|name| fixture.channel.listener(name));
    let folder = folder("two");
    let mut record = record(&fixture, &folder);
    record.args(["--mix", "ogg", "--html", "--deny", &refused.user_id.to_string()]);
    let child = record.spawn().unwrap();
    until_recording(&fixture, &fixture.channel, 5).await;
    let [first, second, third] = [1, 2, 3].map(|seed| speech(seed, 4));
    tokio::join!(anna.say_all(&first), ben.say_all(&second), refused.say_all(&third));
    interrupt(&child);
    let ran = finish(child).await.code(0);

    let mut starts = Vec::new();
    for (member, said) in [(&anna, &first), (&ben, &second)] {
        let played = played(&folder, member);
        assert!(played.complete && played.missing.is_zero() && played.undecodable == 0);
        let judgement = Judgement::of(&said.decoded().unwrap(), &played.audio, Duration::ZERO);
        assert!(judgement.score.is_faithful(), "{judgement}");
        starts.push(judgement.late_ms);
        assert!(ran.stdout().contains(&format!("── {}.ogg", member.user_id)), "{}", ran.stdout());
    }
    assert!((starts[0] - starts[1]).abs() < 20.0, "they began at once: {starts:?} ms");
    assert!(!folder.join(format!("{}.ogg", refused.user_id)).exists());
    let mut said_of_refused = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = std::fs::read(entry.unwrap().path()).unwrap();
        said_of_refused.extend(String::from_utf8_lossy(&file).find(&refused.user_id.to_string()));
    }
    assert!(said_of_refused.is_empty(), "not even its name is kept");

    let session = session(&folder);
    assert_eq!(
        (&session["end"]["reason"], session["speakers"].as_array().unwrap().len()),
        (&"stopped".into(), 2)
    );
    assert!(session["privacy_codes"][0]["code"].is_string(), "{session}");
    let mix = PlayedRecording::ogg(&std::fs::read(folder.join("mix.ogg")).unwrap()).unwrap();
    let mixed = Judgement::of(&first.decoded().unwrap(), &mix.audio, Duration::ZERO);
    assert!((mixed.late_ms - starts[0]).abs() < 1.0, "{mixed}, and in the track at {} ms", starts[0]);
    let page = std::fs::read_to_string(folder.join("index.html")).unwrap();
    assert_eq!(page.matches("data:audio/ogg;base64,").count(), 3);
    let labels = std::fs::read_to_string(folder.join("labels.txt")).unwrap();
    assert!(labels.contains(&format!("\t{}\n", anna.user_id)), "{labels}");
    assert!(ran.stdout().contains("index.html in a browser"), "{}", ran.stdout());
    assert_eq!(fixture.discord.violations(), []);
}

#[tokio::test]
async fn a_recording_ends_by_itself_and_is_never_written_over() {
    let fixture = Fixture::start().await;
    let folder = folder("seconds");
    let mut first = record(&fixture, &folder);
    first.args(["--seconds", "1"]);
    let ran = run(first).await.code(0);
    assert!(ran.stdout().contains("nobody was heard"), "{}", ran.stdout());
    let again = run(record(&fixture, &folder)).await.code(1);
    assert!(
        again.stderr().contains("holds a recording already: choose another folder"),
        "{}",
        again.stderr()
    );
}

#[tokio::test]
async fn what_cannot_be_recorded_or_repaired_is_refused_in_words() {
    let _exclusive = exclusive().await;
    let nothing = run({
        let mut record = command();
        record.args(["record", "--out", "x"]);
        record
    });
    assert!(nothing.await.code(2).stderr().contains("--guild"));
    let mut repair = command();
    repair.args(["record", "--repair"]).arg(folder("missing"));
    let ran: Finished = run(repair).await.code(1);
    assert!(ran.stderr().contains("session.json"), "{}", ran.stderr());
}

/// The recording process is killed at seeded moments: all files are whole but the last second. `KILLS=20` kills as often.
#[cfg(unix)]
#[tokio::test]
async fn a_recording_that_is_killed_is_whole_but_the_last_second() {
    use rustix::process::Signal;
    let fixture = Fixture::start().await;
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    let mut random = fastrand::Rng::with_seed(11);
    for kill in 0..kills {
        let folder = folder(&format!("kill-{kill}"));
        let bot = fixture.discord.bot(&format!("bot {kill}"));
        let channel = fixture.guild.channel(&format!("channel {kill}"));
        let members = ["anna", "ben"].map(|name| channel.listener(name));
        let mut child = record_as(&fixture, &bot, &channel, &folder).spawn().unwrap();
        let mut stderr = Stderr::of(&mut child);
        stderr.until("recording into").await;
        until_recording(&fixture, &channel, 3).await;
        let speeches = [speech(2 * kill + 1, 6), speech(2 * kill + 2, 6)];
        let until = Duration::from_millis(random.u64(1_500..5_500));
        let saying =
            async { tokio::join!(members[0].say_all(&speeches[0]), members[1].say_all(&speeches[1])) };
        tokio::select! {
            _ = saying => panic!("they said all before the recording was killed"),
            () = tokio::time::sleep(until) => {}
        }
        signal(&child, Signal::KILL);
        drop((finish(child).await, stderr));
        for (member, speech) in members.iter().zip(&speeches) {
            check_cut_off(&folder, member, speech, until);
        }
        let mut repair = command();
        repair.args(["record", "--mix", "flac", "--repair"]).arg(&folder);
        let told = run(repair).await.code(0).stdout();
        assert_eq!(told.matches(" of speech in ").count(), 2, "{told}");
        assert_eq!(session(&folder)["end"]["reason"], "cut_off");
        assert!(members.iter().all(|member| played(&folder, member).complete), "repaired");
        check_with_tools(&folder);
    }
}

/// All but the last second of what was said until then is there, and the log is whole lines.
#[cfg(unix)]
fn check_cut_off(folder: &Path, member: &Member, speech: &Speech, until: Duration) {
    let played = played(folder, member);
    assert_eq!(played.undecodable, 0);
    let sent =
        speech.packets.iter().filter(|packet| packet.at + Duration::from_secs(1) < until).count() as u64;
    assert!(
        played.packets >= sent,
        "{sent} packets were sent a second before, and {} are there",
        played.packets
    );
    if sent > 40 {
        let heard = 2 * (sent as usize * 960 - 960);
        let said = speech.decoded().unwrap();
        let judgement = Judgement::of(&said[..heard.min(said.len())], &played.audio, Duration::ZERO);
        assert!(judgement.lost_frames <= 1, "after {until:?}: {judgement}");
    }
    session(folder);
    let events = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
    for line in events.lines() {
        serde_json::from_str::<Value>(line).expect("a whole line");
    }
}

/// Other people's tools open the files, where they are installed.
#[cfg(unix)]
fn check_with_tools(folder: &Path) {
    let files = || std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for file in files().filter(|file| file.extension().is_some_and(|extension| extension == "ogg")) {
        let Ok(output) = std::process::Command::new("opusinfo").arg(&file).output() else { return };
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("WARNING"), "{}: {said}", file.display());
    }
    if let Ok(output) = std::process::Command::new("flac").arg("-t").arg(folder.join("mix.flac")).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
