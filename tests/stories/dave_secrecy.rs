//! Encrypted calls: nothing plain leaves, no nonce serves twice, nobody outside understands, and the codes agree.

use std::sync::{Arc, Mutex};

use actix_voice::{
    actors::{
        Config, Speak,
        fault::{Panic, Victim},
    },
    audio::frame::Frame,
    call::ConnectionStatus,
    id::UserId,
    source::{Source, SourceError},
    transport::dave::IdentityKey,
};
use actix_voice_loopback::{
    Event, Member, Side,
    dave::{Fault, Participant, ServerMessage, Winner},
    opus::Decoder,
};
use bytes::Bytes;

use crate::support::{
    bot::BotOnDiscord,
    dave::{add_listeners, nonce_of, numbered_packet, wait_millis},
    recording::packets_of,
    story,
};

/// The same packets over and over.
struct LoopedPackets {
    packets: Vec<Bytes>,
    next: usize,
}

impl Source for LoopedPackets {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.next += 1;
        Ok(Some(Frame::Opus(self.packets[(self.next - 1) % self.packets.len()].clone())))
    }
}

#[test]
fn nothing_plain_leaves_whatever_happens() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let packets = packets_of("demo.opus");
        let (room, other) = (bot.guild.channel("room"), bot.guild.channel("other"));
        bot.request_join(&room).await.expect("the bot joins");
        bot.next_status(ConnectionStatus::Connected).await;
        let file = LoopedPackets { packets: packets.clone(), next: 0 };
        bot.manager.send(Speak::source(bot.guild_id(), file)).await.unwrap().expect("it plays");
        // Alone, then two, three, two, alone, and two again.
        wait_millis(500).await;
        let a = room.listener("a");
        bot.until_one_group(&room, &[&a]).await;
        let b = room.listener("b");
        bot.until_one_group(&room, &[&a, &b]).await;
        a.leave();
        bot.until_one_group(&room, &[&b]).await;
        b.leave();
        bot.until_one_group(&room, &[]).await;
        wait_millis(500).await;
        let c = room.listener("c");
        let d = room.listener("d");
        bot.until_one_group(&room, &[&c, &d]).await;
        // The websocket goes, with a transition under way.
        bot.discord.close_voice(bot.account.user_id, 4015, "");
        let e = room.listener("e");
        bot.next_status(ConnectionStatus::Resumed).await;
        bot.until_one_group(&room, &[&c, &d, &e]).await;
        // Actors die.
        for victim in [Victim::Gateway, Victim::Transport, Victim::Dave] {
            bot.manager.do_send(Panic { guild: bot.guild_id(), victim });
            let how = if victim == Victim::Gateway {
                ConnectionStatus::Resumed
            } else {
                ConnectionStatus::Connected
            };
            bot.next_status(how).await;
            bot.until_one_group(&room, &[&c, &d, &e]).await;
            wait_millis(500).await;
            // The failures of the last minute count.
            wait_millis(61_000).await;
        }
        // The group breaks.
        bot.discord.dave_fault(&room, Fault::CorruptCommit { to: bot.account.user_id });
        e.leave();
        bot.until_one_group(&room, &[&c, &d]).await;
        wait_millis(500).await;
        // The bot moves to a channel with nobody in it, and then somebody comes.
        bot.request_join(&other).await.expect("the bot moves");
        wait_millis(500).await;
        let f = other.listener("f");
        bot.until_one_group(&other, &[&f]).await;
        wait_millis(500).await;
        let stats = bot.disconnect_and_drain().await;

        assert!(stats.transport.withheld > 50, "there were times without a key");
        bot.assert_encrypted(&[&room, &other], &stats, packets);
        for listener in [&c, &d, &f] {
            assert_eq!(listener.heard(bot.account.user_id).expect("heard").undecryptable, 0);
        }
        bot.assert_no_violations();
    });
}

#[test]
fn what_was_played_is_what_a_member_decodes() {
    for members in [1, 2, 24] {
        story(async {
            let bot = BotOnDiscord::start().await;
            let room = bot.guild.channel("room");
            let listeners = add_listeners(&room, members);
            bot.request_join(&room).await.expect("the bot joins");
            let track = bot.play("demo.opus").await;
            // Somebody comes and goes meanwhile.
            wait_millis(3_000).await;
            let newcomer = room.listener("newcomer");
            wait_millis(4_000).await;
            newcomer.leave();
            bot.track_end(track).await;
            bot.disconnect_and_drain().await;
            let played = packets_of("demo.opus");
            let (mut decoder, mut original) = (Decoder::new().expect("libopus"), Vec::new());
            played.iter().for_each(|packet| decoder.decode(packet, &mut original).expect("it decodes"));
            for listener in &listeners {
                let heard = listener.heard(bot.account.user_id).expect("heard");
                let spoken = heard.audio.iter().map(|packet| &packet.opus).take(played.len());
                assert!(spoken.eq(&played), "every packet, in order, byte by byte");
                let score = heard.score(&original).expect("it decodes");
                assert!(score.is_faithful() && score.heard_fraction == 1.0, "{score}");
            }
            bot.assert_no_violations();
        });
    }
}

#[test]
fn who_has_left_understands_nothing_more() {
    for others in [1, 2, 24] {
        who_has_left_one_of(others);
    }
}

fn who_has_left_one_of(others: usize) {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let mut stayers = add_listeners(&room, others);
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &stayers.iter().collect::<Vec<_>>()).await;
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        let leaver = stayers.pop().expect("somebody is there");
        leaver.leave();
        bot.until_one_group(&room, &stayers.iter().collect::<Vec<_>>()).await;
        // Its handle still listens in on the relay.
        let before = bot.decrypted_by(&leaver);
        let newcomer = room.listener("newcomer");
        wait_millis(5_000).await;
        let after = bot.decrypted_by(&leaver);
        assert_eq!(after.numbers, before.numbers, "not a packet more");
        assert!(after.undecryptable > before.undecryptable + 240, "though all came by");
        let stats = bot.disconnect_and_drain().await;
        bot.assert_heard_by(&stayers, &stats);
        bot.assert_no_holes(&newcomer);
    });
}

#[test]
fn a_spy_on_the_voice_server_understands_nothing() {
    for others in [1, 2, 24] {
        a_spy_among(others);
    }
}

fn a_spy_among(others: usize) {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, others);
        let spy = Arc::new(Mutex::new(Participant::new(99, room.id)));
        let tap = bot.discord.relay().tap(room.id, 99);
        let (listener, bot_id) = (Arc::clone(&spy), bot.account.user_id);
        tap.decrypt_with(Box::new(move |user, frame| {
            listener.lock().unwrap().decrypt(user, frame, tokio::time::Instant::now()).ok()
        }));
        spy.lock().unwrap().described(1);
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &stayers.iter().collect::<Vec<_>>()).await;
        bot.speak_numbers().await;
        for round in 0..4 {
            wait_millis(500).await;
            let guest = room.listener(&format!("guest {round}"));
            wait_millis(500).await;
            guest.leave();
            // Everything the server has told the bot, it tells the spy.
            for entry in bot.discord.log() {
                let message = match entry.event {
                    _ if entry.side != Side::Voice || entry.user != Some(bot_id) => continue,
                    Event::Sent { op, d, .. } => ServerMessage::Json { op, d },
                    Event::SentBinary { op, payload, .. } => {
                        ServerMessage::Binary { op, payload: payload.to_vec() }
                    }
                    _ => continue,
                };
                spy.lock().unwrap().receive(&message, tokio::time::Instant::now());
            }
        }
        let stats = bot.disconnect_and_drain().await;
        let overheard = tap.heard(bot_id).expect("packets came by");
        assert_eq!(overheard.undecryptable, stats.packets, "all of them");
        assert!(overheard.audio.is_empty());
        bot.assert_heard_by(&stayers, &stats);
    });
}

#[test]
fn everyone_says_the_same_privacy_code_in_every_epoch() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let mut members: Vec<Member> = add_listeners(&room, 2);
        bot.request_join(&room).await.expect("the bot joins");
        let mut codes = Vec::new();
        for round in 0..8 {
            let code =
                bot.until_one_group(&room, &members.iter().collect::<Vec<_>>()).await.expect("a group");
            assert_eq!(code.len(), 30);
            assert!(code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
            assert_eq!(bot.e2ee_states().last().map(|state| state.version), Some(1));
            assert_eq!(
                bot.e2ee_states().last().map(|state| state.epoch),
                Some(bot.discord.dave_epoch(&room))
            );
            assert!(!codes.contains(&code), "each epoch has its own");
            codes.push(code);
            if round % 3 == 2 {
                members.remove(1).leave();
            } else {
                members.push(room.listener(&format!("guest {round}")));
            }
            wait_millis(200).await;
        }
        bot.assert_no_violations();
    });
}

#[test]
fn bot_and_member_work_out_the_same_verification_code() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let listeners = add_listeners(&room, 2);
        let call = bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&listeners[0], &listeners[1]]).await;
        let mut codes = Vec::new();
        for listener in &listeners {
            let code = call.verification_code(UserId(listener.user_id)).await.expect("it is in the group");
            assert_eq!(code.len(), 45);
            assert_eq!(listener.verification_code(bot.account.user_id), Some(code.clone()));
            codes.push(code);
        }
        assert_ne!(codes[0], codes[1]);
        assert_eq!(call.verification_code(UserId(99)).await, None, "nobody by that name");
        let leaver = listeners[1].user_id;
        listeners[1].leave();
        bot.until_one_group(&room, &[&listeners[0]]).await;
        assert_eq!(call.verification_code(UserId(leaver)).await, None, "gone");
        assert_eq!(
            call.verification_code(UserId(listeners[0].user_id)).await.as_ref(),
            Some(&codes[0]),
            "another epoch"
        );
    });
}

#[test]
fn an_identity_that_is_kept_is_recognised_in_the_next_call() {
    story(async {
        let key = IdentityKey::generate();
        let kept = || {
            let mut config = Config::local();
            config.identity = Some(IdentityKey::from_bytes(&key.to_bytes()).expect("as it was written down"));
            config
        };
        let mut bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let listener = room.listener("ear");
        let mut codes = Vec::new();
        for config in [kept(), kept(), Config::local()] {
            bot = bot.with_bot("bot", config).await;
            let call = bot.request_join(&room).await.expect("the bot joins");
            bot.until_one_group(&room, &[&listener]).await;
            codes.push(call.verification_code(UserId(listener.user_id)).await.expect("it is in the group"));
            bot.disconnect_and_drain().await;
            wait_millis(1_000).await;
        }
        assert_eq!(codes[0], codes[1]);
        assert_ne!(codes[0], codes[2], "another key");
        // A key package names the key: version, suite, init key and encryption key come before (PROTOCOL 5.4).
        let keys: Vec<_> =
            bot.binary_from_bot(26).into_iter().map(|package| package.slice(140..205)).collect();
        assert_eq!(keys.iter().filter(|named| named[..] == *key.public()).count(), keys.len() / 3 * 2);
    });
}

#[test]
fn nonces_go_on_over_resumes_and_start_over_only_with_a_key() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 2);
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&stayers[0], &stayers[1]]).await;
        let bot_id = bot.account.user_id;
        bot.speak_numbers().await;
        for round in 0..4 {
            wait_millis(500).await;
            bot.discord.close_voice(bot_id, 4015, "");
            bot.next_status(ConnectionStatus::Resumed).await;
            wait_millis(61_000).await;
            if round == 1 {
                bot.discord.turn_dave(&room, |settings| settings.winner = Winner::User(bot_id));
                room.listener("guest");
                wait_millis(1_000).await;
            }
        }
        let stats = bot.disconnect_and_drain().await;
        bot.assert_heard_by(&stayers, &stats);
        bot.assert_encrypted(&[&room], &stats, (0..20_000).map(numbered_packet));
        let nonces = bot.packets_at_server(&[&room]).into_iter().filter_map(|packet| nonce_of(&packet.opus));
        let starts = nonces.filter(|nonce| *nonce == 1).count();
        assert_eq!(starts, 2, "one for each of two keys, and none for four resumes");
        bot.assert_no_violations();
    });
}
