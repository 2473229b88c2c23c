//! Encrypted calls: long seeded stories of joins, leaves, resumes and moves.

use std::{collections::BTreeSet, time::Duration};

use actix_voice::call::ConnectionStatus;
use actix_voice_loopback::{
    Channel, Discord, Member,
    dave::{DaveSettings, Execution, Pacing, Winner},
};

use crate::support::{
    bot::BotOnDiscord,
    dave::{numbered_packet, wait_millis},
    story,
};

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
struct VoiceRoom {
    room: Channel,
    listener: Member,
    guests: Vec<Member>,
}

impl VoiceRoom {
    fn members(&self) -> Vec<&Member> {
        std::iter::once(&self.listener).chain(&self.guests).collect()
    }
}

fn churn(settings: DaveSettings, steps: usize, seed: u64) {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().dave_settings(settings).seed(seed)).await;
        let mut crowds = ["here", "there"].map(|name| {
            let room = bot.guild.channel(name);
            VoiceRoom { listener: room.listener("ear"), room, guests: Vec::new() }
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let mut at = 0;
        bot.request_join(&crowds[at].room).await.expect("the bot joins");
        bot.until_one_group(&crowds[at].room, &crowds[at].members()).await;
        bot.speak_numbers().await;
        let (mut resumes, mut moves, mut gone) = (0, 0, Vec::new());
        for step in 0..steps {
            wait_millis(random.u64(20..600)).await;
            let here = random.usize(..2);
            let crowd = &mut crowds[here];
            match random.u8(..20) {
                0 => {
                    bot.discord.close_voice(bot.account.user_id, 4015, "");
                    bot.next_status(ConnectionStatus::Resumed).await;
                    resumes += 1;
                    // Failures count for a minute, and five of them are the end.
                    wait_millis(15_000).await;
                }
                1 => {
                    at = 1 - at;
                    bot.request_join(&crowds[at].room).await.expect("the bot moves");
                    moves += 1;
                }
                2 => {
                    let winner =
                        if random.bool() { Winner::User(bot.account.user_id) } else { Winner::First };
                    bot.discord.turn_dave(&crowd.room, |settings| settings.winner = winner);
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
        let code = bot.until_one_group(&crowds[at].room, &crowds[at].members()).await;
        assert!(code.is_some());
        wait_millis(1_000).await;
        let stats = bot.disconnect_and_drain().await;

        assert!(resumes > 2 && moves > 2, "{resumes} resumes, {moves} moves");
        assert_eq!((stats.resumes, stats.reconnects), (resumes, moves));
        let listeners = crowds.each_ref().map(|crowd| bot.decrypted_by(&crowd.listener));
        assert_eq!(listeners.each_ref().map(|heard| heard.undecryptable), [0, 0]);
        let mut numbers: Vec<u32> = listeners.iter().flat_map(|heard| heard.numbers.clone()).collect();
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "nothing was said twice");
        let unheard = u64::from(numbers[count - 1] + 1) - count as u64;
        let lost =
            stats.transport.withheld + stats.transport.unsent + bot.discord.relay().counters().unknown_ssrc;
        assert_eq!(unheard, lost, "of {count}, only what had no key or no server any more is missing");
        let rooms = crowds.each_ref().map(|crowd| &crowd.room);
        bot.assert_encrypted(&rooms, &stats, (0..numbers[count - 1]).map(numbered_packet));
        let said: BTreeSet<u32> = numbers.into_iter().collect();
        for crowd in &crowds {
            let here: BTreeSet<u32> = bot.decrypted_by(&crowd.listener).numbers.into_iter().collect();
            for guest in crowd.guests.iter().filter(|guest| guest.heard(bot.account.user_id).is_some()) {
                let heard = bot.decrypted_by(guest);
                assert!(heard.numbers.iter().all(|number| said.contains(number)));
                assert!(
                    heard.numbers.iter().all(|number| here.contains(number)),
                    "what the ear beside it heard"
                );
            }
        }
        bot.assert_no_violations();
    });
}
