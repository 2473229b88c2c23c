//! A script: what happens to one bot in its guilds, and when. It follows from a seed, and is data, so that a script that
//! fails can be cut down.

use std::{fmt, time::Duration};

use actix_voice_loopback::{Dave, EventDelivery, EventOrder, Invalid};
use fastrand::Rng;

/// All that happens.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub dave: Dave,
    pub order: EventOrder,
    /// How many voice channels each guild has.
    pub guilds: Vec<usize>,
    pub scenes: Vec<Scene>,
}

/// Steps one soon after the other; then every fault ends, and time passes in which all has to be as it should.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub steps: Vec<Step>,
}

/// Something that happens so long after its scene begins.
#[derive(Clone, Debug)]
pub struct Step {
    pub at: Duration,
    pub act: Act,
}

/// What happens. Guilds and channels are numbered from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    // The user.
    Join { guild: usize, channel: usize },
    Disconnect { guild: usize },
    Speak { guild: usize, frames: u32 },
    // A moderator.
    Move { guild: usize, channel: usize },
    Kick { guild: usize },
    // The main gateway.
    ResetMain,
    CloseMain(u16),
    AskToReconnect,
    InvalidSession(Invalid),
    LoseMainSession,
    MuteMainAcks,
    MainLatency { upto: Duration, delivery: EventDelivery },
    DoubleEvents,
    FreezeMain,
    // The voice servers.
    TakeEndpoint { guild: usize },
    GiveEndpoint { guild: usize },
    ChangeRegion { guild: usize },
    Outage { guild: usize },
    EndOutage { guild: usize },
    // The voice gateway and the UDP path, in all guilds.
    CloseVoice(u16),
    ResetVoice,
    RefuseResume,
    MuteAcks,
    FreezeVoice,
    FreezeNetwork,
    KillMediaPath,
}

impl Act {
    /// The guild that it is about; none means all.
    pub fn guild(&self) -> Option<usize> {
        match *self {
            Self::Join { guild, .. }
            | Self::Disconnect { guild }
            | Self::Speak { guild, .. }
            | Self::Move { guild, .. }
            | Self::Kick { guild }
            | Self::TakeEndpoint { guild }
            | Self::GiveEndpoint { guild }
            | Self::ChangeRegion { guild }
            | Self::Outage { guild }
            | Self::EndOutage { guild } => Some(guild),
            _ => None,
        }
    }

    /// Whether it is something else than what the bot's user asks for.
    pub fn disturbs(&self) -> bool {
        !matches!(self, Self::Join { .. } | Self::Disconnect { .. } | Self::Speak { .. })
    }

    /// How many failures of a voice session may come of it.
    pub fn failures(&self) -> usize {
        match self {
            // Of three heartbeats two make a zombie; the third makes another with one of the next act's.
            Self::MuteAcks => 2,
            _ => 1,
        }
    }

    /// Whether it goes on until something ends it.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::MainLatency { .. } | Self::TakeEndpoint { .. } | Self::Outage { .. })
    }

    /// Whether what Discord tells the bot may be late, lost, or nothing for a while.
    pub fn delays_answers(&self) -> bool {
        matches!(
            self,
            Self::ResetMain
                | Self::CloseMain(_)
                | Self::AskToReconnect
                | Self::InvalidSession(_)
                | Self::LoseMainSession
                | Self::MuteMainAcks
                | Self::MainLatency { .. }
                | Self::FreezeMain
                | Self::FreezeNetwork
                | Self::TakeEndpoint { .. }
                | Self::Outage { .. }
        )
    }
}

impl Script {
    /// The script of this seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let guilds = match rng.u8(..10) {
            0..5 => 1,
            5..8 => rng.usize(2..5),
            _ => rng.usize(5..=20),
        };
        let guilds: Vec<usize> = (0..guilds).map(|_| rng.usize(1..=3)).collect();
        let dave = if rng.u8(..4) == 0 { Dave::Required } else { Dave::Off };
        let orders =
            [EventOrder::StateFirst, EventOrder::ServerFirst, EventOrder::Random, EventOrder::CloseLast];
        let order = *rng.choice(&orders).expect("there are some");
        let scenes = (0..rng.usize(3..=6)).map(|_| Scene::random(&mut rng, &guilds)).collect();
        Self { seed, dave, order, guilds, scenes }
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.scenes.iter().map(|scene| scene.steps.len()).sum()
    }

    /// The same without this step.
    pub fn without(&self, index: usize) -> Self {
        let mut shorter = self.clone();
        let mut left = index;
        for scene in &mut shorter.scenes {
            if left < scene.steps.len() {
                scene.steps.remove(left);
                break;
            }
            left -= scene.steps.len();
        }
        shorter
    }

    /// The same without scenes in which nothing happens.
    pub fn without_empty_scenes(&self) -> Self {
        let mut shorter = self.clone();
        shorter.scenes.retain(|scene| !scene.steps.is_empty());
        shorter
    }
}

impl Scene {
    fn random(rng: &mut Rng, guilds: &[usize]) -> Self {
        let mut at = Duration::ZERO;
        let mut steps = Vec::new();
        let joins = rng.usize(1..=guilds.len().min(4));
        for number in 0..joins + rng.usize(2..=8) {
            let act = if number < joins { join(rng, guilds) } else { random_act(rng, guilds) };
            steps.push(Step { at, act });
            at += pause(rng);
        }
        Self { steps }
    }
}

/// Half of all steps come while the one before is still being done.
fn pause(rng: &mut Rng) -> Duration {
    let longest = *rng.choice(&[2, 50, 400, 1_500, 6_000, 20_000]).expect("there are some");
    Duration::from_millis(rng.u64(..longest))
}

fn join(rng: &mut Rng, guilds: &[usize]) -> Act {
    let guild = rng.usize(..guilds.len());
    Act::Join { guild, channel: rng.usize(..guilds[guild]) }
}

fn random_act(rng: &mut Rng, guilds: &[usize]) -> Act {
    let total: u32 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
    let mut drawn = rng.u32(..total);
    for (weight, make) in WEIGHTS {
        if drawn < weight {
            return make(rng, guilds);
        }
        drawn -= weight;
    }
    unreachable!("a draw is below the sum of the weights")
}

type Make = fn(&mut Rng, &[usize]) -> Act;

/// How often each act is drawn.
const WEIGHTS: [(u32, Make); 26] = [
    (14, join),
    (8, |rng, guilds| Act::Disconnect { guild: rng.usize(..guilds.len()) }),
    (8, |rng, guilds| Act::Speak { guild: rng.usize(..guilds.len()), frames: rng.u32(1..100) }),
    (6, |rng, guilds| {
        let guild = rng.usize(..guilds.len());
        Act::Move { guild, channel: rng.usize(..guilds[guild]) }
    }),
    (4, |rng, guilds| Act::Kick { guild: rng.usize(..guilds.len()) }),
    (3, |_, _| Act::ResetMain),
    (3, |rng, _| Act::CloseMain(*rng.choice(&[4000, 4007, 4008, 4009]).expect("there are some"))),
    (2, |_, _| Act::AskToReconnect),
    (2, |_, _| Act::InvalidSession(Invalid::Resumable)),
    (3, |_, _| Act::InvalidSession(Invalid::Lost)),
    (3, |_, _| Act::LoseMainSession),
    (1, |_, _| Act::MuteMainAcks),
    (6, |rng, _| {
        let upto = Duration::from_millis(rng.u64(1..12_000));
        let delivery = match rng.u32(..2 + ANY_ORDER) {
            0 => EventDelivery::InOrder,
            1 => EventDelivery::NamesInOrder,
            _ => EventDelivery::AnyOrder,
        };
        Act::MainLatency { upto, delivery }
    }),
    (3, |_, _| Act::DoubleEvents),
    (2, |rng, guilds| Act::TakeEndpoint { guild: rng.usize(..guilds.len()) }),
    (2, |rng, guilds| Act::GiveEndpoint { guild: rng.usize(..guilds.len()) }),
    (3, |rng, guilds| Act::ChangeRegion { guild: rng.usize(..guilds.len()) }),
    (6, |rng, _| {
        let codes = [1000, 1001, 4000, 4006, 4009, 4011, 4013, 4014, 4015, 4020, 4022];
        Act::CloseVoice(*rng.choice(&codes).expect("there are some"))
    }),
    (3, |_, _| Act::ResetVoice),
    (2, |_, _| Act::RefuseResume),
    (1, |_, _| Act::MuteAcks),
    (FREEZE_MAIN, |_, _| Act::FreezeMain),
    (FREEZE_VOICE, |_, _| Act::FreezeVoice),
    (FREEZE_NETWORK, |_, _| Act::FreezeNetwork),
    (KILL_MEDIA_PATH, |_, _| Act::KillMediaPath),
    (OUTAGE, |rng, guilds| Act::Outage { guild: rng.usize(..guilds.len()) }),
];

/// Events of one name that overtake each other; 0 means never. Discord sends those of one user in their order, on one
/// websocket. A null state that is the answer to a leave, and comes after the state of the join that followed, says what a kick
/// says: neither has a number, and both name the same session. Nothing on the main gateway can be asked where the bot is without
/// bringing it there.
const ANY_ORDER: u32 = 0;
/// Half-open sockets, dead UDP paths and guild outages: 0 means never.
const FREEZE_MAIN: u32 = 3;
const FREEZE_VOICE: u32 = 3;
const FREEZE_NETWORK: u32 = 2;
const KILL_MEDIA_PATH: u32 = 3;
const OUTAGE: u32 = 3;

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, dave, order, guilds, scenes } = self;
        writeln!(f, "seed {seed}: DAVE {dave:?}, {order:?}, channels of each guild {guilds:?}")?;
        for (number, scene) in scenes.iter().enumerate() {
            writeln!(f, "  scene {number}")?;
            for Step { at, act } in &scene.steps {
                writeln!(f, "    {:>7.3} s  {act:?}", at.as_secs_f64())?;
            }
        }
        Ok(())
    }
}
