//! What the bot hears where many speak, come and go, and change their sources.

use std::{collections::BTreeMap, time::Duration};

use actix_voice::{
    actors::{CallEventKind, Listen},
    audio::{frame::SILENCE, opus::Decoder},
    hearing::{Format, Preset, Rate, VoiceTick},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Discord, Member, Netem, netem::Direction};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use crate::{
    hearing::{drain, join_two, numbers, sixteen_bits, speech, wait_millis},
    support::{
        bot::BotOnDiscord,
        dave::numbered_packet,
        recording::{packets_heard, packets_of, with_silence},
        story,
    },
};

/// Lets a member say so many packets, numbered from its own thousand on.
async fn say(member: &Member, nth: u32, packets: u32) {
    member.speak((0..packets).map(|number| numbered_packet(1_000 * nth + number))).await;
}

fn expected(nth: u32, packets: u32) -> Vec<u32> {
    (1_000 * nth..1_000 * nth + packets).collect()
}

#[test]
fn twenty_four_who_speak_at_once_are_heard_whole_while_the_bot_speaks_and_others_come_and_go() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Record).await;
        let members: Vec<Member> =
            (0..24).map(|nth| bot.channel.listener(&format!("member {nth}"))).collect();
        bot.join().await;
        let all: Vec<&Member> = members.iter().chain([&bot.listener]).collect();
        bot.until_one_group(&bot.channel, &all).await;
        wait_millis(3_000).await;

        let track = bot.play("demo.opus").await;
        let speaking: FuturesUnordered<_> =
            members.iter().zip(0..).map(|(member, nth)| say(member, nth, 250)).collect();
        let come_and_go = async {
            wait_millis(1_000).await;
            let guest = bot.channel.listener("guest");
            wait_millis(1_500).await;
            guest.leave();
        };
        tokio::join!(speaking.collect::<()>(), come_and_go);
        wait_millis(1_500).await;

        let heard = numbers(&drain(&mut heard));
        let said: BTreeMap<u64, Vec<u32>> =
            members.iter().zip(0..).map(|(member, nth)| (member.user_id, expected(nth, 250))).collect();
        assert_eq!(heard, said);
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        assert_eq!((stats.overflowed, stats.undelivered, stats.transport.unopened), (0, 0, 0));
        assert_eq!(packets_heard(&bot.heard()), with_silence(&packets_of("demo.opus")));
        bot.assert_no_violations();
    });
}

#[test]
fn what_is_said_before_its_source_is_announced_is_heard_once_it_is() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Record).await;
        let [mut one, _two] = join_two(&bot).await;
        one.change_ssrc();
        for number in 0..90 {
            one.say(numbered_packet(number));
            wait_millis(20).await;
        }
        assert!(numbers(&drain(&mut heard)).is_empty(), "nobody knows yet who it is");
        one.announce(1);
        for number in 90..100 {
            one.say(numbered_packet(number));
            wait_millis(20).await;
        }
        wait_millis(1_500).await;
        let expected = BTreeMap::from([(one.user_id, (0..100).collect())]);
        assert_eq!(numbers(&drain(&mut heard)), expected);
        let stats = bot.disconnect().await.transport;
        // The announcement and the packet after it take different ways.
        assert!((90..=91).contains(&stats.held) && stats.unmapped == 0, "{stats:?}");
    });
}

#[test]
fn what_was_said_longer_ago_than_two_seconds_is_not_heard_and_is_counted() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Record).await;
        let [mut one, _two] = join_two(&bot).await;
        one.change_ssrc();
        one.say(numbered_packet(0));
        wait_millis(2_100).await;
        one.say(numbered_packet(1));
        one.announce(1);
        wait_millis(1_500).await;
        assert_eq!(numbers(&drain(&mut heard)), BTreeMap::from([(one.user_id, vec![1])]));
        let stats = bot.disconnect().await;
        assert_eq!((stats.transport.held, stats.transport.unmapped), (1, 1));
    });
}

#[test]
fn everyone_is_known_however_often_sources_change() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Agent).await;
        let [mut one, mut two] = join_two(&bot).await;
        for round in 0..5 {
            let first = 2_000 * round;
            tokio::join!(
                one.speak((first..first + 50).map(numbered_packet)),
                two.speak((first + 1_000..first + 1_030).map(numbered_packet))
            );
            wait_millis(200).await;
            let heard = numbers(&drain(&mut heard));
            let expected = BTreeMap::from([
                (one.user_id, (first..first + 50).collect()),
                (two.user_id, (first + 1_000..first + 1_030).collect()),
            ]);
            assert_eq!(heard, expected, "round {round}");
            if round % 2 == 0 {
                one.change_ssrc();
            }
            two.change_ssrc();
        }
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

/// What a listener with [`Preset::Live`] heard of this user, from its first tick on.
fn heard_of(user: u64, ticks: &[VoiceTick]) -> (u64, Vec<f32>) {
    let (mut first, mut samples) = (None, Vec::new());
    for tick in ticks {
        for frame in tick.frames.iter().filter(|frame| frame.user.0 == user) {
            let first = *first.get_or_insert(tick.tick);
            let pcm = &frame.pcm.as_ref().expect("samples were asked for").samples;
            assert_eq!(pcm.len(), 320, "20 ms");
            samples.resize((tick.tick - first) as usize * 320, 0.0);
            samples.extend_from_slice(pcm);
        }
    }
    (first.expect("somebody was heard"), samples)
}

#[test]
fn two_who_speak_at_once_over_a_network_that_is_late_are_heard_evenly_and_together() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().seed(5)).await;
        let (to, mut ticks) = mpsc::channel(10_000);
        let listen = Listen::tick_channel(bot.guild_id(), to).format(Format::Mono(Rate::Khz16));
        bot.manager.send(listen).await.unwrap();
        let [one, two] = join_two(&bot).await;
        let late = Netem {
            loss: 0.02,
            jitter: Duration::from_millis(60),
            direction: Direction::Down,
            ..Netem::default()
        };
        bot.discord.netem(late);
        let packets = speech();
        tokio::join!(one.speak(packets.clone()), two.speak(packets.clone()));
        wait_millis(500).await;
        let ticks = drain(&mut ticks);

        let (mut decoder, mut clean) = (Decoder::to(16_000, 1).unwrap(), Vec::new());
        for packet in &packets {
            decoder.decode(Some(packet), &mut clean).unwrap();
        }
        let heard = [&one, &two].map(|member| heard_of(member.user_id, &ticks));
        assert!(
            heard[0].0.abs_diff(heard[1].0) <= 10,
            "they began together: {} and {}",
            heard[0].0,
            heard[1].0
        );
        for (_, samples) in heard {
            let score = pesq::pesq_wb(&sixteen_bits(&clean), &sixteen_bits(&samples)).unwrap();
            assert!(score >= 3.0, "{score}");
        }
        let stats = bot.disconnect_and_drain().await;
        for speaker in &stats.speakers {
            let (counts, delay) = (&speaker.counts, speaker.mean_delay());
            assert!(delay < Duration::from_millis(120), "{delay:?}");
            assert!(counts.late * 50 <= counts.received, "{counts:?}");
        }
        assert_eq!(stats.speakers.len(), 2);
    });
}

#[test]
fn a_bot_to_whom_only_silence_is_sent_does_not_believe_to_be_deaf() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Agent).await;
        let [one, two] = join_two(&bot).await;
        one.announce(1);
        for _ in 0..1_000 {
            one.say(Bytes::from_static(&SILENCE));
            two.say(Bytes::from_static(&SILENCE));
            wait_millis(20).await;
        }
        let deaf = |event: &CallEventKind| matches!(event, CallEventKind::Deaf(..));
        assert!(!bot.events.call_events().iter().any(deaf));
        let stats = bot.disconnect().await;
        assert_eq!((stats.reconnects, stats.transport.opened), (0, 2_000));
    });
}
