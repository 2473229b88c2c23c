//! An actor of a call panics: only what the table in `actors` says is lost, and the call comes back.

use std::{collections::VecDeque, time::Duration};

use actix_voice::{
    actors::{
        CallEventKind, CallStats, Join, JoinError, MainGateway, MainGatewayLost, MainGatewayRestored, Speak,
        StageChannel, VoiceManager,
        fault::{Panic, Victim},
    },
    audio::frame::Frame,
    bridge::JoinFailure,
    call::{Cause, ConnectionStatus, EndReason},
    hearing::Preset,
    id::{ChannelId, GuildId, Token},
    source::{Source, SourceError},
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Dave, Discord, Side};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{
    bot::BotOnDiscord,
    log::{op, speaking_flags},
    real_time,
    recording::{longest_gap_in_frames, packets_heard, packets_of, with_silence},
    sources::{LoopSource, QueueSource, WhenEmpty},
    story,
};

impl BotOnDiscord {
    /// Plays the demo, twelve seconds, and makes an actor panic after three.
    async fn panic_while_playing(&self, victim: Victim) -> TrackId {
        self.join().await;
        let track = self.play("demo.opus").await;
        self.next_event("the track starts", |event| *event == CallEventKind::TrackStarted(track)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.panic(victim).await;
        track
    }

    async fn panic(&self, victim: Victim) {
        let panicked = self.manager.send(Panic { guild: self.guild_id(), victim }).await;
        assert_eq!(panicked.is_err(), victim == Victim::VoiceManager, "nobody answers a panic");
    }

    fn connection_statuses(&self) -> Vec<ConnectionStatus> {
        let all = self.events.call_events().into_iter();
        all.filter_map(
            |event| if let CallEventKind::Connection(progress) = event { Some(progress) } else { None },
        )
        .collect()
    }

    /// The whole demo was heard, as if nothing had happened.
    fn assert_demo_heard(&self, stats: &CallStats) {
        let heard = self.heard();
        assert!(packets_heard(&heard) == with_silence(&packets_of("demo.opus")));
        assert_eq!((heard.packets, heard.lost, longest_gap_in_frames(&heard)), (stats.packets, 0, 1));
        self.assert_no_violations();
    }
}

#[test]
fn a_panic_of_the_gateway_is_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.panic_while_playing(Victim::Gateway).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        let resuming = ConnectionStatus::Resuming(Cause::Panicked("Gateway"));
        assert_eq!(
            bot.connection_statuses(),
            [ConnectionStatus::Connected, resuming, ConnectionStatus::Resumed]
        );
        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        bot.assert_demo_heard(&stats);
    });
}

#[test]
fn a_panic_of_the_heartbeater_is_not_noticed() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.panic_while_playing(Victim::Heartbeater).await;
        let beats = || bot.discord.received(Side::Voice, bot.account.user_id, 3).len();
        let before = beats();
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        tokio::time::sleep(Duration::from_secs(51)).await;
        assert!(beats() - before >= 10, "{} beats in a minute", beats() - before);
        let stats = bot.disconnect().await;
        assert_eq!(bot.connection_statuses(), [ConnectionStatus::Connected]);
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        bot.assert_demo_heard(&stats);
    });
}

#[test]
fn after_a_panic_of_the_transport_the_track_goes_on_in_a_new_session() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.panic_while_playing(Victim::Transport).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        let reconnecting = ConnectionStatus::Reconnecting(Cause::Panicked("Transport"));
        assert_eq!(
            bot.connection_statuses(),
            [ConnectionStatus::Connected, reconnecting, ConnectionStatus::Connected]
        );
        assert_eq!((stats.resumes, stats.reconnects), (0, 1));

        let heard = bot.heard();
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        let (whole, packets) = (with_silence(&packets_of("demo.opus")), packets_heard(&heard));
        let missing = whole.len() - packets.len();
        let cut = packets.iter().zip(&whole).take_while(|(heard, sent)| heard == sent).count();
        assert!(missing <= 1, "{missing} frames were lost");
        assert!(packets[cut..] == whole[cut + missing..], "the track did not go on where it was");
        assert!(heard.longest_gap < Duration::from_secs(1), "{:?}", heard.longest_gap);
        assert_eq!(stats.transport.lateness.len(), stats.packets);
        bot.assert_no_violations();
    });
}

#[test]
fn a_panic_of_the_speaker_ends_its_tracks_and_does_not_touch_the_connection() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let first = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets.clone(), 1_000))).await;
        let second = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets.clone(), 1_000))).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        bot.panic(Victim::Speaker).await;
        assert_eq!(bot.track_ends([first, second]).await, [TrackEnd::SpeakerLost, TrackEnd::SpeakerLost]);
        let before = bot.heard().packets;

        let next = bot.play("demo.opus").await;
        assert_eq!(bot.track_end(next).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        assert_eq!(bot.connection_statuses(), [ConnectionStatus::Connected]);
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        assert_eq!(speaking_flags(&bot), [0, 1, 0, 1, 0]);
        let heard = bot.heard();
        assert!((145..160).contains(&before), "{before} packets in three seconds");
        assert!(packets_heard(&heard).ends_with(&with_silence(&packets)));
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        assert_eq!(stats.speaker.frames, stats.packets);
        bot.assert_no_violations();
    });
}

#[test]
fn a_panic_of_the_call_ends_it_with_a_reason_and_the_bot_can_join_again() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.panic_while_playing(Victim::Call).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::SpeakerLost);
        bot.next_event("the end", |event| *event == CallEventKind::Ended(EndReason::Panicked)).await;
        bot.until_left(Duration::from_secs(1)).await;
        let before = bot.heard().packets;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(bot.heard().packets <= before + 1, "no orphan speaks on");

        bot.join().await;
        let next = bot.play("demo.opus").await;
        assert_eq!(bot.track_end(next).await, TrackEnd::Finished);
        bot.disconnect().await;
        assert!(packets_heard(&bot.heard()).ends_with(&with_silence(&packets_of("demo.opus"))));
    });
}

#[test]
fn a_panic_of_the_manager_is_not_heard_and_it_goes_on_with_its_calls_and_subscribers() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let other = bot.discord.guild("other").channel("other");
        let track = bot.panic_while_playing(Victim::VoiceManager).await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let there = bot.manager.send(join).await.unwrap().expect("the bot joins there");
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.panic(Victim::VoiceManager).await;
        there.disconnect().await;
        bot.panic(Victim::Bridge).await;
        let stats = bot.disconnect().await;
        assert_eq!(bot.connection_statuses(), [ConnectionStatus::Connected, ConnectionStatus::Connected]);
        bot.assert_demo_heard(&stats);
    });
}

#[test]
fn a_join_that_waits_for_the_main_gateway_lives_through_a_panic_of_the_manager() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let manager = VoiceManager::new(bot.config.clone()).start();
        let join = || manager.send(Join::new(bot.guild_id(), ChannelId(bot.channel.id)));
        let panic = Panic { guild: bot.guild_id(), victim: Victim::VoiceManager };
        let asked = Instant::now();
        let panicking = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            manager.send(panic).await.expect_err("nobody answers a panic");
        };
        let (joined, ()) = tokio::join!(join(), panicking);
        assert_eq!(joined.unwrap().unwrap_err(), JoinError::NotPlugged);
        assert_eq!(asked.elapsed().as_secs(), 40, "its half minute begins anew");

        let logging_in = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            manager.send(panic).await.expect_err("nobody answers a panic");
            let token = Token(bot.discord.bot("second").token);
            MainGateway::at(&bot.discord.gateway_url(), token, &bot.config, manager.clone()).start();
        };
        let (joined, ()) = tokio::join!(join(), logging_in);
        joined.unwrap().expect("the bot joins");
    });
}

#[test]
fn a_panic_of_the_bridge_is_not_heard_and_the_next_join_has_another() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let other = bot.discord.guild("other").channel("other");
        let track = bot.panic_while_playing(Victim::Bridge).await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let there = bot.manager.send(join).await.unwrap().expect("the bot joins there");
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        there.disconnect().await;
        let stats = bot.disconnect().await;
        assert_eq!(bot.connection_statuses(), [ConnectionStatus::Connected, ConnectionStatus::Connected]);
        bot.assert_demo_heard(&stats);
    });
}

#[test]
fn after_a_panic_of_the_bridge_calls_join_again_move_and_leave_as_before() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let other = bot.guild.channel("other");
        let track = bot.panic_while_playing(Victim::Bridge).await;
        bot.discord.close_voice(bot.account.user_id, 4006, "");
        bot.next_status(ConnectionStatus::Connected).await;
        bot.panic(Victim::Bridge).await;
        bot.request_join(&other).await.expect("the bot moves");
        bot.panic(Victim::Bridge).await;
        bot.discord.move_to(bot.account.user_id, &bot.channel);
        bot.next_event("the move", |event| *event == CallEventKind::Moved(ChannelId(bot.channel.id))).await;
        bot.next_status(ConnectionStatus::Connected).await;
        bot.panic(Victim::Bridge).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;
        bot.until_left(Duration::from_secs(1)).await;
    });
}

#[test]
fn the_bridge_may_panic_while_the_bot_joins() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.null_endpoint_first();
        let panicking = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            bot.panic(Victim::Bridge).await;
        };
        // The next bridge waits for the endpoint too, and as long as any.
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), panicking);
        let error = joined.expect_err("there is no endpoint");
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoEndpoint)));

        let giving = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            bot.panic(Victim::Bridge).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            bot.discord.give_endpoint(&bot.guild);
        };
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), giving);
        joined.expect("the bot joins with the endpoint that the next bridge was given");
        let track = bot.play("demo.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        bot.assert_demo_heard(&stats);
    });
}

#[test]
fn a_bridge_that_panics_while_the_main_gateway_is_away_has_a_successor_that_waits_for_it() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.manager.send(MainGatewayLost).await.unwrap();
        bot.panic(Victim::Bridge).await;
        bot.discord.close_voice(bot.account.user_id, 4006, "");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let asked = || bot.discord.received(Side::Main, bot.account.user_id, op::UPDATE_VOICE_STATE).len();
        assert_eq!(asked(), 1, "for joining");
        bot.manager.send(MainGatewayRestored).await.unwrap();
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);

        // And it may come back at the very moment of the panic.
        bot.manager.send(MainGatewayLost).await.unwrap();
        bot.panic(Victim::Bridge).await;
        bot.manager.send(MainGatewayRestored).await.unwrap();
        bot.panic(Victim::Bridge).await;
        bot.discord.close_voice(bot.account.user_id, 4006, "");
        bot.next_status(ConnectionStatus::Connected).await;
        bot.disconnect().await;
    });
}

#[test]
fn a_bridge_that_panics_during_an_outage_has_a_successor_that_waits_for_its_end() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.make_guild_unavailable(&bot.guild);
        tokio::time::sleep(Duration::from_secs(1)).await;
        bot.panic(Victim::Bridge).await;
        tokio::time::sleep(Duration::from_secs(400)).await;
        bot.discord.restore_guild(&bot.guild);
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;
        let ended =
            bot.events.call_events().into_iter().find(|event| matches!(event, CallEventKind::Ended(_)));
        assert_eq!(ended, Some(CallEventKind::Ended(EndReason::Left)));
    });
}

#[test]
fn a_bridge_that_panics_has_a_successor_that_knows_the_stages() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().dave(Dave::Off)).await;
        let stage = StageChannel { guild: bot.guild_id(), channel: ChannelId(bot.channel.id) };
        bot.manager.send(stage).await.unwrap();
        bot.panic(Victim::Bridge).await;
        let track = bot.join_and_play("demo.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished, "nothing is encrypted on a stage");
        bot.disconnect().await;
    });
}

#[test]
fn a_speaker_or_a_listener_that_panics_again_and_again_ends_the_call_with_a_reason() {
    for (victim, name) in [(Victim::Speaker, "Speaker"), (Victim::Listener, "Listener")] {
        story(async {
            let bot = BotOnDiscord::start().await;
            let _heard = bot.listen(Preset::Agent).await;
            bot.join().await;
            for _ in 0..5 {
                bot.panic(victim).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let ended =
                bot.next_event("the call ends", |event| matches!(event, CallEventKind::Ended(_))).await;
            let reason = EndReason::GaveUp { failures: 5, last: Cause::Panicked(name) };
            assert_eq!(ended, CallEventKind::Ended(reason));
            bot.until_left(Duration::from_secs(1)).await;
        });
    }
}

#[test]
fn an_actor_that_panics_over_a_demand_ends_its_own_track() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let panics = QueueSource::new(packets[..50].to_vec(), WhenEmpty::Panic);
        let panics = bot.speak(Speak::start(bot.guild_id(), panics)).await;
        assert_eq!(bot.track_end(panics).await, TrackEnd::SourceLost);
        let stats = bot.disconnect().await;
        assert!(packets_heard(&bot.heard()) == with_silence(&packets[..50]));
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        bot.assert_no_violations();
    });
}

/// A source that panics when it has nothing left.
struct PanickingSource(VecDeque<Bytes>);

impl Source for PanickingSource {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let Some(packet) = self.0.pop_front() else { panic!("nothing left") };
        Ok(Some(Frame::Opus(packet)))
    }
}

#[test]
fn a_source_that_panics_ends_its_own_track_after_what_it_supplied() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let panicking = PanickingSource(packets[..50].to_vec().into());
        let panicking = bot.speak(Speak::source(bot.guild_id(), panicking)).await;
        assert_eq!(bot.track_end(panicking).await, TrackEnd::Panicked("nothing left".into()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(packets_heard(&bot.heard()) == with_silence(&packets[..50]));

        let panicking = PanickingSource(packets[..50].to_vec().into());
        let panicking = bot.speak(Speak::source(bot.guild_id(), panicking)).await;
        let beside = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets, 200))).await;
        let ends = [TrackEnd::Panicked("nothing left".into()), TrackEnd::Finished];
        assert_eq!(bot.track_ends([panicking, beside]).await, ends);
        let stats = bot.disconnect().await;
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        bot.assert_no_violations();
    });
}

#[test]
fn panics_on_media_arbiters_are_survived_too() {
    real_time(async {
        let bot = BotOnDiscord::start_with(Discord::builder(), |config| config.media_arbiters = 1).await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let lost = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets.clone(), 1_000))).await;
        bot.next_event("the track starts", |event| *event == CallEventKind::TrackStarted(lost)).await;
        bot.panic(Victim::Speaker).await;
        assert_eq!(bot.track_end(lost).await, TrackEnd::SpeakerLost);

        let track = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets, 100))).await;
        bot.next_event("the next track starts", |event| *event == CallEventKind::TrackStarted(track)).await;
        bot.panic(Victim::Transport).await;
        bot.next_status(ConnectionStatus::Connected).await;
        bot.panic(Victim::Gateway).await;
        bot.next_status(ConnectionStatus::Resumed).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let speech_ended = |_: &Discord| packets_heard(&bot.heard()).ends_with(&with_silence(&[]));
        bot.discord.until(speech_ended, Duration::from_secs(60)).await.unwrap();
        let stats = bot.disconnect().await;
        assert_eq!((stats.resumes, stats.reconnects), (1, 1));
        assert_eq!((bot.heard().packets, bot.heard().lost), (stats.packets, 0));
    });
}

#[test]
#[should_panic(expected = "a test that fails")]
fn a_system_that_ends_in_a_panic_takes_its_manager_with_it() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        panic!("a test that fails");
    });
}
