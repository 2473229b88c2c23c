//! Whole calls: what one member says the others hear, encrypted end to end or not.

use std::time::Duration;

use actix_voice_loopback::cipher::{Cipher, Mode};
use actix_voice_loopback::dave::{ClientMessage, DaveSettings, Participant, ServerMessage};
use actix_voice_loopback::netem::Direction;
use actix_voice_loopback::{Channel, Dave, Discord, Event, MediaRule, Member, Netem, Rule, Side};
use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::client::{Credentials, Incoming, Setup, Voice, select_protocol};

/// One frame of 20 ms: stereo CELT at full band, with some bytes of no meaning.
fn frame(number: u8) -> Bytes {
    Bytes::from(vec![0xFC, number, 0x55, 0xAA])
}

async fn discord(dave: Dave) -> (Discord, Channel) {
    let discord = Discord::builder().dave(dave).start().await;
    let channel = discord.guild("jungle").channel("General");
    (discord, channel)
}

/// Waits until all are in the group and hear each other in it: the last transition has been executed.
async fn settled(discord: &Discord, members: &[&Member]) {
    let understood = |discord: &Discord| {
        members.iter().for_each(|member| member.say(Bytes::from_static(&SILENCE)));
        let all = members.iter().flat_map(|ear| members.iter().map(move |mouth| (ear, mouth)));
        let mut others = all.filter(|(ear, mouth)| ear.user_id != mouth.user_id);
        let heard =
            others.all(|(ear, mouth)| ear.heard(mouth.user_id).is_some_and(|heard| !heard.audio.is_empty()));
        heard && discord.violations().is_empty()
    };
    discord.until(understood, A_WHILE).await.expect("everybody understands everybody");
}

const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
const A_WHILE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn members_hear_each_other_packet_by_packet() {
    let (discord, channel) = discord(Dave::Off).await;
    let (mouth, ear) = (channel.listener("mouth"), channel.listener("ear"));
    mouth.speak((0..50).map(frame)).await;
    discord.until(|_| ear.packets_heard(mouth.user_id) == 55, A_WHILE).await.expect("all packets");
    let heard = ear.heard(mouth.user_id).expect("it spoke");
    assert_eq!((heard.lost, heard.duplicates, heard.out_of_order), (0, 0, 0));
    assert_eq!(heard.audio[49].opus, frame(49));
    assert!(mouth.heard(ear.user_id).is_none(), "the ear said nothing");
    assert_eq!(discord.violations(), []);
}

#[tokio::test(start_paused = true)]
async fn members_of_an_encrypted_call_agree_on_a_code_and_understand_each_other() {
    let (discord, channel) = discord(Dave::Required).await;
    let members = ["one", "two", "three"].map(|name| channel.listener(name));
    discord.until(|discord| discord.dave_members(&channel).len() == 3, A_WHILE).await.expect("one group");
    let codes = members.each_ref().map(|member| member.privacy_code().expect("in the group"));
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");

    settled(&discord, &members.each_ref()).await;
    members[0].speak((0..20).map(frame)).await;
    for ear in &members[1..] {
        let words = || {
            let heard = ear.heard(members[0].user_id).expect("it spoke");
            assert_eq!(heard.undecryptable, 0);
            let packets = heard.audio.into_iter().map(|packet| packet.opus);
            packets.filter(|opus| *opus != SILENCE[..]).collect::<Vec<_>>()
        };
        discord.until(|_| words().len() >= 20, A_WHILE).await.expect("all packets");
        assert_eq!(words(), (0..20).map(frame).collect::<Vec<_>>());
    }
    assert_eq!(discord.violations(), []);
}

#[tokio::test(start_paused = true)]
async fn when_a_member_leaves_the_others_change_their_keys() {
    let (discord, channel) = discord(Dave::Required).await;
    let members = ["one", "two", "three"].map(|name| channel.listener(name));
    discord.until(|discord| discord.dave_members(&channel).len() == 3, A_WHILE).await.expect("one group");
    let epoch = discord.dave_epoch(&channel);
    let code = members[0].privacy_code();
    members[2].leave();
    let changed = |discord: &Discord| discord.dave_epoch(&channel) > epoch;
    discord.until(changed, A_WHILE).await.expect("a new epoch");
    assert_eq!(discord.dave_members(&channel), [members[0].user_id, members[1].user_id]);
    assert_ne!(members[0].privacy_code(), code);
    assert_eq!(members[0].privacy_code(), members[1].privacy_code());
}

#[tokio::test(start_paused = true)]
async fn plain_audio_in_an_encrypted_call_is_noticed() {
    let (discord, channel) = discord(Dave::Required).await;
    let (mouth, ear) = (channel.listener("mouth"), channel.listener("ear"));
    settled(&discord, &[&mouth, &ear]).await;
    // What left before the call was encrypted may still be under way for a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    discord.relay().encrypt_with(mouth.ssrc, Box::new(|frame| Some(frame.to_vec())));
    mouth.announce(1);
    mouth.say(frame(0));
    let noticed = |discord: &Discord| !discord.violations().is_empty();
    discord.until(noticed, A_WHILE).await.expect("a violation");
    let violation = &discord.violations()[0];
    assert_eq!((violation.user, &violation.rule), (Some(mouth.user_id), &Rule::PlainAudio));
}

/// Sends frames from a bot that went through the whole handshake.
async fn talk(voice: &Voice, ready_port: u16, frames: u8) {
    send(voice, ready_port, (0..frames).map(frame)).await;
}

async fn send(voice: &Voice, ready_port: u16, frames: impl IntoIterator<Item = Bytes>) {
    let key = voice.description["secret_key"].as_array().expect("a key");
    let key: Vec<u8> = key.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    let cipher = Cipher::new(Mode::Aes256GcmRtpsize, &key.try_into().expect("32 bytes"));
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let ssrc = u32::try_from(voice.ssrc).expect("32 bits");
    for (number, opus) in (0..=u8::MAX).zip(frames) {
        let mut packet = vec![0x80, 0x78, 0, number];
        packet.extend_from_slice(&(960 * u32::from(number)).to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&opus);
        let sealed = cipher.seal(&packet, u32::from(number)).expect("sealed");
        socket.send_to(&sealed, ("127.0.0.1", ready_port)).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_announced_itself_is_heard() {
    let mut setup = Setup::new().await;
    let ear = setup.channel.listener("ear");
    let mut voice = setup.connect().await;
    voice.speak(1).await;
    talk(&voice, setup.discord.relay().address().port(), 10).await;
    let bot = setup.bot.user_id;
    setup.discord.until(|_| ear.packets_heard(bot) == 10, A_WHILE).await.expect("all packets");
    assert_eq!(ear.heard(bot).expect("it spoke").audio[9].opus, frame(9));
    assert_eq!(setup.discord.recording(bot).expect("it spoke").packets, 10);
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_talks_without_speaking_is_closed_with_4020() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    talk(&voice, setup.discord.relay().address().port(), 20).await;
    assert_eq!(voice.socket.close_code().await, 4020);
    let rules = setup.discord.violations().into_iter().map(|violation| violation.rule);
    assert!(rules.into_iter().any(|rule| rule == Rule::Media(MediaRule::AudioWithoutSpeaking)));
}

fn rules(discord: &Discord) -> Vec<Rule> {
    discord.violations().into_iter().map(|violation| violation.rule).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_is_in_no_group_and_talks_plainly_to_others_is_noticed() {
    for company in [false, true] {
        let (discord, channel) = discord(Dave::Required).await;
        let ear = company.then(|| channel.listener("ear"));
        let mut setup = Setup::on(discord).await;
        let mut voice = setup.connect().await;
        voice.speak(1).await;
        talk(&voice, setup.discord.relay().address().port(), 20).await;
        let noticed = rules(&setup.discord).contains(&Rule::PlainAudio);
        assert_eq!(noticed, company);
        drop((ear, channel));
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_in_mid_word_is_noticed_and_so_is_whether_it_was_ones_own_wish() {
    let goodbyes = ["close", "op 4", "main close", "kick", "move", "loss", "after silence"];
    for (goodbye, noticed) in goodbyes.into_iter().zip([true, true, true, false, false, false, false]) {
        let mut setup = Setup::new().await;
        let _ear = setup.channel.listener("ear");
        let mut voice = setup.connect().await;
        let port = setup.discord.relay().address().port();
        voice.speak(1).await;
        let silence = if goodbye == "after silence" { 5 } else { 0 };
        let silence = vec![Bytes::from_static(&SILENCE); silence];
        send(&voice, port, (0..10).map(frame).chain(silence)).await;
        let (bot, guild) = (setup.bot.user_id, setup.discord.guild("jungle"));
        match goodbye {
            "op 4" => setup.main.voice_state(setup.channel.guild_id, None).await,
            "main close" => setup.main.socket.close(1000).await,
            "kick" => setup.discord.kick(bot, &guild),
            "move" => setup.discord.move_to(bot, &guild.channel("Other")),
            "loss" => setup.discord.lose_main_session(bot),
            _ => voice.socket.close(1000).await,
        }
        let gone = |discord: &Discord| !discord.connected_to(&setup.channel).contains(&bot);
        setup.discord.until(gone, A_WHILE).await.expect("gone");
        let found = rules(&setup.discord);
        let expected = Rule::Media(MediaRule::SilenceMissing { frames: 0 });
        assert_eq!(found.contains(&expected), noticed, "{goodbye}: {found:?}");
        assert_eq!(found.len(), usize::from(noticed), "{goodbye}: {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_in_mid_word_is_forgiven_to_who_is_let_in_again_soon() {
    for refused in [true, false] {
        let mut setup = Setup::new().await;
        let _ear = setup.channel.listener("ear");
        let mut voice = setup.connect().await;
        voice.speak(1).await;
        send(&voice, setup.discord.relay().address().port(), (0..10).map(frame)).await;
        setup.main.voice_state(setup.channel.guild_id, None).await;
        let left = |discord: &Discord| rules(discord).len() == 1;
        setup.discord.until(left, A_WHILE).await.expect("noticed");
        assert_eq!(setup.discord.settled_violations(), [], "it may still return");
        if refused {
            setup.discord.refuse_silently(&setup.channel);
        }
        setup.main.join(&setup.channel).await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(setup.discord.settled_violations().len(), usize::from(refused));
        assert_eq!(rules(&setup.discord).len(), usize::from(refused));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_network_held_up_is_judged_by_when_it_was_sent() {
    let mut setup = Setup::on(Discord::start().await).await;
    let mut voice = setup.connect().await;
    let slow = Netem { delay: Duration::from_secs(1), direction: Direction::Up, ..Netem::default() };
    setup.discord.netem(slow);
    voice.speak(1).await;
    // To nobody it may speak plainly.
    talk(&voice, setup.discord.relay().address().port(), 10).await;
    let ear = setup.channel.listener("ear");
    let arrived = |_: &Discord| ear.packets_heard(setup.bot.user_id) > 0;
    setup.discord.until(arrived, A_WHILE).await.expect("late, but there");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!rules(&setup.discord).contains(&Rule::PlainAudio));
}

#[tokio::test(start_paused = true)]
async fn who_is_suppressed_is_not_heard_until_it_is_let_speak() {
    let mut setup = Setup::new().await;
    let stage = setup.discord.guild("jungle").stage("Stage");
    let ear = stage.listener("ear");
    let credentials = setup.main.credentials(&setup.bot, &stage).await;
    let mut voice = Voice::connect(credentials).await;
    let (bot, port) = (setup.bot.user_id, setup.discord.relay().address().port());
    voice.speak(1).await;
    send(&voice, port, (0..10).map(frame)).await;
    ear.say(frame(0));
    assert_eq!(setup.discord.relay().counters().suppressed, 11);
    assert_eq!((ear.packets_heard(bot), setup.discord.recording(bot).is_none()), (0, true));

    setup.discord.unsuppress(bot);
    let mut state = setup.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    while state["suppress"] == true {
        state = setup.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    }
    assert_eq!(state["user_id"], bot.to_string());
    // Another op 4 for the same channel leaves it on the podium.
    setup.main.join(&stage).await;
    assert_eq!(setup.main.socket.dispatch("VOICE_STATE_UPDATE").await["suppress"], false);
    send(&voice, port, (0..10).map(frame)).await;
    setup.discord.until(|_| ear.packets_heard(bot) == 10, A_WHILE).await.expect("heard");
}

/// A bot that does all that DAVE asks of it, but for op 23 where it is told to forget that.
async fn encrypted(voice: &mut Voice, participant: &mut Participant, op23: bool, patience: Duration) {
    let mut answers = participant.described(1);
    let listening = async {
        loop {
            for answer in std::mem::take(&mut answers) {
                match answer {
                    ClientMessage::Json { op: 23, .. } if !op23 => {}
                    ClientMessage::Json { op, d } => {
                        voice.socket.send(serde_json::json!({"op": op, "d": d})).await;
                    }
                    ClientMessage::Binary { op, payload } => {
                        let frame = [&[op][..], &payload].concat();
                        voice.socket.send_raw(tokio_tungstenite::tungstenite::Message::binary(frame)).await;
                    }
                }
            }
            let message = match voice.socket.receive().await {
                Incoming::Binary(frame) => {
                    ServerMessage::Binary { op: frame[2], payload: frame[3..].to_vec() }
                }
                Incoming::Text(mut text) if text["op"] == 11 => {
                    let ids = text["d"]["user_ids"].take();
                    let ids: Vec<String> = serde_json::from_value(ids).expect("ids");
                    let ids: Vec<u64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
                    participant.clients_connect(&ids);
                    continue;
                }
                Incoming::Text(mut text) => {
                    let op = text["op"].as_u64().and_then(|op| u8::try_from(op).ok()).expect("an op");
                    ServerMessage::Json { op, d: text["d"].take() }
                }
                other => panic!("{other:?}"),
            };
            answers = participant.receive(&message, tokio::time::Instant::now());
        }
    };
    let _time_is_up = tokio::time::timeout(patience, listening).await;
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_never_says_that_it_is_ready_is_noticed() {
    for op23 in [true, false] {
        let settings = DaveSettings { first_transition_id_zero: false, ..DaveSettings::default() };
        let discord = Discord::builder().dave_settings(settings).start().await;
        let mut setup = Setup::on(discord).await;
        let mut voice = setup.connect().await;
        let mut participant = Participant::new(setup.bot.user_id, setup.channel.id);
        let ear = setup.channel.listener("ear");
        encrypted(&mut voice, &mut participant, op23, Duration::from_secs(5)).await;
        assert_eq!(setup.discord.dave_members(&setup.channel), [setup.bot.user_id, ear.user_id]);
        let expected = if op23 { vec![] } else { vec![Rule::NeverReady(1)] };
        assert_eq!(rules(&setup.discord), expected);
    }
}

/// Loses the websocket.
async fn lose(setup: &Setup, voice: &mut Voice) {
    setup.discord.reset_voice(setup.bot.user_id);
    while voice.socket.next().await != Incoming::Lost {}
}

/// Loses the websocket and resumes the session with another one.
async fn resume(setup: &Setup, voice: &mut Voice) {
    lose(setup, voice).await;
    take_up(setup, voice).await;
}

/// Resumes the session with another websocket.
async fn take_up(setup: &Setup, voice: &mut Voice) {
    let log = setup.discord.log();
    let numbers =
        log.iter().filter(|entry| entry.side == Side::Voice).filter_map(|entry| match entry.event {
            Event::Sent { seq, .. } => seq.and_then(|seq| u16::try_from(seq).ok()),
            Event::SentBinary { seq, .. } => seq,
            _ => None,
        });
    voice.socket = voice.credentials.open().await;
    voice.socket.send(voice.credentials.resume(numbers.last())).await;
    voice.socket.op(9).await;
}

#[tokio::test(start_paused = true)]
async fn ready_may_be_said_again_only_where_it_may_have_been_lost_with_the_websocket() {
    for lost in [false, true] {
        let settings = DaveSettings { first_transition_id_zero: false, ..DaveSettings::default() };
        let mut setup = Setup::on(Discord::builder().dave_settings(settings).start().await).await;
        let mut voice = setup.connect().await;
        let mut participant = Participant::new(setup.bot.user_id, setup.channel.id);
        let _ear = setup.channel.listener("ear");
        encrypted(&mut voice, &mut participant, true, Duration::from_secs(5)).await;
        if lost {
            resume(&setup, &mut voice).await;
        }
        voice.socket.send(serde_json::json!({"op": 23, "d": {"transition_id": 1}})).await;
        voice.beat(1, 0).await;
        voice.socket.heartbeat_ack().await;
        let repeated = Rule::Dave("readiness for transition 1 was said before".to_owned());
        assert_eq!(rules(&setup.discord).contains(&repeated), !lost);
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_after_a_resume_has_to_say_again_that_it_speaks() {
    for again in [true, false] {
        let mut setup = Setup::new().await;
        let mut voice = setup.connect().await;
        voice.speak(1).await;
        voice.beat(1, 0).await;
        voice.socket.heartbeat_ack().await;
        resume(&setup, &mut voice).await;
        if again {
            voice.speak(1).await;
        }
        send(&voice, setup.discord.relay().address().port(), (0..100).map(frame)).await;
        let silent = rules(&setup.discord).contains(&Rule::Media(MediaRule::SpeakingNotRepeated));
        assert_eq!(silent, !again);
    }
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_next_websocket_too_has_to_say_it_on_the_one_after_that() {
    for again in [true, false] {
        let mut setup = Setup::new().await;
        let mut voice = setup.connect().await;
        let port = setup.discord.relay().address().port();
        voice.speak(1).await;
        voice.beat(1, 0).await;
        voice.socket.heartbeat_ack().await;
        lose(&setup, &mut voice).await;
        for _ in 0..2 {
            take_up(&setup, &mut voice).await;
            lose(&setup, &mut voice).await;
            send(&voice, port, (0..100).map(frame)).await;
        }
        take_up(&setup, &mut voice).await;
        send(&voice, port, (0..10).map(frame)).await;
        if again {
            voice.speak(1).await;
        }
        send(&voice, port, (0..100).map(frame)).await;
        let silent = rules(&setup.discord).contains(&Rule::Media(MediaRule::SpeakingNotRepeated));
        assert_eq!(silent, !again);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_package_is_not_for_another_call_either() {
    let mut setup = Setup::on(Discord::start().await).await;
    let mut participant = Participant::new(setup.bot.user_id, 1);
    let [ClientMessage::Binary { op, payload }] = &participant.described(1)[..] else { panic!("op 26") };
    let frame = [&[*op][..], payload].concat();
    for (channel, reused) in [("One", 0), ("Two", 1)] {
        let channel = setup.discord.guild("jungle").channel(channel);
        let mut voice = Voice::connect(setup.main.credentials(&setup.bot, &channel).await).await;
        let frame = tokio_tungstenite::tungstenite::Message::binary(frame.clone());
        voice.socket.send_raw(frame).await;
        voice.beat(1, 0).await;
        voice.socket.heartbeat_ack().await;
        let found = rules(&setup.discord);
        let same = Rule::Dave("the key package has been sent before; each is for one use".to_owned());
        assert_eq!(
            found.iter().filter(|rule| matches!(rule, Rule::Dave(_))).count(),
            reused,
            "{found:?} {same}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_external_sender_may_come_before_the_session_description() {
    for first in [true, false] {
        let settings = DaveSettings { external_sender_first: first, ..DaveSettings::default() };
        let discord = Discord::builder().dave_settings(settings).start().await;
        let mut setup = Setup::on(discord).await;
        let credentials: Credentials = setup.credentials().await;
        let mut socket = credentials.open().await;
        socket.send(credentials.identify()).await;
        socket.op(2).await;
        socket.send(select_protocol("udp", "aead_aes256_gcm_rtpsize")).await;
        let mut came = Vec::new();
        while came.len() < 2 {
            match socket.next().await {
                Incoming::Binary(frame) => came.push(u64::from(frame[2])),
                other => came.extend(other.op().filter(|op| *op == 4)),
            }
        }
        assert_eq!(came, if first { [25, 4] } else { [4, 25] });
    }
}
