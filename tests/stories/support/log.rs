//! What the offline Discord's log says: the messages of both sides, connections and how they were closed.

use actix_voice_loopback::{Closer, Discord, Entry, Event, Side};
use serde_json::Value;
use tokio::time::Instant;

use crate::support::bot::BotOnDiscord;

/// Opcodes of the voice gateway.
pub mod op {
    pub const IDENTIFY: u8 = 0;
    pub const SELECT_PROTOCOL: u8 = 1;
    pub const READY: u8 = 2;
    pub const HEARTBEAT: u8 = 3;
    pub const DESCRIPTION: u8 = 4;
    pub const SPEAKING: u8 = 5;
    pub const RESUME: u8 = 7;
    pub const RESUMED: u8 = 9;
    pub const EXTERNAL_SENDER: u8 = 25;
    pub const KEY_PACKAGE: u8 = 26;
    pub const INVALID_COMMIT_WELCOME: u8 = 31;
    /// Of the main gateway.
    pub const MAIN_IDENTIFY: u8 = 2;
    pub const MAIN_RESUME: u8 = 6;
    pub const UPDATE_VOICE_STATE: u8 = 4;
}

/// The messages with this opcode that one side received from clients.
pub fn received(discord: &Discord, side: Side, wanted: u8) -> Vec<(Entry, Value)> {
    let of_side = discord.log().into_iter().filter(|entry| entry.side == side);
    let messages = of_side.filter_map(|entry| match entry.event.clone() {
        Event::Received { op, d } if op == wanted => Some((entry, d)),
        _ => None,
    });
    messages.collect()
}

/// How many times a client sent Identify to the voice gateway.
pub fn identifies(discord: &Discord) -> usize {
    received(discord, Side::Voice, op::IDENTIFY).len()
}

/// How many times a client sent Resume to the voice gateway.
pub fn resumes(discord: &Discord) -> usize {
    received(discord, Side::Voice, op::RESUME).len()
}

/// How many messages with this opcode the voice gateway sent.
pub fn sent_count(discord: &Discord, wanted: u8) -> usize {
    let sent = |entry: &&Entry| matches!(&entry.event, Event::Sent { op, .. } if *op == wanted);
    discord.log().iter().filter(|entry| entry.side == Side::Voice).filter(sent).count()
}

/// How many websockets were opened to one side.
pub fn connections(discord: &Discord, side: Side) -> usize {
    let opened = |entry: &&Entry| entry.side == side && matches!(entry.event, Event::Opened { .. });
    discord.log().iter().filter(opened).count()
}

/// How the connections to the voice gateway were closed, oldest first.
pub fn closes(discord: &Discord) -> Vec<(Entry, Closer, Option<u16>)> {
    let ended = discord.log().into_iter().filter(|entry| entry.side == Side::Voice);
    let ended = ended.filter_map(|entry| match entry.event {
        Event::Closed { by, code } => Some((entry, by, code)),
        _ => None,
    });
    ended.collect()
}

/// The Speaking messages of the bot: when the voice gateway read each, its flags and its SSRC.
pub fn speaking_messages(bot: &BotOnDiscord) -> Vec<(Instant, u64, u64)> {
    let entries = bot.discord.log().into_iter();
    let entries =
        entries.filter(|entry| entry.side == Side::Voice && entry.user == Some(bot.account.user_id));
    entries
        .filter_map(|entry| match entry.event {
            Event::Received { op: op::SPEAKING, d } => {
                Some((entry.at, d["speaking"].as_u64()?, d["ssrc"].as_u64()?))
            }
            _ => None,
        })
        .collect()
}

/// The flags of the bot's Speaking messages.
pub fn speaking_flags(bot: &BotOnDiscord) -> Vec<u64> {
    speaking_messages(bot).into_iter().map(|(_, flags, _)| flags).collect()
}
