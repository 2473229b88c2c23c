//! Members who say things, and a member who hears them through the call's encryption.

use std::time::Duration;

use bytes::Bytes;

use crate::Discord;
use crate::judge::Judgement;
use crate::netem::Trace;
use crate::recorder::Holes;
use crate::relay::MalformedPacket;
use crate::speech::{ClientVoice, synthesise};

#[tokio::test(start_paused = true)]
async fn what_is_said_is_heard_in_its_place_over_pauses_and_losses() {
    let discord = Discord::start().await;
    let channel = discord.guild("jungle").channel("General");
    let (ear, mouth) = (channel.listener("ear"), channel.listener("mouth"));
    let speech = ClientVoice::discord().speak(&synthesise(1, Duration::from_secs(6))).unwrap();
    mouth.trace(Trace::lost([40, 41, 100]));
    mouth.say_all(&speech).await;
    let sent = speech.packets.len() as u64;
    let all_heard = |_: &Discord| ear.packets_heard(mouth.user_id) >= sent - 3;
    discord.until(all_heard, Duration::from_secs(5)).await.unwrap();
    let hearing = ear.heard(mouth.user_id).unwrap();
    assert_eq!((hearing.packets, hearing.lost, hearing.undecryptable), (sent - 3, 3, 0));
    assert!(hearing.lateness.max() <= Duration::from_millis(5), "{:?}", hearing.lateness.max());
    let heard = hearing.decode(Holes::Concealed).unwrap();
    let judgement = Judgement::of(&speech.decoded().unwrap(), &heard, Duration::ZERO);
    assert!((judgement.late_ms - 6.5).abs() < 0.5, "libopus encodes 6.5 ms late: {judgement}");
    assert!((1..=5).contains(&judgement.lost_frames), "{judgement}");
}

#[tokio::test(start_paused = true)]
async fn plain_frames_and_wrong_keys_are_sent_as_such_and_another_ssrc_is_announced() {
    let discord = Discord::start().await;
    let channel = discord.guild("jungle").channel("General");
    let (ear, mut mouth) = (channel.listener("ear"), channel.listener("mouth"));
    let encrypted = |discord: &Discord| discord.dave_members(&channel).len() == 2;
    discord.until(encrypted, Duration::from_secs(5)).await.unwrap();
    let opus = Bytes::from_static(&[0xFC, 1, 2, 3]);
    mouth.announce(1);
    mouth.say(opus.clone());
    mouth.say_plainly(&opus);
    mouth.say_with_wrong_key(&opus);
    mouth.send(MalformedPacket::AllPadding);
    let old = mouth.ssrc;
    mouth.change_ssrc();
    mouth.say(opus);
    let four = |_: &Discord| ear.packets_heard(mouth.user_id) >= 4;
    discord.until(four, Duration::from_secs(5)).await.unwrap();
    let hearing = ear.heard(mouth.user_id).unwrap();
    assert_eq!((hearing.packets, hearing.undecryptable), (4, 2));
    let ssrcs: Vec<u32> = hearing.audio.iter().map(|packet| packet.ssrc).collect();
    assert_eq!(ssrcs, [old, mouth.ssrc]);
    assert_ne!(old, mouth.ssrc);
}
