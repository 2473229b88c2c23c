//! Files that are damaged, missing or no audio at all: the error names file and cause, and what was good is heard.

use std::path::PathBuf;

use actix_voice::{
    actors::{Speak, SpeakError},
    id::GuildId,
    source::SourceError,
    speaker::TrackEnd,
};
use actix_voice_loopback::{Hearing, recorder::Holes, score::match_score};

use crate::support::{
    audio::{fixture, path, reference},
    bot::BotOnDiscord,
    recording::{SILENCE_FRAMES, packets_heard, packets_of},
    story,
};

/// A file that is gone with its test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = std::env::temp_dir().join(format!("actix-voice-stories-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        if let Some(folder) = self.0.parent() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Plays a damaged file, and an undamaged one after it, and returns what the first ended with and what was heard of it.
async fn play_damaged(name: &str, bytes: &[u8]) -> (String, Hearing) {
    let (bot, file) = (BotOnDiscord::start().await, TempFile::new(name, bytes));
    let call = bot.join().await;
    let track = bot.speak(Speak::file(bot.guild_id(), &file.0)).await;
    let TrackEnd::Failed(error) = bot.track_end(track).await else { panic!("{name} ended otherwise") };
    assert!(error.starts_with(file.0.to_str().unwrap()), "{error}");
    let played = call.stats().await.unwrap().speaker.frames;
    let next = bot.play("music.opus").await;
    assert_eq!(bot.track_end(next).await, TrackEnd::Finished);
    bot.disconnect().await;

    let mut heard = bot.heard();
    assert_eq!(heard.lost, 0);
    bot.assert_no_violations();
    heard.audio.truncate(played as usize);
    (error, heard)
}

/// The first part of a recording was heard as it is.
fn assert_begins_like(recording: &str, heard: &Hearing, frames: usize) {
    let decoded = heard.decode(Holes::Silent).unwrap();
    let score = match_score(&reference(recording)[..frames * 1_920], &decoded);
    assert!(score.is_faithful(), "{score}");
}

#[test]
fn a_wav_file_cut_in_half_is_heard_to_the_cut() {
    story(async {
        let whole = fixture("music.wav");
        let (error, heard) = play_damaged("half.wav", &whole[..whole.len() / 2]).await;
        assert!(error.contains("ends early"), "{error}");
        assert!((124..=127).contains(&heard.audio.len()), "{} packets of 2.5 s", heard.audio.len());
        assert_begins_like("music.wav", &heard, 120);
    });
}

#[test]
fn a_flac_file_cut_in_half_is_heard_to_the_cut() {
    story(async {
        let whole = fixture("music.flac");
        let (error, heard) = play_damaged("half.flac", &whole[..whole.len() / 2]).await;
        assert!(error.contains("ends early"), "{error}");
        assert!(heard.audio.len() > 80, "{} packets", heard.audio.len());
        assert_begins_like("music.wav", &heard, 80);
    });
}

#[test]
fn an_mp3_file_cut_in_half_is_heard_to_the_cut() {
    story(async {
        let whole = fixture("music.mp3");
        let (error, heard) = play_damaged("half.mp3", &whole[..whole.len() / 2]).await;
        assert!(error.contains("ends early"), "{error}");
        assert!(heard.audio.len() > 100, "{} packets", heard.audio.len());
        assert_begins_like("music.wav", &heard, 100);
    });
}

#[test]
fn an_opus_file_cut_in_half_passes_untouched_to_the_cut() {
    story(async {
        let whole = fixture("demo.opus");
        let (error, heard) = play_damaged("half.opus", &whole[..whole.len() / 2]).await;
        assert!(error.contains("ends early"), "{error}");
        let (heard, packets) = (packets_heard(&heard), packets_of("demo.opus"));
        assert!(heard.len() > 200 && heard == packets[..heard.len()], "{} packets", heard.len());
    });
}

#[test]
fn a_flac_file_with_a_hole_plays_on_after_it() {
    story(async {
        let mut bytes = fixture("music.flac");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 5_000].fill(0x55);
        let (error, heard) = play_damaged("hole.flac", &bytes).await;
        assert!(error.contains("damaged after"), "{error}");
        assert!(heard.audio.len() > 200, "{} packets of 5 s", heard.audio.len());
        assert_begins_like("music.wav", &heard, 80);
    });
}

#[test]
fn what_cannot_be_played_at_all_is_said_at_once() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let refused = async |path: PathBuf| {
            let speak = Speak::file(bot.guild_id(), path);
            let error = bot.manager.send(speak).await.unwrap().unwrap_err();
            assert!(matches!(error, SpeakError::Source(_)), "{error:?}");
            error.to_string()
        };
        let missing = path("no-such.flac");
        assert_eq!(refused(missing.clone()).await, format!("{}: no such file", missing.display()));
        let text = refused(path("README.md")).await;
        assert!(text.ends_with("README.md: cannot be played: it is text, and holds no sound"), "{text}");
        let empty = TempFile::new("empty.ogg", b"");
        let empty = refused(empty.0.clone()).await;
        assert!(empty.ends_with("empty.ogg: cannot be played: it is empty"), "{empty}");
        let folder = refused(path("")).await;
        assert!(folder.contains("cannot be read: it is a directory"), "{folder}");

        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;
        assert_eq!(packets_heard(&bot.heard()).len(), packets_of("music.opus").len() + SILENCE_FRAMES);
    });
}

#[test]
fn nothing_can_be_played_where_no_call_is() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let guild = GuildId(4_711);
        let error = bot.manager.send(Speak::file(guild, path("music.opus"))).await.unwrap().unwrap_err();
        assert_eq!(error, SpeakError::NotJoined(guild));
        let call = bot.join().await;
        bot.disconnect().await;
        let error = call.speak(Speak::file(guild, path("music.opus"))).await.unwrap_err();
        assert_eq!(error.to_string(), format!("there is no call in guild {}: join first", bot.guild.id));
        let missing = SourceError::NotFound { name: "x".into() };
        assert_eq!(SpeakError::from(missing).to_string(), "x: no such file");
    });
}
