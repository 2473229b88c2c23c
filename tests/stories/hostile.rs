//! Messages and datagrams that are damaged or mean nothing: counted, and otherwise without effect.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, CallStats, Speak},
    audio::frame::FRAME,
    call::ConnectionStatus,
    hearing::{Heard, Preset},
    speaker::{TrackEnd, TrackId},
    transport::Ignored,
};
use actix_voice_loopback::{Event, Side};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{
    bot::BotOnDiscord,
    dave::forged_frame,
    log::op,
    recording::{SILENCE_FRAMES, longest_gap_in_frames, packets_heard, packets_of, with_silence},
    sources::LoopSource,
    story,
};

/// A call in which the demo plays over and over.
struct DemoCall {
    bot: BotOnDiscord,
    track: TrackId,
    _heard: mpsc::Receiver<Heard>,
}

impl DemoCall {
    async fn start() -> Self {
        let bot = BotOnDiscord::start().await;
        let heard = bot.listen(Preset::Agent).await;
        bot.join().await;
        let speak = Speak::start(bot.guild_id(), LoopSource::new(packets_of("demo.opus"), usize::MAX));
        let track = bot.speak(speak).await;
        bot.next_event("the track starts", |event| matches!(event, CallEventKind::TrackStarted(_))).await;
        Self { bot, track, _heard: heard }
    }

    /// Lets what was sent arrive.
    async fn wait_a_frame(&self) {
        tokio::time::sleep(FRAME).await;
    }

    /// The number of the last numbered message that the bot was sent.
    fn last_sequence(&self) -> u16 {
        let log = self.bot.discord.log();
        let numbers =
            log.iter().filter(|entry| entry.side == Side::Voice).filter_map(|entry| match entry.event {
                Event::Sent { seq, .. } => seq.and_then(|seq| u16::try_from(seq).ok()),
                Event::SentBinary { seq, .. } => seq,
                _ => None,
            });
        numbers.last().expect("numbered messages were sent")
    }

    /// The track played through all of it, and the connection was never touched.
    async fn finish(self) -> CallStats {
        let Self { bot, track, .. } = self;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let stats = bot.disconnect().await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Stopped);
        let connection = bot
            .events
            .call_events()
            .into_iter()
            .filter(|event| matches!(event, CallEventKind::Connection(_)));
        assert_eq!(connection.collect::<Vec<_>>(), [CallEventKind::Connection(ConnectionStatus::Connected)]);
        let heard = bot.heard();
        let packets = packets_heard(&heard);
        let demo = packets_of("demo.opus");
        let sent: Vec<_> = demo.iter().cycle().take(packets.len() - SILENCE_FRAMES).cloned().collect();
        assert!(packets == with_silence(&sent), "something else was heard");
        assert_eq!((heard.packets, heard.lost, longest_gap_in_frames(&heard)), (stats.packets, 0, 1));
        bot.assert_no_violations();
        stats
    }
}

/// Every text message that the voice gateway can send, beside those that it has sent already.
fn every_text_message(bot: &BotOnDiscord) -> Vec<String> {
    let mut messages = vec![
        json!({"op": 2, "d": {"ssrc": 1, "ip": "127.0.0.1", "port": 5_000, "modes": ["aead_aes256_gcm_rtpsize"]}}),
        json!({"op": 4, "d": {"mode": "aead_aes256_gcm_rtpsize", "secret_key": vec![7; 32], "dave_protocol_version": 0}}),
        json!({"op": 5, "d": {"user_id": "1", "ssrc": 2, "speaking": 1}, "seq": 1}),
        json!({"op": 9, "d": null}),
        json!({"op": 11, "d": {"user_ids": ["1", "2"]}, "seq": 1}),
        json!({"op": 12, "d": {"user_id": "1", "audio_ssrc": 2, "video_ssrc": 3, "streams": []}, "seq": 1}),
        json!({"op": 13, "d": {"user_id": "1"}, "seq": 1}),
        json!({"op": 18, "d": {"user_id": "1", "flags": 2}, "seq": 1}),
        json!({"op": 20, "d": {"user_id": "1", "platform": 0}, "seq": 1}),
        json!({"op": 21, "d": {"transition_id": 1, "protocol_version": 1}, "seq": 1}),
        json!({"op": 22, "d": {"transition_id": 1}, "seq": 1}),
        json!({"op": 24, "d": {"protocol_version": 1, "epoch": 1}, "seq": 1}),
    ];
    messages.extend(bot.discord.log().into_iter().filter_map(|entry| match entry.event {
        Event::Sent { op, seq, d, .. } if entry.side == Side::Voice => {
            Some(json!({"op": op, "d": d, "seq": seq}))
        }
        _ => None,
    }));
    messages.iter().map(Value::to_string).collect()
}

#[test]
fn every_prefix_of_every_text_message_is_counted_and_ignored() {
    story(async {
        let call = DemoCall::start().await;
        let mut sent = 0;
        for message in every_text_message(&call.bot) {
            for end in 0..message.len() {
                call.bot.discord.send_raw_text(call.bot.account.user_id, &message[..end]);
                sent += 1;
            }
            call.wait_a_frame().await;
        }
        assert!(sent > 1_000);
        assert_eq!(call.finish().await.malformed, sent);
    });
}

#[test]
fn messages_of_the_wrong_shape_are_counted_and_ignored() {
    let wrong = [
        "null",
        "[]",
        "\"op\"",
        "{}",
        r#"{"op": null}"#,
        r#"{"op": -1, "d": {}}"#,
        r#"{"op": "two", "d": {}}"#,
        r#"{"op": 2, "d": null}"#,
        r#"{"op": 2, "d": {"ssrc": 4294967296, "ip": "127.0.0.1", "port": 1, "modes": []}}"#,
        r#"{"op": 2, "d": {"ssrc": 1, "ip": "nowhere", "port": 1, "modes": []}}"#,
        r#"{"op": 2, "d": {"ssrc": 1, "ip": "127.0.0.1", "port": 65536, "modes": []}}"#,
        r#"{"op": 4, "d": {"mode": "aead_aes256_gcm_rtpsize", "secret_key": [1, 2, 3]}}"#,
        r#"{"op": 4, "d": {"mode": 4, "secret_key": []}}"#,
        r#"{"op": 5, "d": {"user_id": [], "ssrc": -1, "speaking": "loud"}}"#,
        r#"{"op": 6, "d": {}}"#,
        r#"{"op": 8, "d": {"heartbeat_interval": 0}}"#,
        r#"{"op": 8, "d": {"heartbeat_interval": -13750.0}}"#,
        r#"{"op": 8, "d": {"heartbeat_interval": 1e300}}"#,
        r#"{"op": 8, "d": 13750}"#,
        r#"{"op": 11, "d": {"user_ids": "1"}}"#,
        r#"{"op": 13, "d": {}}"#,
    ];
    story(async {
        let call = DemoCall::start().await;
        for message in wrong {
            call.bot.discord.send_raw_text(call.bot.account.user_id, message);
        }
        call.bot.discord.send_raw_text(call.bot.account.user_id, "[".repeat(100_000));
        call.bot.discord.send_raw_text(call.bot.account.user_id, r#"{"op":"#.repeat(10_000));
        assert_eq!(call.finish().await.malformed, wrong.len() as u64 + 2);
    });
}

#[test]
fn messages_of_unknown_kinds_are_no_concern_of_ours() {
    story(async {
        let call = DemoCall::start().await;
        // The number of the last message, so that these are no news to acknowledge.
        let last = call.last_sequence().to_be_bytes();
        for op in (14..=20).chain(32..=300) {
            let message = json!({"op": op, "d": {"some": "thing"}}).to_string();
            call.bot.discord.send_raw_text(call.bot.account.user_id, message);
            call.bot
                .discord
                .send_raw_binary(call.bot.account.user_id, [last[0], last[1], (op % 20) as u8, 1, 2, 3]);
        }
        assert_eq!(call.finish().await.malformed, 0);
    });
}

#[test]
fn a_heartbeat_interval_of_a_microsecond_or_a_year_changes_little() {
    story(async {
        let call = DemoCall::start().await;
        let (discord, user) = (call.bot.discord.clone(), call.bot.account.user_id);
        for interval in [0.001, 31_536_000_000.0] {
            let before = discord.received(Side::Voice, user, 3).len();
            discord.send_raw_text(user, json!({"op": 8, "d": {"heartbeat_interval": interval}}).to_string());
            tokio::time::sleep(Duration::from_secs(10)).await;
            let beats = discord.received(Side::Voice, user, 3).len() - before;
            assert!((1..=200).contains(&beats), "{beats} beats in 10 s");
        }
        call.finish().await;
    });
}

#[test]
fn binary_messages_cut_short_are_counted_and_ignored() {
    story(async {
        let call = DemoCall::start().await;
        // Sequence, opcode, and how much of the payload has to be there: a transition id where there is one.
        let mut sent = 0;
        let last = call.last_sequence().to_be_bytes();
        for (op, least) in [(25, 1), (27, 2), (29, 3), (30, 3)] {
            let message = [last[0], last[1], op, 0, 0, 0];
            for end in 0..3 + least {
                call.bot.discord.send_raw_binary(call.bot.account.user_id, &message[..end]);
                sent += 1;
            }
        }
        assert_eq!(call.finish().await.malformed, sent);
    });
}

#[test]
fn every_prefix_of_a_voice_packet_is_counted_and_ignored() {
    story(async {
        let call = DemoCall::start().await;
        let (discord, bot_id) = (&call.bot.discord, call.bot.account.user_id);
        let opus = &packets_of("demo.opus")[100];
        let [packet] = &discord.relay().sealed_for(bot_id, call.bot.listener.ssrc, opus)[..] else {
            panic!()
        };
        for end in 0..packet.len() {
            discord.send_datagram(bot_id, &packet[..end]);
            if end % 50 == 0 {
                call.wait_a_frame().await;
            }
        }
        let prefixes = packet.len() as u64;
        discord.send_datagram(bot_id, &packet[..]);

        let counts = call.finish().await.transport.counts;
        let ignored: u64 = Ignored::ALL.into_iter().map(|reason| counts.of(reason)).sum();
        assert_eq!((ignored, counts.voice_packets), (prefixes, 1));
        assert_eq!(counts.too_short + counts.wrong_key, prefixes, "{counts:?}");
        assert!(counts.wrong_key > 50, "{counts:?}");
    });
}

#[test]
fn one_recorded_datagram_again_and_again_does_not_make_the_bot_leave_its_group() {
    story(async {
        let call = DemoCall::start().await;
        let (discord, bot_id) = (&call.bot.discord, call.bot.account.user_id);
        let sealed = discord.relay().sealed_for(bot_id, call.bot.listener.ssrc, &forged_frame());
        let [packet] = &sealed[..] else { panic!() };
        for _ in 0..60 {
            discord.send_datagram(bot_id, &packet[..]);
        }
        call.wait_a_frame().await;
        call.wait_a_frame().await;
        assert_eq!(call.bot.texts_sent(op::INVALID_COMMIT_WELCOME), 0, "the bot leaves its group");
        let transport = call.finish().await.transport;
        assert_eq!((transport.counts.replayed, transport.unopened), (59, 1));
    });
}

#[test]
fn datagrams_of_noise_are_counted_and_ignored() {
    story(async {
        let call = DemoCall::start().await;
        let mut random = Random(0x5EED);
        for batch in 0..40 {
            for _ in 0..50 {
                let mut noise: Vec<u8> = (0..random.below(1_400)).map(|_| random.below(256) as u8).collect();
                // Every other is dressed as RTP, so that more than the first check sees it.
                if let (1, Some([version, kind])) = (batch % 2, noise.first_chunk_mut()) {
                    (*version, *kind) = (*version & 0x3F | 0x80, 0x78);
                }
                call.bot.discord.send_datagram(call.bot.account.user_id, noise);
            }
            call.wait_a_frame().await;
        }
        let counts = call.finish().await.transport.counts;
        let ignored: u64 = Ignored::ALL.into_iter().map(|reason| counts.of(reason)).sum();
        assert_eq!((ignored, counts.voice_packets), (2_000, 0), "{counts:?}");
        assert!(counts.not_rtp > 300 && counts.wrong_key > 500, "{counts:?}");
    });
}

/// A sequence of numbers that look random (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
