//! Encrypted calls: nothing plain leaves, no nonce serves twice, nobody outside understands, and the codes agree.

use std::sync::{Arc, Mutex};

use actix_voice::{
    actors::{
        CallEventKind, Config, Speak,
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
    bot::Stage,
    dave::{crowd, nonce_of, numbered, pass},
    recording::packets_of,
    story,
};

/// The same packets over and over.
struct Loop {
    packets: Vec<Bytes>,
    next: usize,
}

impl Source for Loop {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.next += 1;
        Ok(Some(Frame::Opus(self.packets[(self.next - 1) % self.packets.len()].clone())))
    }
}

async fn connected(stage: &Stage, how: ConnectionStatus) {
    stage.what("the call is back", |what| *what == CallEventKind::Connection(how.clone())).await;
}

#[test]
fn nothing_plain_leaves_whatever_happens() {
    story(async {
        let stage = Stage::set().await;
        let packets = packets_of("demo.opus");
        let (room, other) = (stage.guild.channel("room"), stage.guild.channel("other"));
        stage.try_join(&room).await.expect("the bot joins");
        connected(&stage, ConnectionStatus::Connected).await;
        let file = Loop { packets: packets.clone(), next: 0 };
        stage.manager.send(Speak::source(stage.guild_id(), file)).await.unwrap().expect("it plays");
        // Alone, then two, three, two, alone, and two again.
        pass(500).await;
        let a = room.listener("a");
        stage.agreed(&room, &[&a]).await;
        let b = room.listener("b");
        stage.agreed(&room, &[&a, &b]).await;
        a.leave();
        stage.agreed(&room, &[&b]).await;
        b.leave();
        stage.agreed(&room, &[]).await;
        pass(500).await;
        let c = room.listener("c");
        let d = room.listener("d");
        stage.agreed(&room, &[&c, &d]).await;
        // The websocket goes, with a transition under way.
        stage.discord.close_voice(stage.bot.user_id, 4015, "");
        let e = room.listener("e");
        connected(&stage, ConnectionStatus::Resumed).await;
        stage.agreed(&room, &[&c, &d, &e]).await;
        // Actors die.
        for victim in [Victim::Gateway, Victim::Transport, Victim::Dave] {
            stage.manager.do_send(Panic { guild: stage.guild_id(), victim });
            let how = if victim == Victim::Gateway {
                ConnectionStatus::Resumed
            } else {
                ConnectionStatus::Connected
            };
            connected(&stage, how).await;
            stage.agreed(&room, &[&c, &d, &e]).await;
            pass(500).await;
            // The failures of the last minute count.
            pass(61_000).await;
        }
        // The group breaks.
        stage.discord.dave_fault(&room, Fault::CorruptCommit { to: stage.bot.user_id });
        e.leave();
        stage.agreed(&room, &[&c, &d]).await;
        pass(500).await;
        // The bot moves to a channel with nobody in it, and then somebody comes.
        stage.try_join(&other).await.expect("the bot moves");
        pass(500).await;
        let f = other.listener("f");
        stage.agreed(&other, &[&f]).await;
        pass(500).await;
        let stats = stage.part().await;

        assert!(stats.transport.withheld > 50, "there were times without a key");
        stage.nothing_plain(&[&room, &other], &stats, packets);
        for ear in [&c, &d, &f] {
            assert_eq!(ear.heard(stage.bot.user_id).expect("heard").undecryptable, 0);
        }
        stage.no_violations();
    });
}

#[test]
fn what_was_played_is_what_a_member_decodes() {
    for members in [1, 2, 24] {
        story(async {
            let stage = Stage::set().await;
            let room = stage.guild.channel("room");
            let ears = crowd(&room, members);
            stage.try_join(&room).await.expect("the bot joins");
            let track = stage.play("demo.opus").await;
            // Somebody comes and goes meanwhile.
            pass(3_000).await;
            let newcomer = room.listener("newcomer");
            pass(4_000).await;
            newcomer.leave();
            stage.end_of(track).await;
            stage.part().await;
            let played = packets_of("demo.opus");
            let (mut decoder, mut original) = (Decoder::new().expect("libopus"), Vec::new());
            played.iter().for_each(|packet| decoder.decode(packet, &mut original).expect("it decodes"));
            for ear in &ears {
                let heard = ear.heard(stage.bot.user_id).expect("heard");
                let spoken = heard.audio.iter().map(|packet| &packet.opus).take(played.len());
                assert!(spoken.eq(&played), "every packet, in order, byte by byte");
                let score = heard.score(&original).expect("it decodes");
                assert!(score.is_faithful() && score.heard_fraction == 1.0, "{score}");
            }
            stage.no_violations();
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
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let mut stayers = crowd(&room, others);
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &stayers.iter().collect::<Vec<_>>()).await;
        stage.speak_numbers().await;
        pass(1_000).await;
        let leaver = stayers.pop().expect("somebody is there");
        leaver.leave();
        stage.agreed(&room, &stayers.iter().collect::<Vec<_>>()).await;
        // Its handle still listens in on the relay.
        let before = stage.understood(&leaver);
        let newcomer = room.listener("newcomer");
        pass(5_000).await;
        let after = stage.understood(&leaver);
        assert_eq!(after.numbers, before.numbers, "not a packet more");
        assert!(after.undecryptable > before.undecryptable + 240, "though all came by");
        let stats = stage.part().await;
        stage.heard_everything(&stayers, &stats);
        stage.heard_whole(&newcomer);
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
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, others);
        let spy = Arc::new(Mutex::new(Participant::new(99, room.id)));
        let tap = stage.discord.relay().tap(room.id, 99);
        let (ear, bot) = (Arc::clone(&spy), stage.bot.user_id);
        tap.decrypt_with(Box::new(move |user, frame| {
            ear.lock().unwrap().decrypt(user, frame, tokio::time::Instant::now()).ok()
        }));
        spy.lock().unwrap().described(1);
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &stayers.iter().collect::<Vec<_>>()).await;
        stage.speak_numbers().await;
        for round in 0..4 {
            pass(500).await;
            let guest = room.listener(&format!("guest {round}"));
            pass(500).await;
            guest.leave();
            // Everything the server has told the bot, it tells the spy.
            for entry in stage.discord.log() {
                let message = match entry.event {
                    _ if entry.side != Side::Voice || entry.user != Some(bot) => continue,
                    Event::Sent { op, d, .. } => ServerMessage::Json { op, d },
                    Event::SentBinary { op, payload, .. } => {
                        ServerMessage::Binary { op, payload: payload.to_vec() }
                    }
                    _ => continue,
                };
                spy.lock().unwrap().receive(&message, tokio::time::Instant::now());
            }
        }
        let stats = stage.part().await;
        let overheard = tap.heard(bot).expect("packets came by");
        assert_eq!(overheard.undecryptable, stats.packets, "all of them");
        assert!(overheard.audio.is_empty());
        stage.heard_everything(&stayers, &stats);
    });
}

#[test]
fn everyone_says_the_same_privacy_code_in_every_epoch() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let mut members: Vec<Member> = crowd(&room, 2);
        stage.try_join(&room).await.expect("the bot joins");
        let mut codes = Vec::new();
        for round in 0..8 {
            let code = stage.agreed(&room, &members.iter().collect::<Vec<_>>()).await.expect("a group");
            assert_eq!(code.len(), 30);
            assert!(code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
            assert_eq!(stage.states().last().map(|state| state.version), Some(1));
            assert_eq!(stage.states().last().map(|state| state.epoch), Some(stage.discord.dave_epoch(&room)));
            assert!(!codes.contains(&code), "each epoch has its own");
            codes.push(code);
            if round % 3 == 2 {
                members.remove(1).leave();
            } else {
                members.push(room.listener(&format!("guest {round}")));
            }
            pass(200).await;
        }
        stage.no_violations();
    });
}

#[test]
fn bot_and_member_work_out_the_same_verification_code() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let ears = crowd(&room, 2);
        let call = stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&ears[0], &ears[1]]).await;
        let mut codes = Vec::new();
        for ear in &ears {
            let code = call.verification_code(UserId(ear.user_id)).await.expect("it is in the group");
            assert_eq!(code.len(), 45);
            assert_eq!(ear.verification_code(stage.bot.user_id), Some(code.clone()));
            codes.push(code);
        }
        assert_ne!(codes[0], codes[1]);
        assert_eq!(call.verification_code(UserId(99)).await, None, "nobody by that name");
        let leaver = ears[1].user_id;
        ears[1].leave();
        stage.agreed(&room, &[&ears[0]]).await;
        assert_eq!(call.verification_code(UserId(leaver)).await, None, "gone");
        assert_eq!(
            call.verification_code(UserId(ears[0].user_id)).await.as_ref(),
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
        let mut stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let ear = room.listener("ear");
        let mut codes = Vec::new();
        for config in [kept(), kept(), Config::local()] {
            stage = stage.with_bot("bot", config).await;
            let call = stage.try_join(&room).await.expect("the bot joins");
            stage.agreed(&room, &[&ear]).await;
            codes.push(call.verification_code(UserId(ear.user_id)).await.expect("it is in the group"));
            stage.part().await;
            pass(1_000).await;
        }
        assert_eq!(codes[0], codes[1]);
        assert_ne!(codes[0], codes[2], "another key");
        // A key package names the key: version, suite, init key and encryption key come before (PROTOCOL 5.4).
        let keys: Vec<_> =
            stage.binary_from_bot(26).into_iter().map(|package| package.slice(140..205)).collect();
        assert_eq!(keys.iter().filter(|named| named[..] == *key.public()).count(), keys.len() / 3 * 2);
    });
}

#[test]
fn nonces_go_on_over_resumes_and_start_over_only_with_a_key() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, 2);
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&stayers[0], &stayers[1]]).await;
        let bot = stage.bot.user_id;
        stage.speak_numbers().await;
        for round in 0..4 {
            pass(500).await;
            stage.discord.close_voice(bot, 4015, "");
            connected(&stage, ConnectionStatus::Resumed).await;
            pass(61_000).await;
            if round == 1 {
                stage.discord.turn_dave(&room, |settings| settings.winner = Winner::User(bot));
                room.listener("guest");
                pass(1_000).await;
            }
        }
        let stats = stage.part().await;
        stage.heard_everything(&stayers, &stats);
        stage.nothing_plain(&[&room], &stats, (0..20_000).map(numbered));
        let nonces = stage.wire(&[&room]).into_iter().filter_map(|packet| nonce_of(&packet.opus));
        let starts = nonces.filter(|nonce| *nonce == 1).count();
        assert_eq!(starts, 2, "one for each of two keys, and none for four resumes");
        stage.no_violations();
    });
}
