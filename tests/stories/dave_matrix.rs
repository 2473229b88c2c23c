//! Encrypted calls: whatever befalls one, it befalls it among 1, 2, 3 and 25 members, with others coming and going, over a
//! network that loses and reorders. What the network brought, everyone in the group understands.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use actix_voice::{
    actors::fault::{Panic, Victim},
    call::ConnectionStatus,
    hearing::Preset,
};
use actix_voice_loopback::{
    Builder, Channel, Dave, Discord, Member, Netem,
    dave::{DaveSettings, Execution, Fault, Pacing, Winner},
    netem::Direction,
};

use crate::support::{
    bot::BotOnDiscord,
    dave::{add_listeners, forged_frame, numbered_packet, wait_millis},
    story,
};

const SIZES: [usize; 4] = [1, 2, 3, 25];

const BAD_NETWORK: Netem = Netem {
    loss: 0.05,
    reorder: 0.05,
    duplicate: 0.03,
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(8),
    direction: Direction::Up,
};

/// A room and everyone who was ever in it, but for the bot.
struct VoiceRoom {
    channel: Channel,
    stayers: Vec<Member>,
    guests: Vec<Member>,
    gone: Vec<Member>,
}

impl VoiceRoom {
    fn with(channel: Channel, stayers: usize) -> Self {
        Self { stayers: add_listeners(&channel, stayers), channel, guests: Vec::new(), gone: Vec::new() }
    }

    fn members(&self) -> Vec<&Member> {
        self.stayers.iter().chain(&self.guests).collect()
    }
}

/// The bot, and the rooms it has been in; the last is where it is.
struct GroupCall {
    bot: BotOnDiscord,
    rooms: Vec<VoiceRoom>,
    random: fastrand::Rng,
    names: u32,
}

impl GroupCall {
    /// All but the bot are there.
    async fn start(discord: Builder, members: usize) -> Self {
        let seed = members as u64;
        // What is plain here is plain on purpose.
        let bot = BotOnDiscord::start_with(discord.seed(seed), |config| config.require_e2ee = false).await;
        let rooms = vec![VoiceRoom::with(bot.guild.channel("room"), members - 1)];
        Self { bot, rooms, random: fastrand::Rng::with_seed(seed), names: 0 }
    }

    fn room(&mut self) -> &mut VoiceRoom {
        self.rooms.last_mut().expect("there is always one")
    }

    fn channel(&self) -> &Channel {
        &self.rooms[self.rooms.len() - 1].channel
    }

    fn change_dave_settings(&self, change: impl FnOnce(&mut DaveSettings)) {
        self.bot.discord.turn_dave(self.channel(), change);
    }

    /// The bot joins, speaks from then on, and from then on the network is bad.
    async fn join_and_speak(&mut self) {
        self.bot.request_join(self.channel()).await.expect("the bot joins");
        self.until_one_group().await;
        self.bot.discord.netem(BAD_NETWORK);
        self.bot.speak_numbers().await;
        wait_millis(500).await;
    }

    /// Everyone in the room is one group.
    async fn until_one_group(&mut self) -> Option<String> {
        let room = &self.rooms[self.rooms.len() - 1];
        self.bot.until_one_group(&room.channel, &room.members()).await
    }

    fn guest_joins(&mut self) {
        self.names += 1;
        let guest = self.channel().listener(&format!("guest {}", self.names));
        self.room().guests.push(guest);
    }

    fn guest_leaves(&mut self) {
        let leaver = self.random.usize(..self.rooms[self.rooms.len() - 1].guests.len());
        let leaver = self.room().guests.swap_remove(leaver);
        leaver.leave();
        self.room().gone.push(leaver);
    }

    /// Guests come and go, four times, as the seed says.
    async fn guests_join_and_leave(&mut self) {
        for _ in 0..4 {
            wait_millis(self.random.u64(40..600)).await;
            let guests = self.room().guests.len();
            if guests == 0 || (guests < 3 && self.random.bool()) {
                self.guest_joins()
            } else {
                self.guest_leaves()
            }
        }
    }

    /// Waits for something that the bot has to do.
    async fn until(&self, awaited: &str, condition: impl Fn(&BotOnDiscord) -> bool) {
        let limit = Duration::from_secs(5);
        self.bot.discord.until(|_| condition(&self.bot), limit).await.expect(awaited);
    }

    /// The bot leaves, and everyone has understood what the network brought them.
    async fn finish(mut self, secrecy: Secrecy) {
        self.guests_join_and_leave().await;
        self.until_one_group().await;
        wait_millis(1_500).await;
        let stats = self.bot.disconnect_and_drain().await;

        let lost = self.bot.discord.relay().counters().lost;
        assert!(lost > stats.packets / 50, "the network was bad: {lost} of {} lost", stats.packets);
        for room in &self.rooms {
            self.assert_decrypted(room);
        }
        if secrecy == Secrecy::Kept {
            let channels: Vec<_> = self.rooms.iter().map(|room| &room.channel).collect();
            self.bot.assert_encrypted(&channels, &stats, (0..5_000).map(numbered_packet));
        }
        self.bot.assert_no_violations();
    }

    fn assert_decrypted(&self, room: &VoiceRoom) {
        let mut wire = self.bot.packets_at_server(&[&room.channel]);
        wire.sort_by_key(|packet| packet.position);
        let place: HashMap<_, _> =
            wire.iter().zip(0..).map(|(packet, n)| ((packet.ssrc, packet.sequence), n)).collect();
        for listener in &room.stayers {
            let heard = listener.heard(self.bot.account.user_id).expect("the bot was heard");
            assert_eq!(
                (heard.undecryptable, heard.packets),
                (0, wire.len() as u64),
                "what a stayer understood"
            );
        }
        for guest in room.guests.iter().chain(&room.gone) {
            let Some(heard) = guest.heard(self.bot.account.user_id) else { continue };
            let heard: HashSet<usize> =
                heard.audio.iter().map(|packet| place[&(packet.ssrc, packet.sequence)]).collect();
            let (Some(first), Some(last)) = (heard.iter().min(), heard.iter().max()) else { continue };
            assert_eq!(heard.len(), last - first + 1, "holes in what a guest understood");
        }
    }
}

/// Whether something plain may have been sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Kept,
    /// Somebody was there who cannot decrypt.
    Lifted,
}

/// Plays the same among each number of members.
fn among_each_number(discord: impl Fn() -> Builder, play: impl AsyncFn(&mut GroupCall)) {
    for members in SIZES {
        eprintln!("among {members}");
        story(async {
            let mut group = GroupCall::start(discord(), members).await;
            play(&mut group).await;
            group.finish(Secrecy::Kept).await;
        });
    }
}

fn settings(settings: DaveSettings) -> impl Fn() -> Builder {
    move || Discord::builder().dave_settings(settings.clone())
}

#[test]
fn members_come_and_go() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        for _ in 0..4 {
            group.guests_join_and_leave().await;
        }
    });
}

#[test]
fn the_bot_wins_the_races() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        let bot_id = group.bot.account.user_id;
        group.change_dave_settings(|settings| settings.winner = Winner::User(bot_id));
        let won = group.bot.commits_chosen();
        for _ in 0..3 {
            group.guest_joins();
            group.until_one_group().await;
        }
        assert_eq!(group.bot.commits_chosen(), won + 3);
    });
}

#[test]
fn the_bot_loses_the_races() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        group.guest_joins();
        group.until_one_group().await;
        // Of two members any may be the first.
        let rival = group.room().guests[0].user_id;
        group.change_dave_settings(|settings| settings.winner = Winner::User(rival));
        let won = group.bot.commits_chosen();
        for _ in 0..3 {
            group.guest_joins();
            group.until_one_group().await;
        }
        assert_eq!(group.bot.commits_chosen(), won);
    });
}

#[test]
fn the_first_transition_has_a_number() {
    let numbered = DaveSettings { first_transition_id_zero: false, ..DaveSettings::default() };
    among_each_number(settings(numbered), async |group| {
        group.join_and_speak().await;
        group.guests_join_and_leave().await;
        let welcomes = group.bot.binary_to_bot(30);
        assert!(welcomes.iter().all(|welcome| welcome[..2] != [0, 0]));
    });
}

#[test]
fn several_transitions_are_open_and_op_22_is_late() {
    among_each_number(
        settings(DaveSettings { pacing: Pacing::Overlapping, ..DaveSettings::default() }),
        async |group| {
            group.join_and_speak().await;
            group.guest_joins();
            group.until_one_group().await;
            group.change_dave_settings(|settings| {
                settings.execution = Execution::After(Duration::from_millis(2_500))
            });
            group.guest_joins();
            wait_millis(1_500).await;
            group.guest_joins();
            wait_millis(1_500).await;
            let newest = group.room().guests.len() - 2..;
            let bot_id = group.bot.account.user_id;
            let understood = group.room().guests[newest]
                .iter()
                .map(|guest| guest.heard(bot_id).expect("the bot was heard").audio.len());
            let understood: Vec<_> = understood.collect();
            assert!(
                understood[0] > 15 && understood[1] == 0,
                "{understood:?}: op 22 came for the first of them only"
            );
            group.guests_join_and_leave().await;
        },
    );
}

#[test]
fn an_op_22_never_comes() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        group.guest_joins();
        group.until_one_group().await;
        group.change_dave_settings(|settings| settings.execution = Execution::Never);
        group.guest_joins();
        wait_millis(4_000).await;
        group.change_dave_settings(|settings| settings.execution = Execution::Prompt);
    });
}

#[test]
fn all_leave_and_others_come() {
    for (sole_member_op21_version, op24_on_empty_join) in [(1, false), (0, true)] {
        let alone = DaveSettings { sole_member_op21_version, op24_on_empty_join, ..DaveSettings::default() };
        among_each_number(settings(alone), async |group| {
            group.join_and_speak().await;
            group.guests_join_and_leave().await;
            let room = group.room();
            room.guests.append(&mut room.stayers);
            while !group.room().guests.is_empty() {
                group.guest_leaves();
            }
            assert_eq!(group.until_one_group().await, None, "alone");
            wait_millis(500).await;
            group.guest_joins();
            group.until_one_group().await;
        });
    }
}

#[test]
fn somebody_without_dave_comes_and_goes() {
    for members in SIZES {
        story(async {
            let mut group = GroupCall::start(Discord::builder().dave(Dave::Allowed), members).await;
            group.join_and_speak().await;
            group.guests_join_and_leave().await;
            group.until_one_group().await;
            let before = group.bot.e2ee_states().len();
            let old = group.channel().old_listener("old");
            group
                .until("the downgrade", |bot| {
                    bot.e2ee_states()[before..].iter().any(|state| state.version == 0)
                })
                .await;
            wait_millis(1_000).await;
            old.leave();
            group.until_one_group().await;
            group.finish(Secrecy::Lifted).await;
        });
    }
}

/// Something goes wrong with the group of the bot, and then guests come and go.
fn recovers_after(faults: impl Fn(u64) -> Vec<Fault>, pleas: usize) {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        group.guest_joins();
        group.until_one_group().await;
        // The next commit must be another's, if it is to be sent to the bot at all.
        let (bot_id, rival) = (group.bot.account.user_id, group.room().guests[0].user_id);
        group.change_dave_settings(|settings| settings.winner = Winner::User(rival));
        for fault in faults(bot_id) {
            group.bot.discord.dave_fault(group.channel(), fault);
        }
        group.guest_joins();
        group.until_one_group().await;
        assert_eq!(group.bot.texts_sent(31), pleas);
        assert_eq!(group.bot.binary_from_bot(26).len(), 1 + pleas, "with a new key package each");
        group.change_dave_settings(|settings| settings.winner = Winner::First);
    });
}

#[test]
fn a_commit_is_invalid() {
    recovers_after(|bot_id| vec![Fault::CorruptCommit { to: bot_id }], 1);
}

#[test]
fn a_commit_is_invalid_and_so_is_the_welcome_that_mends_it() {
    recovers_after(
        |bot_id| vec![Fault::CorruptCommit { to: bot_id }, Fault::CorruptWelcome { to: bot_id }],
        2,
    );
}

#[test]
fn proposals_are_foreign_or_stale() {
    let strays = |bot_id| {
        vec![
            Fault::UnknownUser { to: bot_id, stranger: 99 },
            Fault::OwnAdd { to: bot_id },
            Fault::OwnRemove { to: bot_id },
            Fault::WrongEpoch { to: bot_id },
            Fault::RepeatProposals { to: bot_id },
            Fault::RevokeStrays { to: bot_id },
        ]
    };
    recovers_after(strays, 0);
}

#[test]
fn the_websocket_is_lost_in_the_middle_of_a_transition() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        group.guest_joins();
        group.until_one_group().await;
        group.change_dave_settings(|settings| {
            settings.execution = Execution::After(Duration::from_millis(500))
        });
        let before = group.bot.texts_sent(23);
        group.guest_joins();
        group.until("op 23", |bot| bot.texts_sent(23) > before).await;
        group.bot.discord.close_voice(group.bot.account.user_id, 4015, "");
        group.bot.next_status(ConnectionStatus::Resumed).await;
    });
}

#[test]
fn the_websocket_is_lost_while_a_transition_begins() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        group.bot.discord.close_voice(group.bot.account.user_id, 4015, "");
        group.guest_joins();
        group.bot.next_status(ConnectionStatus::Resumed).await;
    });
}

#[test]
fn the_websocket_is_lost_between_a_commit_and_its_announcement() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        let bot_id = group.bot.account.user_id;
        group.change_dave_settings(|settings| {
            settings.winner = Winner::User(bot_id);
            settings.commit_window = Duration::from_secs(30);
        });
        let before = group.bot.binary_from_bot(28).len();
        group.guest_joins();
        group.until("op 28", |bot| bot.binary_from_bot(28).len() > before).await;
        group.bot.discord.close_voice(bot_id, 4015, "");
        group.bot.next_status(ConnectionStatus::Resumed).await;
    });
}

#[test]
fn the_bot_moves_away_and_back() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        group.guests_join_and_leave().await;
        let here = group.until_one_group().await;
        let stayers = group.room().stayers.len();
        let there = VoiceRoom::with(group.bot.guild.channel("there"), stayers);
        group.rooms.push(there);
        group.bot.request_join(group.channel()).await.expect("the bot moves");
        group.guests_join_and_leave().await;
        assert_ne!(here, group.until_one_group().await, "it is another group");
        group.rooms.rotate_left(1);
        group.bot.request_join(group.channel()).await.expect("the bot moves back");
    });
}

#[test]
fn nothing_that_the_bot_hears_opens_any_more() {
    among_each_number(Discord::builder, async |group| {
        let _heard = group.bot.listen(Preset::Agent).await;
        group.join_and_speak().await;
        group.guest_joins();
        group.until_one_group().await;
        // The keys of those before are gone.
        wait_millis(12_000).await;
        let garbler = group.room().guests.pop().expect("it has just come");
        group.bot.discord.relay().encrypt_with(garbler.ssrc, Box::new(|_| Some(forged_frame().to_vec())));
        garbler.announce(1);
        for frame in 0..37 {
            assert_eq!(group.bot.texts_sent(31), 0, "36 in a row are borne");
            garbler.say(numbered_packet(frame));
            wait_millis(20).await;
        }
        group.until("op 31", |bot| bot.texts_sent(31) == 1).await;
        group.room().guests.push(garbler);
        group.until_one_group().await;
    });
}

#[test]
fn an_actor_of_the_bot_dies() {
    among_each_number(Discord::builder, async |group| {
        group.join_and_speak().await;
        for victim in [Victim::Gateway, Victim::Transport, Victim::Dave] {
            group.guest_joins();
            group.until_one_group().await;
            group.bot.manager.do_send(Panic { guild: group.bot.guild_id(), victim });
            let how = if victim == Victim::Gateway {
                ConnectionStatus::Resumed
            } else {
                ConnectionStatus::Connected
            };
            group.bot.next_status(how).await;
            group.until_one_group().await;
        }
    });
}
