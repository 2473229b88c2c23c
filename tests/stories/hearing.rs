//! What the bot hears of the others.

use std::{collections::BTreeMap, time::Duration};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{CallEventKind, Listen, StopListening, fault},
    audio::{
        frame::Frame,
        opus::{Application, Decoder, Encoder, EncoderSettings, MAX_PACKET},
    },
    call::{Cause, ConnectionStatus},
    hearing::{Content, Format, Heard, Origin, Preset, Rate, Selection, Talk, VoiceTick},
    id::{Ssrc, UserId},
    source,
    transport::{Deafness, DeafnessRemedy},
};
use actix_voice_loopback::{Discord, Member, Netem, Side, netem::Direction};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::support::{
    audio::{path, play},
    bot::BotOnDiscord,
    dave::{forged_frame, numbered_packet},
    log::{op, received},
    recording::{packets_heard, packets_of, with_silence},
    story,
};

pub(crate) async fn wait_millis(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Everything that waits in a channel.
pub(crate) fn drain<M>(channel: &mut mpsc::Receiver<M>) -> Vec<M> {
    std::iter::from_fn(|| channel.try_recv().ok()).collect()
}

/// The numbers of the packets of each user, in the order in which they were heard; silence left out.
pub(crate) fn numbers(heard: &[Heard]) -> BTreeMap<u64, Vec<u32>> {
    let mut numbers: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for frame in heard {
        if let Content::Opus(opus) = &frame.content
            && opus.len() > 3
        {
            let number = u32::from_be_bytes(opus[1..5].try_into().unwrap());
            assert_eq!(*opus, numbered_packet(number), "the packet is not as it was sent");
            numbers.entry(frame.user.0).or_default().push(number);
        }
    }
    numbers
}

/// The bot joins the fixture's channel with two more in it, who can be heard a while later.
pub(crate) async fn join_two(bot: &BotOnDiscord) -> [Member; 2] {
    let members = [bot.channel.listener("one"), bot.channel.listener("two")];
    bot.join().await;
    bot.until_one_group(&bot.channel, &[&bot.listener, &members[0], &members[1]]).await;
    wait_millis(3_000).await;
    members
}

#[test]
fn everyone_is_heard_from_the_first_word_to_the_last_and_each_is_known() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Agent).await;
        let [one, two] = join_two(&bot).await;
        tokio::join!(one.speak((0..100).map(numbered_packet)), async {
            wait_millis(300).await;
            two.speak((1_000..1_050).map(numbered_packet)).await;
        });
        wait_millis(100).await;
        let heard = drain(&mut heard);
        let expected = BTreeMap::from([
            (one.user_id, (0..100).collect::<Vec<_>>()),
            (two.user_id, (1_000..1_050).collect::<Vec<_>>()),
        ]);
        assert_eq!(numbers(&heard), expected);
        assert!(
            heard
                .iter()
                .filter(|frame| frame.user.0 == one.user_id)
                .all(|frame| frame.ssrc == Ssrc(one.ssrc))
        );
        let times: Vec<u64> =
            heard.iter().filter(|frame| frame.user.0 == two.user_id).map(|frame| frame.time).collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 960), "media time goes on: {times:?}");
        let stats = bot.disconnect_and_drain().await;
        let mut speakers: Vec<_> =
            stats.speakers.iter().map(|stats| (stats.user.0, stats.counts.received)).collect();
        speakers.sort_unstable();
        let mut sent = [(one.user_id, 105), (two.user_id, 55)];
        sent.sort_unstable();
        assert_eq!(speakers, sent);
        assert!(
            stats
                .speakers
                .iter()
                .all(|stats| stats.counts.lost == 0 && stats.longest_delay <= Duration::from_millis(15))
        );
        bot.assert_no_violations();
    });
}

#[test]
fn who_speaks_as_soon_as_it_has_come_is_heard_from_the_first_packet_that_it_can_send() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Agent).await;
        join_two(&bot).await;
        let newcomer = bot.channel.listener("newcomer");
        for number in 0..200 {
            newcomer.say(numbered_packet(number));
            wait_millis(20).await;
        }
        let mut heard = numbers(&drain(&mut heard));
        let heard = heard.remove(&newcomer.user_id).expect("it is heard");
        assert!(heard[0] < 150, "it could send from {} on", heard[0]);
        assert_eq!(heard, (heard[0]..200).collect::<Vec<_>>());
        let stats = bot.disconnect_and_drain().await;
        assert_eq!((stats.transport.unopened, stats.transport.unmapped), (0, 0));
    });
}

#[test]
fn a_bot_is_deaf_until_somebody_listens_and_deaf_again_when_nobody_does() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let [one, _] = join_two(&bot).await;
        one.speak((0..10).map(numbered_packet)).await;
        wait_millis(100).await;
        let (to, mut frames) = mpsc::channel(1_000);
        let listen =
            bot.manager.send(Listen::frame_channel(bot.guild_id(), Preset::Agent, to)).await.unwrap();
        wait_millis(1_000).await;
        one.speak((10..20).map(numbered_packet)).await;
        wait_millis(100).await;
        bot.manager.send(StopListening(listen)).await.unwrap();
        wait_millis(1_000).await;
        one.speak((20..30).map(numbered_packet)).await;
        wait_millis(100).await;
        assert_eq!(numbers(&drain(&mut frames)), BTreeMap::from([(one.user_id, (10..20).collect())]));
        let deaf: Vec<_> = received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE)
            .iter()
            .map(|(_, d)| d["self_deaf"].as_bool().unwrap())
            .collect();
        assert_eq!(deaf, [true, false, true]);
        let stats = bot.disconnect_and_drain().await;
        assert_eq!(stats.transport.opened, 15, "what nobody hears is not opened");
        bot.assert_no_violations();
    });
}

/// Takes frames, after it has done with each what it was told.
struct Ear {
    frames: mpsc::UnboundedSender<Heard>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Listen,
    Panic,
    Stop,
}

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<Heard> for Ear {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Context<Self>) {
        match self.fate {
            Fate::Listen => drop(self.frames.send(heard)),
            Fate::Panic => panic!("an ear panics, as it was told"),
            Fate::Stop => actix::ActorContext::stop(ctx),
        }
    }
}

#[test]
fn one_who_panics_stops_or_does_not_read_harms_nobody_and_several_hear_each_in_its_own_way() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let (to, mut frames) = mpsc::unbounded_channel();
        for fate in [Fate::Panic, Fate::Stop, Fate::Listen] {
            let ear = Ear { frames: to.clone(), fate }.start().recipient();
            bot.manager.send(Listen::frames(bot.guild_id(), Preset::Agent, ear)).await.unwrap();
        }
        let (full, unread) = mpsc::channel(10);
        bot.manager.send(Listen::frame_channel(bot.guild_id(), Preset::Agent, full)).await.unwrap();
        let mut recorded = bot.listen(Preset::Record).await;
        let [one, two] = join_two(&bot).await;
        let (to, mut ticks) = mpsc::channel(1_000);
        let only = Selection::only([UserId(two.user_id)]);
        let listen = Listen::tick_channel(bot.guild_id(), to).preset(Preset::Agent).selection(only);
        bot.manager.send(listen).await.unwrap();
        tokio::join!(one.speak((0..50).map(numbered_packet)), two.speak((100..150).map(numbered_packet)));
        wait_millis(1_500).await;
        let expected =
            BTreeMap::from([(one.user_id, (0..50).collect()), (two.user_id, (100..150).collect())]);
        let heard: Vec<Heard> = std::iter::from_fn(|| frames.try_recv().ok()).collect();
        assert_eq!(numbers(&heard), expected);
        assert_eq!(numbers(&drain(&mut recorded)), expected);
        let ticks: Vec<VoiceTick> = drain(&mut ticks);
        let of_ticks: Vec<Heard> = ticks.iter().flat_map(|tick| tick.frames.clone()).collect();
        assert_eq!(numbers(&of_ticks), BTreeMap::from([(two.user_id, (100..150).collect())]));
        assert!(
            of_ticks.iter().all(|frame| frame.pcm.as_ref().is_some_and(|pcm| pcm.samples.len() == 1_920))
        );
        assert_eq!(unread.len(), 10);
        let stats = bot.disconnect_and_drain().await;
        assert_eq!(stats.undelivered, 100, "the one who does not read");
    });
}

#[test]
fn an_agent_gets_speech_as_samples_of_the_rate_that_it_asked_for() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let (to, mut frames) = mpsc::channel(10_000);
        let listen =
            Listen::frame_channel(bot.guild_id(), Preset::Agent, to).format(Format::Mono(Rate::Khz16));
        bot.manager.send(listen).await.unwrap();
        let [one, _] = join_two(&bot).await;
        let packets = packets_of("speech.opus");
        one.speak(packets.clone()).await;
        wait_millis(100).await;
        let heard = drain(&mut frames);
        let mut decoder = Decoder::to(16_000, 1).unwrap();
        let mut expected = Vec::new();
        for packet in &packets {
            decoder.decode(Some(packet), &mut expected).unwrap();
        }
        let samples: Vec<f32> = heard
            .iter()
            .filter_map(|frame| frame.pcm.as_ref())
            .inspect(|pcm| assert_eq!(pcm.origin, Origin::Decoded))
            .flat_map(|pcm| pcm.samples.iter().copied())
            .collect();
        assert!(samples.starts_with(&expected), "{} samples, {} expected", samples.len(), expected.len());
        let loudest = heard.iter().filter_map(|frame| frame.pcm.as_ref()).map(|pcm| pcm.level.rms);
        assert!(loudest.fold(f32::MIN, f32::max) > -40.0, "levels tell of speech");
    });
}

#[test]
fn who_speaks_is_told() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Agent).await;
        let [one, two] = join_two(&bot).await;
        one.speak((0..20).map(numbered_packet)).await;
        wait_millis(1_000).await;
        one.speak((20..40).map(numbered_packet)).await;
        // Nothing ends these words.
        two.announce(1);
        for number in 0..5 {
            two.say(numbered_packet(number));
            wait_millis(20).await;
        }
        wait_millis(1_000).await;
        let told: Vec<Talk> = bot
            .events
            .call_events()
            .into_iter()
            .filter_map(|event| match event {
                CallEventKind::Talk(talk) => Some(talk),
                _ => None,
            })
            .collect();
        let started =
            |member: &Member| Talk::Started { user: UserId(member.user_id), ssrc: Ssrc(member.ssrc) };
        let stopped = |member: &Member| Talk::Stopped { user: UserId(member.user_id) };
        let first = |member: &Member| Talk::FirstWord(UserId(member.user_id));
        let expected = [
            first(&one),
            started(&one),
            stopped(&one),
            started(&one),
            stopped(&one),
            first(&two),
            started(&two),
            stopped(&two),
        ];
        assert_eq!(told, expected);
    });
}

#[test]
fn a_listener_of_ours_that_panics_is_replaced_and_the_words_after_it_are_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Agent).await;
        let [one, _] = join_two(&bot).await;
        one.speak((0..20).map(numbered_packet)).await;
        let victim = fault::Victim::Listener;
        bot.manager.send(fault::Panic { guild: bot.guild_id(), victim }).await.unwrap();
        wait_millis(100).await;
        one.speak((20..40).map(numbered_packet)).await;
        wait_millis(100).await;
        assert_eq!(numbers(&drain(&mut heard)), BTreeMap::from([(one.user_id, (0..40).collect())]));
        bot.disconnect_and_drain().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_bot_that_understands_nobody_says_so_joins_the_group_anew_and_then_the_call() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Agent).await;
        let [one, two] = join_two(&bot).await;
        bot.discord.relay().encrypt_with(one.ssrc, Box::new(|_| Some(forged_frame().to_vec())));
        one.announce(1);
        for number in 0..310 {
            one.say(numbered_packet(number));
            wait_millis(20).await;
        }
        wait_millis(3_000).await;
        let events: Vec<CallEventKind> = bot
            .events
            .call_events()
            .into_iter()
            .filter(|event| matches!(event, CallEventKind::Deaf(..) | CallEventKind::Connection(_)))
            .collect();
        let deaf = |remedy| CallEventKind::Deaf(Deafness::Undecipherable, Some(remedy));
        let expected = [
            CallEventKind::Connection(ConnectionStatus::Connected),
            deaf(DeafnessRemedy::RejoinGroup),
            deaf(DeafnessRemedy::RejoinCall),
            CallEventKind::Connection(ConnectionStatus::Reconnecting(Cause::Deaf)),
            CallEventKind::Connection(ConnectionStatus::Connected),
        ];
        // Until it is in the group again it may find out as well that nothing comes.
        assert!(events.starts_with(&expected), "{events:?}");
        bot.until_one_group(&bot.channel, &[&bot.listener, &one, &two]).await;
        wait_millis(3_000).await;
        drain(&mut heard);
        two.speak((0..10).map(numbered_packet)).await;
        wait_millis(100).await;
        assert_eq!(numbers(&drain(&mut heard)), BTreeMap::from([(two.user_id, (0..10).collect())]));
    });
}

#[test]
fn the_bot_hears_while_it_speaks() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let mut heard = bot.listen(Preset::Record).await;
        let [one, two] = join_two(&bot).await;
        let track = bot.play("demo.opus").await;
        tokio::join!(
            one.speak((0..500).map(numbered_packet)),
            two.speak((1_000..1_500).map(numbered_packet))
        );
        bot.track_end(track).await;
        wait_millis(1_500).await;
        let expected =
            BTreeMap::from([(one.user_id, (0..500).collect()), (two.user_id, (1_000..1_500).collect())]);
        assert_eq!(numbers(&drain(&mut heard)), expected);
        bot.disconnect().await;
        assert_eq!(packets_heard(&bot.heard()), with_silence(&packets_of("demo.opus")));
        bot.assert_no_violations();
    });
}

/// Speech, as Discord's client encodes it.
pub(crate) fn speech() -> Vec<Bytes> {
    let settings = EncoderSettings {
        bitrate: 64_000,
        fec: true,
        expected_loss: 30,
        application: Application::Voip,
        ..EncoderSettings::default()
    };
    let mut encoder = Encoder::new(&settings).unwrap();
    let encode = |frame: Frame| {
        let Frame::Pcm(pcm) = frame else { panic!("a WAV file is decoded") };
        let mut packet = [0; MAX_PACKET];
        let length = encoder.encode(&pcm, &mut packet).unwrap();
        Bytes::copy_from_slice(&packet[..length])
    };
    play(source::open(path("speech.wav")).unwrap()).frames.into_iter().map(encode).collect()
}

pub(crate) fn sixteen_bits(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|sample| (sample * 32_767.0) as i16).collect()
}

#[test]
fn speech_over_a_network_that_loses_one_packet_in_ten_is_understood() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().seed(11)).await;
        let (to, mut frames) = mpsc::channel(10_000);
        let listen =
            Listen::frame_channel(bot.guild_id(), Preset::Agent, to).format(Format::Mono(Rate::Khz16));
        bot.manager.send(listen).await.unwrap();
        let [one, _] = join_two(&bot).await;
        let packets = speech();
        bot.discord.netem(Netem { loss: 0.1, direction: Direction::Down, ..Netem::default() });
        one.speak(packets.clone()).await;
        wait_millis(200).await;
        let frames = drain(&mut frames);
        let mut samples = vec![0.0; (packets.len() + 10) * 320];
        // The first word may be lost.
        let end = frames.last().unwrap();
        let start = end.time + u64::from(end.samples) - (packets.len() as u64 + 5) * 960;
        for frame in &frames {
            let at = ((frame.time - start) / 3) as usize;
            let pcm = &frame.pcm.as_ref().unwrap().samples;
            samples[at..at + pcm.len()].copy_from_slice(pcm);
        }
        let (mut decoder, mut clean) = (Decoder::to(16_000, 1).unwrap(), Vec::new());
        for packet in &packets {
            decoder.decode(Some(packet), &mut clean).unwrap();
        }
        let score = pesq::pesq_wb(&sixteen_bits(&clean), &sixteen_bits(&samples[..clean.len()])).unwrap();
        let stats = bot.disconnect_and_drain().await;
        let counts = stats.speakers[0].counts;
        assert!(score >= 3.0, "{score}, {counts:?}");
        assert!(counts.lost > 20 && counts.recovered * 10 > counts.lost * 7, "{counts:?}");
    });
}
