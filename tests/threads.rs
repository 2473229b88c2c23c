//! The threads of a manager end with it, and a registered one has them again when it is needed. Alone in its process, because
//! it counts them.
#![cfg(target_os = "linux")]

use std::{fs, sync::mpsc, time::Duration};

use actix::{Actor, Addr, Context, Handler, SystemRegistry, SystemService};
use actix_voice::{
    actors::{Config, Demand, Encryption, Join, Login, MainGateway, Shutdown, Speak, VoiceManager},
    id::{ChannelId, GuildId, Token},
    source::Tone,
};
use actix_voice_loopback::{Bot, Channel, Discord};
use tokio::sync::oneshot;

#[test]
fn a_shutdown_leaves_no_thread_and_the_next_call_has_as_many_as_the_first() {
    actix::System::new().block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let mut config = Config::default();
        config.encryption = Encryption::None;
        config.media_arbiters = 2;
        let before = arbiters();
        SystemRegistry::set(VoiceManager::new(config.clone()).start());
        let mut in_a_call = Vec::new();
        for _ in 0..3 {
            let manager = VoiceManager::from_registry();
            call(&discord, &bot, &channel, &config, &manager).await;
            in_a_call.push(settled(before).await);
            assert_eq!(timers(), 1, "the media arbiter of the call is paced by a timer of the system");
            manager.send(Shutdown).await.unwrap();
            let ended = async {
                while arbiters() > before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
            assert!(ended.is_ok(), "{} threads are left", arbiters() - before);
            assert_eq!(timers(), 0);
        }
        // The control plane, media, sources, actors that are sources, and encryption have one each.
        assert_eq!(in_a_call, [5, 5, 5]);
    });
}

async fn call(
    discord: &Discord,
    bot: &Bot,
    channel: &Channel,
    config: &Config,
    manager: &Addr<VoiceManager>,
) {
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, config, manager.clone()).start();
    gateway.send(Login).await.unwrap().expect("Discord lets the bot in");
    let guild = GuildId(channel.guild_id);
    let call = manager.send(Join::new(guild, ChannelId(channel.id))).await.unwrap().expect("the bot joins");
    call.speak(Speak::source(guild, Tone::new(440.0))).await.expect("it speaks");
    let (_unblock, blocked) = mpsc::channel();
    let (blocks, blocking) = oneshot::channel();
    let source = BlockingSource { blocks: Some(blocks), until: blocked };
    call.speak(Speak::start(guild, source)).await.expect("it is asked for frames");
    blocking.await.expect("it blocks its arbiter");
    let stats = tokio::time::timeout(Duration::from_secs(10), call.stats()).await;
    stats.expect("a source that blocks holds up nobody else").expect("the call goes on");
}

/// A source that does what a source actor must not do if others share its arbiter.
struct BlockingSource {
    blocks: Option<oneshot::Sender<()>>,
    until: mpsc::Receiver<()>,
}

impl Actor for BlockingSource {
    type Context = Context<Self>;
}

impl Handler<Demand> for BlockingSource {
    type Result = ();

    fn handle(&mut self, _: Demand, _: &mut Context<Self>) {
        if let Some(blocks) = self.blocks.take() {
            blocks.send(()).expect("the test waits");
            // Until the other end is dropped.
            let _ = self.until.recv();
        }
    }
}

/// How many more arbiters there are than before, once their number stands: a thread has its parent's name at first.
async fn settled(before: usize) -> usize {
    let mut last = 0;
    loop {
        let more = arbiters() - before;
        if std::mem::replace(&mut last, more) == more {
            return more;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many threads of this process are arbiters, by the beginning of their name that the system keeps.
fn arbiters() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("Linux lists its threads");
    // One that ends meanwhile has no name any more.
    let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("actix-rt|system") || name.trim() == "voice-media").count()
}

/// How many timers of the system this process has.
fn timers() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("Linux lists what is open");
    let targets = open.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("timerfd")).count()
}
