//! Encrypted calls: long seeded stories of joins, leaves, resumes and moves, over good and bad networks.

use std::{collections::BTreeSet, time::Duration};

use actix_voice::{actors::What, call::Progress};
use actix_voice_loopback::{
    Channel, Discord, Member, Netem,
    dave::{DaveSettings, Execution, Pacing, Winner},
    netem::Direction,
};

use crate::{
    dave_stage::{crowd, numbered, pass},
    stage::{Stage, story},
};

const BAD: Netem = Netem {
    loss: 0.05,
    reorder: 0.05,
    duplicate: 0.03,
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(8),
    direction: Direction::Up,
};

#[test]
fn joins_and_leaves_among_three_over_a_bad_network() {
    joins_and_leaves_over_a_bad_network(3, 30, 1);
}

#[test]
fn joins_and_leaves_among_twenty_five_over_a_bad_network() {
    joins_and_leaves_over_a_bad_network(25, 30, 2);
}

/// Half of the members stay; the others come and go. What is not understood is what the network lost.
fn joins_and_leaves_over_a_bad_network(most: usize, steps: usize, seed: u64) {
    story(async {
        let stage = Stage::on(Discord::builder().seed(seed)).await;
        let room = stage.guild.channel("room");
        let mut random = fastrand::Rng::with_seed(seed);
        let stayers = crowd(&room, most / 2);
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &stayers.iter().collect::<Vec<_>>()).await;
        stage.discord.netem(BAD);
        stage.speak_numbers().await;
        let (mut guests, mut gone) = (Vec::new(), Vec::new());
        for step in 0..steps {
            pass(random.u64(40..400)).await;
            let room_left = stayers.len() + guests.len() + 1 < most;
            if guests.is_empty() || (room_left && random.u8(..4) > 0) {
                guests.push(room.listener(&format!("guest {step}")));
            } else {
                let leaver: Member = guests.swap_remove(random.usize(..guests.len()));
                leaver.leave();
                gone.push(leaver);
            }
        }
        let everyone: Vec<&Member> = stayers.iter().chain(&guests).collect();
        stage.agreed(&room, &everyone).await;
        pass(1_000).await;
        let stats = stage.part().await;

        let lost = stage.discord.relay().counters().lost;
        assert!(lost > stats.packets / 50, "the network was bad: {lost} of {} lost", stats.packets);
        for ear in &stayers {
            let heard = stage.understood(ear);
            assert_eq!(heard.undecryptable, 0);
            assert_eq!(heard.packets + lost, stats.packets, "only what the network lost is missing");
        }
        let arrived: BTreeSet<u32> = stage.understood(&stayers[0]).numbers.into_iter().collect();
        for guest in guests.iter().chain(&gone).filter(|guest| guest.heard(stage.bot.user_id).is_some()) {
            understood_from_its_first_packet_on(&stage, guest, &arrived);
        }
        stage.no_violations();
    });
}

/// All that arrived while its key was in use, give or take what overtook the change of keys.
fn understood_from_its_first_packet_on(stage: &Stage, guest: &Member, arrived: &BTreeSet<u32>) {
    let heard = stage.understood(guest);
    let Some((first, last)) = heard.span() else { return };
    let understood: BTreeSet<u32> = heard.numbers.iter().copied().collect();
    let missed: Vec<&u32> =
        arrived.range(first..=last).filter(|number| !understood.contains(number)).collect();
    assert!(missed.is_empty(), "{missed:?} arrived and were not understood");
}

#[test]
fn a_churning_call_stays_whole() {
    churn(DaveSettings::default(), 240, 3);
}

#[test]
fn a_churning_call_with_late_and_overlapping_transitions_stays_whole() {
    let (pacing, execution) = (Pacing::Overlapping, Execution::After(Duration::from_millis(700)));
    churn(DaveSettings { pacing, execution, ..DaveSettings::default() }, 120, 4);
}

/// One of the two rooms that the bot moves between: who is always there, and who is now.
struct Crowd {
    room: Channel,
    ear: Member,
    guests: Vec<Member>,
}

impl Crowd {
    fn members(&self) -> Vec<&Member> {
        std::iter::once(&self.ear).chain(&self.guests).collect()
    }
}

fn churn(settings: DaveSettings, steps: usize, seed: u64) {
    story(async {
        let stage = Stage::on(Discord::builder().dave_settings(settings).seed(seed)).await;
        let mut crowds = ["here", "there"].map(|name| {
            let room = stage.guild.channel(name);
            Crowd { ear: room.listener("ear"), room, guests: Vec::new() }
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let mut at = 0;
        stage.try_join(&crowds[at].room).await.expect("the bot joins");
        stage.agreed(&crowds[at].room, &crowds[at].members()).await;
        stage.speak_numbers().await;
        let (mut resumes, mut moves, mut gone) = (0, 0, Vec::new());
        for step in 0..steps {
            pass(random.u64(20..600)).await;
            let here = random.usize(..2);
            let crowd = &mut crowds[here];
            match random.u8(..20) {
                0 => {
                    stage.discord.close_voice(stage.bot.user_id, 4015, "");
                    stage.what("a resume", |what| *what == What::Connection(Progress::Resumed)).await;
                    resumes += 1;
                    // Failures count for a minute, and five of them are the end.
                    pass(15_000).await;
                }
                1 => {
                    at = 1 - at;
                    stage.try_join(&crowds[at].room).await.expect("the bot moves");
                    moves += 1;
                }
                2 => {
                    let winner = if random.bool() { Winner::User(stage.bot.user_id) } else { Winner::First };
                    stage.discord.turn_dave(&crowd.room, |settings| settings.winner = winner);
                }
                3..12 if crowd.guests.len() < 5 => {
                    crowd.guests.push(crowd.room.listener(&format!("guest {step}")))
                }
                _ if !crowd.guests.is_empty() => {
                    let leaver = crowd.guests.swap_remove(random.usize(..crowd.guests.len()));
                    leaver.leave();
                    gone.push(leaver);
                }
                _ => {}
            }
        }
        let code = stage.agreed(&crowds[at].room, &crowds[at].members()).await;
        assert!(code.is_some());
        pass(1_000).await;
        let stats = stage.part().await;

        assert!(resumes > 2 && moves > 2, "{resumes} resumes, {moves} moves");
        assert_eq!((stats.resumes, stats.reconnects), (resumes, moves));
        let ears = crowds.each_ref().map(|crowd| stage.understood(&crowd.ear));
        assert_eq!(ears.each_ref().map(|heard| heard.undecryptable), [0, 0]);
        let mut numbers: Vec<u32> = ears.iter().flat_map(|heard| heard.numbers.clone()).collect();
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "nothing was said twice");
        let unheard = u64::from(numbers[count - 1] + 1) - count as u64;
        let lost =
            stats.transport.withheld + stats.transport.unsent + stage.discord.relay().counters().unknown_ssrc;
        assert_eq!(unheard, lost, "of {count}, only what had no key or no server any more is missing");
        let rooms = crowds.each_ref().map(|crowd| &crowd.room);
        stage.nothing_plain(&rooms, &stats, (0..numbers[count - 1]).map(numbered));
        let said: BTreeSet<u32> = numbers.into_iter().collect();
        for crowd in &crowds {
            let here: BTreeSet<u32> = stage.understood(&crowd.ear).numbers.into_iter().collect();
            for guest in crowd.guests.iter().filter(|guest| guest.heard(stage.bot.user_id).is_some()) {
                let heard = stage.understood(guest);
                assert!(heard.numbers.iter().all(|number| said.contains(number)));
                assert!(
                    heard.numbers.iter().all(|number| here.contains(number)),
                    "what the ear beside it heard"
                );
            }
        }
        stage.no_violations();
    });
}
