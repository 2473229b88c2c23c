//! Events of the main gateway that leave later than they happen, or twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::main_sessions::Dispatch;

/// In which order delayed events leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventDelivery {
    /// As they happened, to each client.
    #[default]
    InOrder,
    /// Those of one name as they happened: a VOICE_SERVER_UPDATE may overtake a VOICE_STATE_UPDATE, and the other way round.
    NamesInOrder,
    /// Each when its own time has come.
    AnyOrder,
}

/// The owner of the events that are under way to a client.
pub(super) struct LateEvents {
    random: fastrand::Rng,
    latency: Range<Duration>,
    delivery: EventDelivery,
    doubled: f64,
    /// By when each leaves, and in which order it happened; with its session.
    under_way: BTreeMap<(Instant, u64), (String, Dispatch)>,
    happened: u64,
}

impl LateEvents {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            latency: Duration::ZERO..Duration::ZERO,
            delivery: EventDelivery::default(),
            doubled: 0.0,
            under_way: BTreeMap::new(),
            happened: 0,
        }
    }

    pub(super) fn delay(&mut self, latency: Range<Duration>, delivery: EventDelivery) {
        self.latency = latency;
        self.delivery = delivery;
    }

    pub(super) fn double(&mut self, probability: f64) {
        self.doubled = probability;
    }

    /// How many times an event leaves.
    pub(super) fn copies(&mut self, name: &str) -> usize {
        let doubled = self.doubled > 0.0 && AFFECTED.contains(&name) && self.random.f64() < self.doubled;
        1 + usize::from(doubled)
    }

    /// When an event to a session leaves that happens now; `None` if at once.
    pub(super) fn due(&mut self, session: &str, name: &str, now: Instant) -> Option<Instant> {
        if !AFFECTED.contains(&name) {
            return None;
        }
        let waiting = self.under_way.iter().rev();
        let mut waiting = waiting.filter(|(_, (to, _))| to == session);
        let behind = waiting.find(|(_, (_, dispatch))| match self.delivery {
            EventDelivery::InOrder => true,
            EventDelivery::NamesInOrder => dispatch.name == name,
            EventDelivery::AnyOrder => false,
        });
        let behind = behind.map(|((due, _), _)| *due);
        if self.latency.is_empty() {
            return behind;
        }
        let Range { start, end } = self.latency;
        let latency = start + (end - start).mul_f64(self.random.f64());
        Some(behind.map_or(now + latency, |behind| behind.max(now + latency)))
    }

    /// Lets an event leave later.
    pub(super) fn add(&mut self, due: Instant, session: &str, dispatch: Dispatch) {
        self.happened += 1;
        self.under_way.insert((due, self.happened), (session.to_owned(), dispatch));
    }

    /// Takes the events that leave now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(String, Dispatch)> {
        let later = self.under_way.split_off(&(now + Duration::from_nanos(1), 0));
        std::mem::replace(&mut self.under_way, later).into_values().collect()
    }

    /// Takes the events of one session.
    pub(super) fn take_of(&mut self, session: &str) -> Vec<Dispatch> {
        let all = std::mem::take(&mut self.under_way).into_iter();
        let (taken, left) = all.partition::<BTreeMap<_, _>, _>(|(_, (to, _))| to == session);
        self.under_way = left;
        taken.into_values().map(|(_, dispatch)| dispatch).collect()
    }

    /// When the next event leaves.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }
}

/// The events that may be late.
const AFFECTED: [&str; 4] = ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE", "GUILD_CREATE", "GUILD_DELETE"];
