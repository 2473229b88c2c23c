//! A media arbiter asks for no memory for a packet: only for the batches that sources supply. Alone in its process, because it
//! counts allocations, of each thread.
#![cfg(all(target_os = "linux", feature = "actors"))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::Duration,
};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{Config, Demand, Encryption, Join, Login, MainGateway, Shutdown, Speak, VoiceManager},
    audio::frame::Frame,
    id::{ChannelId, GuildId, Token},
};
use actix_voice_loopback::Discord;
use bytes::Bytes;

/// The system's allocator, and how often each thread has asked it for memory.
struct Counting;

/// The threads in the order in which they first asked, and how often they have.
static THREADS: [(AtomicU32, AtomicUsize); 64] = [const { (AtomicU32::new(0), AtomicUsize::new(0)) }; 64];
static KNOWN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl Counting {
    fn count() {
        let place = PLACE.get();
        let place = if place == usize::MAX {
            let place = KNOWN.fetch_add(1, Ordering::Relaxed) % THREADS.len();
            PLACE.set(place);
            THREADS[place]
                .0
                .store(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(), Ordering::Relaxed);
            place
        } else {
            place
        };
        THREADS[place].1.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often the media arbiters have asked for memory.
fn media_allocations() -> usize {
    let is_media = |thread: u32| {
        let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
        name.is_ok_and(|name| name.trim() == "voice-media")
    };
    let threads = THREADS.iter().filter(|(thread, _)| is_media(thread.load(Ordering::Relaxed)));
    threads.map(|(_, asked)| asked.load(Ordering::Relaxed)).sum()
}

/// Supplies packets for ever, in batches, each in memory of its own as a file's are.
struct Endless;

impl Actor for Endless {
    type Context = Context<Self>;
}

impl Handler<Demand> for Endless {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        let packet = || Frame::Opus(Bytes::from(vec![0xFC; 160]));
        demand.supplier.supply_all((0..demand.frames).map(|_| packet()).collect());
    }
}

#[test]
fn a_call_asks_for_memory_for_each_batch_and_not_for_each_packet() {
    actix::System::new().block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let listener = channel.listener("ear");
        let mut config = Config::default();
        config.encryption = Encryption::None;
        config.media_arbiters = 1;
        let manager = VoiceManager::spawn(config.clone()).expect("a thread");
        let token = Token(bot.token.clone());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
        gateway.send(Login).await.unwrap().expect("Discord lets the bot in");
        let (guild, id) = (GuildId(channel.guild_id), ChannelId(channel.id));
        let call = manager.send(Join::new(guild, id)).await.unwrap().expect("the bot joins");
        call.speak(Speak::start(guild, Endless)).await.expect("it speaks");

        let heard = |packets| {
            let (discord, listener, user) = (&discord, &listener, bot.user_id);
            async move {
                let all = |_: &Discord| listener.packets_heard(user) >= packets;
                discord.until(all, Duration::from_secs(60)).await.expect("packets arrive");
                listener.packets_heard(user)
            }
        };
        let before = (heard(100).await, media_allocations());
        let after = (heard(before.0 + 200).await, media_allocations());
        let (packets, asked) = (after.0 - before.0, after.1 - before.1);
        assert!(before.1 > 0, "the media arbiter is not found among the threads");
        // Twelve packets make a batch: a message each way, and what they are in. Once in the time a keepalive is due.
        assert!(asked as u64 <= packets / 12 * 8 + 20, "{asked} allocations for {packets} packets");
        manager.send(Shutdown).await.unwrap();
    });
}
