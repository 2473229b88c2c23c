//! The control plane has an arbiter of its own: nothing that a user's code does can hold up a heartbeat.

use std::{sync::mpsc, thread, time::Duration};

use actix_voice::{
    actors::{Config, Encryption, Join, Login, MainGateway, Speak, VoiceManager},
    id::{ChannelId, GuildId, Token},
    source::Tone,
};
use actix_voice_loopback::{Bot, Channel, Discord, Member, Side};
use tokio::sync::oneshot;

use crate::support::{
    log::{identifies, op, received, resumes},
    real_time,
};

#[test]
fn an_actor_that_blocks_its_arbiter_for_30_seconds_harms_no_call_and_delays_no_beat() {
    let (setup, _end) = discord_on_a_thread_of_its_own();
    let Setup { discord, bot, channel, listener } = setup;
    real_time(async {
        let mut config = Config::default();
        config.encryption = Encryption::None;
        config.media_arbiters = 1;
        let manager = VoiceManager::new(config.clone()).start();
        let token = Token(bot.token.clone());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
        gateway.send(Login).await.unwrap().unwrap();
        let guild = GuildId(channel.guild_id);
        let call = manager.send(Join::new(guild, ChannelId(channel.id))).await.unwrap().unwrap();
        call.speak(Speak::source(guild, Tone::new(440.0))).await.unwrap();

        block(BLOCKED);

        let stats = call.disconnect().await.expect("the call lives");
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        assert!(stats.packets >= 50 * BLOCKED.as_secs(), "{} packets", stats.packets);
    });
    let heard = listener.heard(bot.user_id).expect("the bot was heard");
    assert_eq!(heard.lost, 0);
    assert!(heard.longest_gap < Duration::from_millis(200), "a gap of {:?}", heard.longest_gap);
    assert_eq!((identifies(&discord), resumes(&discord)), (1, 0));
    let beats: Vec<_> =
        received(&discord, Side::Voice, op::HEARTBEAT).into_iter().map(|(entry, _)| entry.at).collect();
    assert!(beats.len() >= 6, "{} heartbeats", beats.len());
    for pair in beats.windows(2) {
        let spacing = pair[1] - pair[0];
        assert!(spacing < Duration::from_millis(5_500), "a heartbeat came after {spacing:?}, not after 5 s");
    }
    assert_eq!(discord.violations(), []);
}

/// What a user's actor must not do, and does.
#[expect(clippy::disallowed_methods, reason = "that an arbiter is blocked is what the story is about")]
fn block(time: Duration) {
    thread::sleep(time);
}

/// How long the user's actor blocks.
const BLOCKED: Duration = Duration::from_secs(30);

struct Setup {
    discord: Discord,
    bot: Bot,
    channel: Channel,
    listener: Member,
}

/// Runs Discord where the story cannot block it, until the sender is dropped.
fn discord_on_a_thread_of_its_own() -> (Setup, oneshot::Sender<()>) {
    let (started, setup) = mpsc::channel();
    let (end, ended) = oneshot::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let discord = Discord::start().await;
            let bot = discord.bot("bot");
            let channel = discord.guild("guild").channel("channel");
            let listener = channel.listener("ear");
            started.send(Setup { discord, bot, channel, listener }).ok();
            // Dropped, the sender ends it.
            let _ = ended.await;
        });
    });
    (setup.recv().expect("Discord starts"), end)
}
