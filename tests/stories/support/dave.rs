//! What the stories of encrypted calls have in common: numbered speech, who understood it, and what went over the wire.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use actix_voice::{
    actors::{CallEventKind, CallStats, Config, MainGateway, Speak, Subscribe, VoiceManager},
    audio::frame::{Frame, SILENCE},
    id::Token,
    source::{Source, SourceError},
    speaker::TrackId,
    transport::dave::E2eeState,
};
use actix_voice_loopback::{Channel, Event, Member, Side, recorder::Packet};
use bytes::Bytes;

use crate::support::{bot::BotOnDiscord, events::EventLog};

/// Endless speech whose every packet says which one it is.
#[derive(Default)]
pub struct NumberedSpeech {
    next: u32,
}

impl Source for NumberedSpeech {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let number = self.next;
        self.next += 1;
        Ok(Some(Frame::Opus(numbered_packet(number))))
    }
}

/// A 20 ms packet with a number, and 48 bytes that follow from it and resemble nothing else.
pub fn numbered_packet(number: u32) -> Bytes {
    let mut packet = vec![0xFC];
    packet.extend(number.to_be_bytes());
    let mut state = u64::from(number);
    for _ in 0..6 {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        packet.extend((mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB).to_be_bytes());
    }
    packet.into()
}

/// An encrypted frame of the right shape whose tag is wrong.
pub fn forged_frame() -> Bytes {
    let mut frame = vec![0x5A; 48];
    frame.extend([7; 8]);
    frame.extend([1, 12, 0xFA, 0xFA]);
    frame.into()
}

/// Lets so many milliseconds pass.
pub async fn wait_millis(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Adds so many listeners to a channel, one after the other.
pub fn add_listeners(room: &Channel, size: usize) -> Vec<Member> {
    (0..size).map(|number| room.listener(&format!("stayer {number}"))).collect()
}

impl BotOnDiscord {
    /// The same Discord with another bot, or the same one anew, that is configured like this.
    pub async fn with_bot(self, name: &str, config: Config) -> Self {
        let account = self.discord.bot(name);
        let manager = VoiceManager::new(config.clone()).start();
        let events = EventLog::default();
        manager.send(Subscribe::new(events.recorder().recipient())).await.unwrap();
        let token = Token(account.token.clone());
        let gateway = MainGateway::at(&self.discord.gateway_url(), token, &config, manager.clone()).start();
        wait_millis(500).await;
        Self { account, config, manager, gateway, events, ..self }
    }

    /// Speaks numbered packets until the bot leaves.
    pub async fn speak_numbers(&self) -> TrackId {
        let speak = Speak::source(self.guild_id(), NumberedSpeech::default());
        self.manager.send(speak).await.unwrap().expect("the bot is in a call").id()
    }

    /// The states of its encryption that the bot has reported so far.
    pub fn e2ee_states(&self) -> Vec<E2eeState> {
        let states = self.events.call_events().into_iter();
        states
            .filter_map(|event| if let CallEventKind::E2ee(state) = event { Some(state) } else { None })
            .collect()
    }

    /// Waits until bot and members, and nobody else, are one group and say the same privacy code; returns it.
    pub async fn until_one_group(&self, room: &Channel, members: &[&Member]) -> Option<String> {
        for _ in 0..3_000 {
            if let Some(code) = self.common_privacy_code(room, members) {
                return code;
            }
            wait_millis(20).await;
        }
        let codes: Vec<_> = members.iter().map(|member| member.privacy_code()).collect();
        let last = self.discord.log();
        let last: Vec<_> = last
            .iter()
            .rev()
            .filter(|entry| entry.side == Side::Voice)
            .take(40)
            .map(|e| e.event.to_string())
            .collect();
        panic!(
            "no agreement: the group is {:?}, the members say {codes:?}, the bot {:?}; before: {last:#?}",
            self.discord.dave_members(room),
            self.e2ee_states().last()
        );
    }

    fn common_privacy_code(&self, room: &Channel, members: &[&Member]) -> Option<Option<String>> {
        let mut users: Vec<u64> = members.iter().map(|member| member.user_id).collect();
        if !users.is_empty() {
            users.push(self.account.user_id);
        }
        users.sort_unstable();
        let code = self.e2ee_states().last().and_then(|state| state.privacy_code.clone());
        let same = members.iter().all(|member| member.privacy_code() == code);
        let some = code.is_some() != members.is_empty();
        (same && some && self.discord.dave_members(room) == users).then_some(code)
    }

    /// The payloads of the binary messages that the bot sent with this opcode.
    pub fn binary_from_bot(&self, op: u8) -> Vec<Bytes> {
        self.binary(|event| match event {
            Event::ReceivedBinary { op: got, payload } if *got == op => Some(payload.clone()),
            _ => None,
        })
    }

    /// The payloads of the binary messages that the bot was sent with this opcode, replays among them.
    pub fn binary_to_bot(&self, op: u8) -> Vec<Bytes> {
        self.binary(|event| match event {
            Event::SentBinary { op: sent, payload, .. } if *sent == op => Some(payload.clone()),
            _ => None,
        })
    }

    fn binary(&self, pick: impl Fn(&Event) -> Option<Bytes>) -> Vec<Bytes> {
        let log = self.discord.log();
        let voice =
            log.iter().filter(|entry| entry.side == Side::Voice && entry.user == Some(self.account.user_id));
        voice.filter_map(|entry| pick(&entry.event)).collect()
    }

    /// How many text messages with this opcode the bot sent.
    pub fn texts_sent(&self, op: u8) -> usize {
        self.discord.received(Side::Voice, self.account.user_id, op).len()
    }

    /// How many of the bot's commits were chosen.
    pub fn commits_chosen(&self) -> usize {
        let own = self.binary_from_bot(28);
        let announced: HashSet<Bytes> =
            self.binary_to_bot(29).into_iter().map(|op29| op29.slice(2..)).collect();
        announced.iter().filter(|commit| own.iter().any(|op28| op28.starts_with(commit))).count()
    }

    /// What this member decrypted of the bot's numbered speech.
    pub fn decrypted_by(&self, listener: &Member) -> Decrypted {
        let heard = listener.heard(self.account.user_id).expect("the bot was heard");
        let audible = heard.audio.iter().filter(|packet| packet.opus != SILENCE[..]);
        let mut numbers: Vec<u32> = audible.map(|packet| number_of(&packet.opus)).collect();
        numbers.sort_unstable();
        Decrypted { numbers, packets: heard.packets, lost: heard.lost, undecryptable: heard.undecryptable }
    }

    /// Asserts that these members decrypted every packet of the bot's only stay in their channel.
    pub fn assert_heard_by(&self, stayers: &[Member], stats: &CallStats) {
        for (index, listener) in stayers.iter().enumerate() {
            let heard = self.decrypted_by(listener);
            assert_eq!(heard.undecryptable, 0, "packets that stayer {index} could not open");
            assert_eq!((heard.packets, heard.lost), (stats.packets, 0), "packets that stayer {index} heard");
            assert_eq!(heard.missing(), NONE_MISSING, "holes in what stayer {index} heard");
        }
    }

    /// Asserts that a member decrypted everything from its first packet on, for as long as it was there.
    pub fn assert_no_holes(&self, listener: &Member) -> Decrypted {
        let heard = self.decrypted_by(listener);
        assert!(heard.numbers.len() > 40, "only {} packets were understood", heard.numbers.len());
        assert_eq!(heard.missing(), NONE_MISSING, "holes in {:?}", heard.span());
        heard
    }

    /// Everything the voice server got from the bot in these channels, in order, before any end-to-end decryption.
    pub fn packets_at_server(&self, rooms: &[&Channel]) -> Vec<Packet> {
        let recordings =
            rooms.iter().filter_map(|room| self.discord.relay().recording_in(room.id, self.account.user_id));
        let mut packets: Vec<Packet> = recordings.flat_map(|recording| recording.audio).collect();
        packets.sort_by_key(|packet| packet.arrival);
        packets
    }

    /// Asserts that all the bot sent in these channels was encrypted end to end, whatever it was that it played: not
    /// eight bytes in a row of the source are anywhere in it. And that no nonce served twice under one key.
    pub fn assert_encrypted(
        &self,
        rooms: &[&Channel],
        stats: &CallStats,
        source: impl IntoIterator<Item = Bytes>,
    ) {
        let packets = self.packets_at_server(rooms);
        let counters = self.discord.relay().counters();
        assert_eq!(
            packets.len() as u64 + counters.unknown_ssrc + counters.lost + stats.transport.unsent,
            stats.packets,
            "some packets escaped the recording"
        );
        let known: HashSet<[u8; 8]> =
            source.into_iter().flat_map(|opus| windows(&opus).collect::<Vec<_>>()).collect();
        assert!(known.len() > 1_000, "there was a source");
        for packet in &packets {
            assert!(nonce_of(&packet.opus).is_some(), "a packet that is no encrypted frame: {packet:?}");
            assert!(!windows(&packet.opus).any(|bytes| known.contains(&bytes)), "plain bytes in {packet:?}");
        }
        self.assert_fresh_nonces(&packets);
    }

    /// Asserts that the nonces of the frames count up, by one where no packet was lost, and start over only when the key is
    /// another.
    pub fn assert_fresh_nonces(&self, packets: &[Packet]) {
        let keys: HashSet<String> =
            self.e2ee_states().into_iter().filter_map(|state| state.privacy_code).collect();
        let mut streams: BTreeMap<u32, Vec<&Packet>> = BTreeMap::new();
        for packet in packets {
            streams.entry(packet.ssrc).or_default().push(packet);
        }
        let (mut starts, mut missing) = (0, 0);
        for mut stream in streams.into_values() {
            let first = stream[0].sequence;
            stream.sort_by_key(|packet| packet.sequence.wrapping_sub(first).cast_signed());
            let mut last = u32::MAX;
            for nonce in stream.into_iter().filter_map(|packet| nonce_of(&packet.opus)) {
                if nonce <= last {
                    starts += 1;
                    last = 0;
                }
                missing += u64::from(nonce - last - 1);
                last = nonce;
            }
        }
        assert!(starts <= keys.len(), "the nonces started over {starts} times under {} keys", keys.len());
        let lost = self.discord.relay().counters().lost;
        assert!(missing <= lost, "{missing} nonces were skipped, and {lost} packets lost");
    }
}

/// What one member decrypted of numbered speech.
pub struct Decrypted {
    pub numbers: Vec<u32>,
    pub packets: u64,
    pub lost: u64,
    pub undecryptable: u64,
}

impl Decrypted {
    /// The first and the last number.
    pub fn span(&self) -> Option<(u32, u32)> {
        Some((*self.numbers.first()?, *self.numbers.last()?))
    }

    /// What is missing between them.
    pub fn missing(&self) -> Vec<u32> {
        let Some((first, last)) = self.span() else { return Vec::new() };
        let heard: HashSet<u32> = self.numbers.iter().copied().collect();
        (first..=last).filter(|number| !heard.contains(number)).collect()
    }
}

fn number_of(opus: &[u8]) -> u32 {
    let number = opus.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let number = number.expect("a numbered packet");
    assert_eq!(opus, numbered_packet(number), "packet {number} was changed on its way");
    number
}

/// The truncated nonce of an encrypted frame; none if it is not one (PROTOCOL 5.10).
pub fn nonce_of(frame: &[u8]) -> Option<u32> {
    let [.., size, 0xFA, 0xFA] = frame else { return None };
    let supplement = frame.get(frame.len().checked_sub(usize::from(*size))?..)?;
    let mut nonce = 0;
    for (index, byte) in supplement.get(8..)?.iter().enumerate().take(5) {
        nonce |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(nonce);
        }
    }
    None
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = [u8; 8]> + '_ {
    bytes.windows(8).filter_map(|window| window.try_into().ok())
}

/// No number is missing.
pub const NONE_MISSING: [u32; 0] = [];
