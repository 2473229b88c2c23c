//! An actor of a call panics: only what the table in `actors` says is lost, and the call comes back.

use std::{collections::VecDeque, time::Duration};

use actix_voice::{
    actors::{
        CallEventKind, CallStats, Join, JoinError, Speak,
        fault::{Panic, Victim},
    },
    audio::frame::{FRAME, Frame},
    call::{Cause, ConnectionStatus, EndReason},
    id::{ChannelId, GuildId},
    source::{Source, SourceError},
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Discord, Side};
use bytes::Bytes;

use crate::support::{
    bot::Stage,
    log::speaking_flags,
    real_time,
    recording::{and_silence, packets_heard, packets_of},
    sources::{Round, Shelf, Then},
    story,
};

impl Stage {
    /// Plays the demo, twelve seconds, and makes an actor panic after three.
    async fn strike(&self, victim: Victim) -> TrackId {
        self.join().await;
        let track = self.play("demo.opus").await;
        self.what("the track starts", |what| *what == CallEventKind::TrackStarted(track)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.panic(victim).await;
        track
    }

    async fn panic(&self, victim: Victim) {
        self.manager.send(Panic { guild: self.guild_id(), victim }).await.unwrap();
    }

    fn connection(&self) -> Vec<ConnectionStatus> {
        let all = self.events.all().into_iter();
        all.filter_map(
            |what| if let CallEventKind::Connection(progress) = what { Some(progress) } else { None },
        )
        .collect()
    }

    /// The whole demo was heard, as if nothing had happened.
    fn heard_all(&self, stats: &CallStats) {
        let heard = self.heard();
        assert!(packets_heard(&heard) == and_silence(&packets_of("demo.opus")));
        assert_eq!((heard.packets, heard.lost, heard.longest_gap), (stats.packets, 0, FRAME));
        self.no_violations();
    }
}

#[test]
fn a_panic_of_the_gateway_is_not_heard() {
    story(async {
        let stage = Stage::set().await;
        let track = stage.strike(Victim::Gateway).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        let resuming = ConnectionStatus::Resuming(Cause::Panicked("Gateway"));
        assert_eq!(stage.connection(), [ConnectionStatus::Connected, resuming, ConnectionStatus::Resumed]);
        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        stage.heard_all(&stats);
    });
}

#[test]
fn a_panic_of_the_heartbeater_is_not_noticed() {
    story(async {
        let stage = Stage::set().await;
        let track = stage.strike(Victim::Heartbeater).await;
        let beats = || stage.discord.received(Side::Voice, stage.bot.user_id, 3).len();
        let before = beats();
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        tokio::time::sleep(Duration::from_secs(51)).await;
        assert!(beats() - before >= 10, "{} beats in a minute", beats() - before);
        let stats = stage.leave().await;
        assert_eq!(stage.connection(), [ConnectionStatus::Connected]);
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        stage.heard_all(&stats);
    });
}

#[test]
fn after_a_panic_of_the_transport_the_track_goes_on_in_a_new_session() {
    story(async {
        let stage = Stage::set().await;
        let track = stage.strike(Victim::Transport).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        let reconnecting = ConnectionStatus::Reconnecting(Cause::Panicked("Transport"));
        assert_eq!(
            stage.connection(),
            [ConnectionStatus::Connected, reconnecting, ConnectionStatus::Connected]
        );
        assert_eq!((stats.resumes, stats.reconnects), (0, 1));

        let heard = stage.heard();
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        let (whole, packets) = (and_silence(&packets_of("demo.opus")), packets_heard(&heard));
        let missing = whole.len() - packets.len();
        let cut = packets.iter().zip(&whole).take_while(|(heard, sent)| heard == sent).count();
        assert!(missing <= 1, "{missing} frames were lost");
        assert!(packets[cut..] == whole[cut + missing..], "the track did not go on where it was");
        assert!(heard.longest_gap < Duration::from_secs(1), "{:?}", heard.longest_gap);
        assert_eq!(stats.transport.lateness.len(), stats.packets);
        stage.no_violations();
    });
}

#[test]
fn a_panic_of_the_speaker_ends_its_tracks_and_does_not_touch_the_connection() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let packets = packets_of("demo.opus");
        let first = stage.speak(Speak::start(stage.guild_id(), Round::new(packets.clone(), 1_000))).await;
        let second = stage.speak(Speak::start(stage.guild_id(), Round::new(packets.clone(), 1_000))).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.panic(Victim::Speaker).await;
        assert_eq!(stage.ends_of([first, second]).await, [TrackEnd::SpeakerLost, TrackEnd::SpeakerLost]);
        let before = stage.heard().packets;

        let next = stage.play("demo.opus").await;
        assert_eq!(stage.end_of(next).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        assert_eq!(stage.connection(), [ConnectionStatus::Connected]);
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        assert_eq!(speaking_flags(&stage), [0, 1, 0, 1, 0]);
        let heard = stage.heard();
        assert!((145..160).contains(&before), "{before} packets in three seconds");
        assert!(packets_heard(&heard).ends_with(&and_silence(&packets)));
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        assert_eq!(stats.speaker.frames, stats.packets);
        stage.no_violations();
    });
}

#[test]
fn a_panic_of_the_call_ends_it_with_a_reason_and_the_bot_can_join_again() {
    story(async {
        let stage = Stage::set().await;
        let track = stage.strike(Victim::Call).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::SpeakerLost);
        stage.what("the end", |what| *what == CallEventKind::Ended(EndReason::Panicked)).await;
        stage.gone(Duration::from_secs(1)).await;
        let before = stage.heard().packets;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(stage.heard().packets <= before + 1, "no orphan speaks on");

        stage.join().await;
        let next = stage.play("demo.opus").await;
        assert_eq!(stage.end_of(next).await, TrackEnd::Finished);
        stage.leave().await;
        assert!(packets_heard(&stage.heard()).ends_with(&and_silence(&packets_of("demo.opus"))));
    });
}

#[test]
fn a_panic_of_the_bridge_is_not_heard_and_the_next_join_has_another() {
    story(async {
        let stage = Stage::set().await;
        let other = stage.discord.guild("other").channel("other");
        let track = stage.strike(Victim::Bridge).await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let there = stage.manager.send(join).await.unwrap().expect("the bot joins there");
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        there.disconnect().await;
        let stats = stage.leave().await;
        assert_eq!(stage.connection(), [ConnectionStatus::Connected, ConnectionStatus::Connected]);
        stage.heard_all(&stats);
    });
}

#[test]
fn after_a_panic_of_the_bridge_calls_join_again_move_and_leave_as_before() {
    story(async {
        let stage = Stage::set().await;
        let other = stage.guild.channel("other");
        let track = stage.strike(Victim::Bridge).await;
        stage.discord.close_voice(stage.bot.user_id, 4006, "");
        stage
            .what("it is back", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
            .await;
        stage.panic(Victim::Bridge).await;
        stage.try_join(&other).await.expect("the bot moves");
        stage.panic(Victim::Bridge).await;
        stage.discord.move_to(stage.bot.user_id, &stage.channel);
        stage.what("the move", |what| *what == CallEventKind::Moved(ChannelId(stage.channel.id))).await;
        stage
            .what("it is back", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
            .await;
        stage.panic(Victim::Bridge).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        stage.leave().await;
        stage.gone(Duration::from_secs(1)).await;
    });
}

#[test]
fn the_bridge_may_panic_while_the_bot_joins() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.null_endpoint_first();
        let panicking = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stage.panic(Victim::Bridge).await;
        };
        let (joined, ()) = tokio::join!(stage.try_join(&stage.channel), panicking);
        // What Discord had said of the join is lost with the bridge.
        if let Err(error) = joined {
            assert!(matches!(error, JoinError::Ended(EndReason::NotJoined(_))), "{error:?}");
            stage.discord.give_endpoint(&stage.guild);
            stage.join().await;
        }
    });
}

#[test]
fn a_speaker_that_panics_again_and_again_ends_the_call_with_a_reason() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        for _ in 0..5 {
            stage.panic(Victim::Speaker).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let ended = stage.what("the call ends", |what| matches!(what, CallEventKind::Ended(_))).await;
        let reason = EndReason::GaveUp { failures: 5, last: Cause::Panicked("Speaker") };
        assert_eq!(ended, CallEventKind::Ended(reason));
        stage.gone(Duration::from_secs(1)).await;
    });
}

#[test]
fn an_actor_that_panics_over_a_demand_ends_its_own_track() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let packets = packets_of("demo.opus");
        let panics = Shelf::new(packets[..50].to_vec(), Then::Panic);
        let panics = stage.speak(Speak::start(stage.guild_id(), panics)).await;
        assert_eq!(stage.end_of(panics).await, TrackEnd::SourceLost);
        let stats = stage.leave().await;
        assert!(packets_heard(&stage.heard()) == and_silence(&packets[..50]));
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        stage.no_violations();
    });
}

/// A source that panics when it has nothing left.
struct Fragile(VecDeque<Bytes>);

impl Source for Fragile {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let Some(packet) = self.0.pop_front() else { panic!("nothing left") };
        Ok(Some(Frame::Opus(packet)))
    }
}

#[test]
fn a_source_that_panics_ends_its_own_track_after_what_it_supplied() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let packets = packets_of("demo.opus");
        let fragile = Fragile(packets[..50].to_vec().into());
        let fragile = stage.speak(Speak::source(stage.guild_id(), fragile)).await;
        assert_eq!(stage.end_of(fragile).await, TrackEnd::Panicked("nothing left".into()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(packets_heard(&stage.heard()) == and_silence(&packets[..50]));

        let fragile = Fragile(packets[..50].to_vec().into());
        let fragile = stage.speak(Speak::source(stage.guild_id(), fragile)).await;
        let beside = stage.speak(Speak::start(stage.guild_id(), Round::new(packets, 200))).await;
        let ends = [TrackEnd::Panicked("nothing left".into()), TrackEnd::Finished];
        assert_eq!(stage.ends_of([fragile, beside]).await, ends);
        let stats = stage.leave().await;
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        stage.no_violations();
    });
}

#[test]
fn panics_on_media_arbiters_are_survived_too() {
    real_time(async {
        let stage = Stage::with(Discord::builder(), |config| config.media_arbiters = 1).await;
        stage.join().await;
        let packets = packets_of("demo.opus");
        let lost = stage.speak(Speak::start(stage.guild_id(), Round::new(packets.clone(), 1_000))).await;
        stage.what("the track starts", |what| *what == CallEventKind::TrackStarted(lost)).await;
        stage.panic(Victim::Speaker).await;
        assert_eq!(stage.end_of(lost).await, TrackEnd::SpeakerLost);

        let track = stage.speak(Speak::start(stage.guild_id(), Round::new(packets, 100))).await;
        stage.what("the next track starts", |what| *what == CallEventKind::TrackStarted(track)).await;
        stage.panic(Victim::Transport).await;
        stage
            .what("it is back", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
            .await;
        stage.panic(Victim::Gateway).await;
        stage
            .what("it is resumed", |what| *what == CallEventKind::Connection(ConnectionStatus::Resumed))
            .await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let farewell = |_: &Discord| packets_heard(&stage.heard()).ends_with(&and_silence(&[]));
        stage.discord.until(farewell, Duration::from_secs(60)).await.unwrap();
        let stats = stage.leave().await;
        assert_eq!((stats.resumes, stats.reconnects), (1, 1));
        assert_eq!((stage.heard().packets, stage.heard().lost), (stats.packets, 0));
    });
}
