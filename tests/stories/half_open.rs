//! Connections that swallow what is written to them, as after sleep or a change of network, and guilds that have an outage.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{
        CallEventKind, Config, Join, JoinError, Plug, ProbeMainGateway, Speak, UpdateVoiceState, VoiceManager,
    },
    bridge::JoinFailure,
    call::{ConnectionStatus, EndReason},
    id::{ChannelId, GuildId, UserId},
    source::Tone,
    speaker::TrackEnd,
};
use actix_voice_loopback::Side;
use tokio::time::{Instant, sleep};

use crate::support::{
    bot::BotOnDiscord,
    log::{identifies, op, received},
    recording::packets_of,
    sources::LoopSource,
    story,
};

const SECOND: Duration = Duration::from_secs(1);

fn main_resumes(bot: &BotOnDiscord) -> usize {
    received(&bot.discord, Side::Main, op::MAIN_RESUME).len()
}

#[test]
fn a_join_on_a_dead_main_gateway_is_answered_once_that_is_found_dead() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.freeze_main(bot.account.user_id);
        let began = Instant::now();
        bot.join().await;
        assert!(began.elapsed() < 10 * SECOND, "it took {:?}", began.elapsed());
        assert_eq!(main_resumes(&bot), 1);
        bot.disconnect_and_drain().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_move_on_a_dead_main_gateway_succeeds_all_the_same() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let second = bot.guild.channel("second");
        bot.join().await;
        bot.discord.freeze_main(bot.account.user_id);
        bot.request_join(&second).await.expect("the bot moves");
        assert_eq!(bot.discord.members_of(&second), [bot.account.user_id]);
        bot.disconnect_and_drain().await;
    });
}

#[test]
fn a_network_that_was_away_costs_a_call_seconds_and_counts_as_no_failure() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track =
            bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets_of("demo.opus"), 50 * 520))).await;
        for _ in 0..8 {
            sleep(40 * SECOND).await;
            bot.discord.freeze_network(bot.account.user_id);
            bot.next_status(ConnectionStatus::Resumed).await;
        }
        sleep(80 * SECOND).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect_and_drain().await;
        assert_eq!((stats.reconnects, stats.resumes, identifies(&bot.discord)), (0, 8, 1));
        assert_eq!(main_resumes(&bot), 8, "the main gateway was found dead each time");
        assert!(bot.heard().longest_gap < 25 * SECOND, "{:?}", bot.heard().longest_gap);
    });
}

/// A main gateway of the bot's own that takes everything and answers nothing, not even a probe.
struct Mute;

impl Actor for Mute {
    type Context = Context<Self>;
}

impl Handler<UpdateVoiceState> for Mute {
    type Result = ();

    fn handle(&mut self, _: UpdateVoiceState, _: &mut Context<Self>) {}
}

impl Handler<ProbeMainGateway> for Mute {
    type Result = ();

    fn handle(&mut self, _: ProbeMainGateway, _: &mut Context<Self>) {}
}

#[test]
fn a_gateway_that_answers_nothing_is_told_from_a_channel_that_cannot_be_joined() {
    story(async {
        let (manager, gateway) = (VoiceManager::new(Config::local()).start(), Mute.start());
        let plug = Plug::new(UserId(1), gateway.clone().recipient());
        let join = Join::new(GuildId(2), ChannelId(3));
        let refused = |failure| JoinError::Ended(EndReason::NotJoined(failure));
        manager.send(plug.clone()).await.unwrap();
        let error = manager.send(join).await.unwrap().unwrap_err();
        assert_eq!(error, refused(JoinFailure::NoAnswer), "it cannot be asked whether it answers");
        manager.send(plug.prober(gateway.recipient())).await.unwrap();
        let error = manager.send(join).await.unwrap().unwrap_err();
        assert_eq!(error, refused(JoinFailure::SlowGateway));
        assert!(error.to_string().contains("not even a heartbeat"), "{error}");
    });
}

#[test]
fn a_call_waits_for_the_end_of_an_outage_and_goes_on() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        for _ in 0..2 {
            let track = bot.speak(Speak::source(bot.guild_id(), Tone::new(440.0).lasting(60 * SECOND))).await;
            sleep(2 * SECOND).await;
            bot.discord.make_guild_unavailable(&bot.guild);
            sleep(60 * SECOND).await;
            let before = Instant::now();
            bot.discord.restore_guild(&bot.guild);
            bot.next_status(ConnectionStatus::Connected).await;
            assert!(before.elapsed() < SECOND, "it took {:?}", before.elapsed());
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished, "it waited, too");
        }
        assert!(!bot.events.call_events().iter().any(|event| matches!(event, CallEventKind::Ended(_))));
        bot.disconnect_and_drain().await;
    });
}

#[test]
fn an_outage_that_does_not_end_ends_the_call_and_the_next_join_is_told_so() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        bot.discord.make_guild_unavailable(&bot.guild);
        let ended = || bot.events.call_events().contains(&CallEventKind::Ended(EndReason::GuildDeleted));
        sleep(599 * SECOND).await;
        assert!(!ended());
        sleep(2 * SECOND).await;
        assert!(ended());
        let error = bot.request_join(&bot.channel).await.unwrap_err();
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::GuildUnavailable)));
        bot.discord.restore_guild(&bot.guild);
        bot.join().await;
        bot.disconnect_and_drain().await;
    });
}
