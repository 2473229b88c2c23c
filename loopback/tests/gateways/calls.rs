//! Whole calls: what one member says the others hear, encrypted end to end or not.

use std::time::Duration;

use actix_voice_loopback::cipher::{Cipher, Mode};
use actix_voice_loopback::relay::Breach;
use actix_voice_loopback::{Channel, Dave, Discord, Rule};
use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::client::{Scene, Voice};

/// One frame of 20 ms: stereo CELT at full band, with some bytes of no meaning.
fn frame(number: u8) -> Bytes {
    Bytes::from(vec![0xFC, number, 0x55, 0xAA])
}

async fn discord(dave: Dave) -> (Discord, Channel) {
    let discord = Discord::builder().dave(dave).start().await;
    let channel = discord.guild("jungle").channel("General");
    (discord, channel)
}

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

    tokio::time::sleep(Duration::from_secs(3)).await;
    members[0].speak((0..20).map(frame)).await;
    for ear in &members[1..] {
        discord.until(|_| ear.packets_heard(members[0].user_id) >= 20, A_WHILE).await.expect("all packets");
        let heard = ear.heard(members[0].user_id).expect("it spoke");
        assert_eq!(heard.undecryptable, 0);
        assert_eq!(heard.audio[19].opus, frame(19));
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
    let (mouth, _ear) = (channel.listener("mouth"), channel.listener("ear"));
    discord.until(|discord| discord.dave_members(&channel).len() == 2, A_WHILE).await.expect("one group");
    tokio::time::sleep(Duration::from_secs(3)).await;
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
    let key = voice.description["secret_key"].as_array().expect("a key");
    let key: Vec<u8> = key.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    let cipher = Cipher::new(Mode::Aes256GcmRtpsize, &key.try_into().expect("32 bytes"));
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let ssrc = u32::try_from(voice.ssrc).expect("32 bits");
    for number in 0..frames {
        let mut packet = vec![0x80, 0x78, 0, number];
        packet.extend_from_slice(&(960 * u32::from(number)).to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&frame(number));
        let sealed = cipher.seal(&packet, u32::from(number)).expect("sealed");
        socket.send_to(&sealed, ("127.0.0.1", ready_port)).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_announced_itself_is_heard() {
    let mut scene = Scene::new().await;
    let ear = scene.channel.listener("ear");
    let mut voice = scene.connect().await;
    voice.speak(1).await;
    talk(&voice, scene.discord.relay().address().port(), 10).await;
    let bot = scene.bot.user_id;
    scene.discord.until(|_| ear.packets_heard(bot) == 10, A_WHILE).await.expect("all packets");
    assert_eq!(ear.heard(bot).expect("it spoke").audio[9].opus, frame(9));
    assert_eq!(scene.discord.recording(bot).expect("it spoke").packets, 10);
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_talks_without_speaking_is_closed_with_4020() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    talk(&voice, scene.discord.relay().address().port(), 20).await;
    assert_eq!(voice.socket.close_code().await, 4020);
    let rules = scene.discord.violations().into_iter().map(|violation| violation.rule);
    assert!(rules.into_iter().any(|rule| rule == Rule::Media(Breach::AudioWithoutSpeaking)));
}
