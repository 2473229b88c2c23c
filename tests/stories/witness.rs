//! What can be seen and heard from outside: the offline Discord's log, and a recording laid beside its file.

use actix_voice::{audio::frame, source, source::Source};
use actix_voice_loopback::{Closer, Discord, Entry, Event, Hearing, Side};
use bytes::Bytes;
use serde_json::Value;

use crate::stage::audio;

/// Opcodes of the voice gateway.
pub mod op {
    pub const IDENTIFY: u8 = 0;
    pub const READY: u8 = 2;
    pub const HEARTBEAT: u8 = 3;
    pub const SPEAKING: u8 = 5;
    pub const RESUME: u8 = 7;
    pub const RESUMED: u8 = 9;
    pub const EXTERNAL_SENDER: u8 = 25;
    /// Of the main gateway.
    pub const UPDATE_VOICE_STATE: u8 = 4;
}

/// The Opus packets of a file of `tests/audio`.
pub fn packets_of(file: &str) -> Vec<Bytes> {
    let mut source = source::open(audio(file)).expect("the file plays");
    let frames = std::iter::from_fn(move || source.next_frame().expect("the file is whole"));
    let packets = frames.map(|frame| match frame {
        frame::Frame::Opus(packet) => packet,
        frame::Frame::Pcm(_) => panic!("{file} is not passed through"),
    });
    packets.collect()
}

/// How many packets of a file were not heard.
///
/// # Panics
///
/// When something else was heard, or something twice, or in another order.
pub fn missed<'a>(file: &str, heard: impl IntoIterator<Item = &'a Hearing>) -> usize {
    let original = packets_of(file);
    let (mut next, mut found) = (0, 0);
    let packets = heard.into_iter().flat_map(|hearing| &hearing.audio);
    for packet in packets.filter(|packet| packet.opus[..] != frame::SILENCE) {
        let ahead = original[next..].iter().position(|opus| *opus == packet.opus);
        let ahead = ahead.unwrap_or_else(|| panic!("what was heard after packet {next} is not of {file}"));
        next += ahead + 1;
        found += 1;
    }
    original.len() - found
}

/// Messages that came from clients.
pub fn received(discord: &Discord, side: Side, wanted: u8) -> Vec<(Entry, Value)> {
    let of_side = discord.log().into_iter().filter(|entry| entry.side == side);
    let messages = of_side.filter_map(|entry| match entry.event.clone() {
        Event::Received { op, d } if op == wanted => Some((entry, d)),
        _ => None,
    });
    messages.collect()
}

/// How many voice sessions were begun, or tried to.
pub fn identifies(discord: &Discord) -> usize {
    received(discord, Side::Voice, op::IDENTIFY).len()
}

/// How many voice sessions were resumed, or tried to.
pub fn resumes(discord: &Discord) -> usize {
    received(discord, Side::Voice, op::RESUME).len()
}

/// How many messages with this opcode the voice gateway sent.
pub fn answers(discord: &Discord, wanted: u8) -> usize {
    let sent = |entry: &&Entry| matches!(&entry.event, Event::Sent { op, .. } if *op == wanted);
    discord.log().iter().filter(|entry| entry.side == Side::Voice).filter(sent).count()
}

/// How many websockets were opened to one side.
pub fn connections(discord: &Discord, side: Side) -> usize {
    let opened = |entry: &&Entry| entry.side == side && matches!(entry.event, Event::Opened { .. });
    discord.log().iter().filter(opened).count()
}

/// How the connections to the voice gateway ended, oldest first.
pub fn endings(discord: &Discord) -> Vec<(Entry, Closer, Option<u16>)> {
    let ended = discord.log().into_iter().filter(|entry| entry.side == Side::Voice);
    let ended = ended.filter_map(|entry| match entry.event {
        Event::Closed { by, code } => Some((entry, by, code)),
        _ => None,
    });
    ended.collect()
}
