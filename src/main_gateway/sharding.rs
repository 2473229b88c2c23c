//! Sharding: which shards a bot has, when each is started, and when it may identify.
//!
//! ```text
//!            wait over                 an answer, or none after five tries
//!  Backoff ───────────▶ AwaitAnswer ───────────────────────────────────────▶ Running
//!     ▲                   │ no answer                                          │
//!     └───────────────────┴──────────────────────── too few shards (4011) ─────┘
//!
//!  Stopped ◀── from every state: a bad token, a close code that is final, five panics, or stop()
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::close::MainGatewayError;
use super::gateway_bot::{GatewayBot, GatewayBotError};
use super::identify_queue::IdentifyQueue;
use super::restarts::{Restarts, TooOften};
use super::retry::Random;
use crate::call::Supervision;
use crate::id::ShardId;

/// Which shards of a bot run in this program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shards {
    /// All of them, as many as Discord recommends.
    Auto,
    /// One connection for all guilds; Discord takes that up to 2,500 guilds.
    One,
    /// These of so many; the others run elsewhere.
    Of {
        /// The indices of those that run here, each below `total`.
        ids: Range<u32>,
        /// How many there are in all programs of the bot.
        total: u32,
    },
}

/// The machine. Its owner runs a [`Shard`](super::Shard) for each that it starts.
#[derive(Debug)]
pub struct Sharding {
    shards: Shards,
    state: State,
    /// Requests in a row that failed.
    failures: u32,
    /// How often Discord wanted more shards than it had recommended.
    refusals: u32,
    /// Of all programs.
    count: u32,
    /// Of this program.
    size: usize,
    /// Still to be started.
    to_start: VecDeque<u32>,
    /// Started, and not identified yet.
    starting: BTreeSet<u32>,
    queue: IdentifyQueue,
    restarts: Restarts,
    random: Random,
    actions: VecDeque<ShardingAction>,
}

/// What is awaited; drawn above.
#[derive(Debug)]
enum State {
    Backoff { until: Instant },
    AwaitAnswer { until: Instant },
    Running,
    Stopped,
}

/// What the owner of the shards has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardingAction {
    /// Asks Discord for its [`GatewayBot`], then calls [`Sharding::answered`].
    Request,
    /// Tells that it did not say; nothing to do.
    Report(GatewayBotError),
    /// Starts a shard, or starts it again after a panic.
    Start(ShardId),
    /// It is the turn of this shard: calls [`Shard::may_identify`](super::Shard::may_identify).
    Identify(ShardId),
    /// Closes all shards: there will be others.
    Close,
    /// Tells that no shard can run, and closes all. The last action.
    Fail(MainGatewayError),
}

impl Sharding {
    /// Begins. `policy` is how often, and after which pauses, a shard that panicked is started again.
    #[must_use]
    pub fn new(shards: Shards, policy: Supervision, seed: u64, now: Instant) -> Self {
        let mut sharding = Self {
            state: State::Backoff { until: now },
            failures: 0,
            refusals: 0,
            count: 1,
            size: 1,
            to_start: VecDeque::new(),
            starting: BTreeSet::new(),
            queue: IdentifyQueue::new(),
            restarts: Restarts::new(policy),
            random: Random::new(seed),
            actions: VecDeque::new(),
            shards,
        };
        if sharding.shards == Shards::One {
            sharding.run(1);
        }
        sharding
    }

    /// Takes Discord's answer to the request, or that there is none.
    pub fn answered(&mut self, answer: Result<GatewayBot, GatewayBotError>, now: Instant) {
        if !matches!(self.state, State::AwaitAnswer { .. }) {
            return;
        }
        match answer {
            Ok(GatewayBot { shards, session_start_limit }) => {
                self.failures = 0;
                self.queue.limit(&session_start_limit, now);
                if shards > self.count {
                    self.refusals = 0;
                }
                self.run(shards);
            }
            Err(GatewayBotError::Unauthorized) => self.fail(MainGatewayError::BadToken),
            Err(error) => self.request_failed(error, now),
        }
    }

    /// Takes that a shard has to identify.
    pub fn identify_requested(&mut self, shard: ShardId) {
        if shard.count == self.count {
            self.queue.push(shard.index);
        }
    }

    /// Takes that a shard lost its connection: it does not wait for its turn any more.
    pub fn connection_lost(&mut self, shard: ShardId) {
        if shard.count == self.count {
            self.queue.remove(shard.index);
        }
    }

    /// Takes that Discord refuses a shard.
    pub fn refused(&mut self, shard: ShardId, error: MainGatewayError, now: Instant) {
        if shard.count != self.count || !matches!(self.state, State::Running) {
            return;
        }
        let ask_again = error == MainGatewayError::ShardingRequired && self.shards == Shards::Auto;
        if !ask_again || self.refusals == TRIES {
            return self.fail(error);
        }
        self.refusals += 1;
        self.stop_shards();
        self.actions.push_back(ShardingAction::Close);
        self.state = State::Backoff { until: now + self.pause(self.refusals) };
    }

    /// Takes that the actor of a shard panicked.
    pub fn panicked(&mut self, shard: ShardId, now: Instant) {
        if shard.count != self.count || !matches!(self.state, State::Running) {
            return;
        }
        self.queue.remove(shard.index);
        let jitter = self.random.next() as f32;
        if let Err(TooOften) = self.restarts.panicked(shard.index, jitter, now) {
            self.fail(MainGatewayError::Panicked);
        }
    }

    /// Nothing is started any more.
    pub fn stop(&mut self) {
        self.stop_shards();
        self.state = State::Stopped;
    }

    /// How many shards the bot has in all programs.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many shards run here; none while that is not known.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        matches!(self.state, State::Running).then_some(self.size)
    }

    /// Says what to do now; ask until it returns none.
    pub fn poll(&mut self, now: Instant) -> Option<ShardingAction> {
        self.expire(now);
        self.actions.pop_front().or_else(|| self.next_shard(now))
    }

    /// Says when to [`poll`](Self::poll) again at the latest.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Backoff { until } | State::AwaitAnswer { until } => Some(until),
            State::Running => self.queue.deadline(now).into_iter().chain(self.restarts.deadline()).min(),
            State::Stopped => None,
        }
    }

    fn expire(&mut self, now: Instant) {
        match self.state {
            State::Backoff { until } if until <= now => {
                self.state = State::AwaitAnswer { until: now + ANSWER_TIMEOUT };
                self.actions.push_back(ShardingAction::Request);
            }
            State::AwaitAnswer { until } if until <= now => {
                let waited = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                self.request_failed(GatewayBotError::Unreachable(waited), now);
            }
            _ => {}
        }
    }

    fn request_failed(&mut self, error: GatewayBotError, now: Instant) {
        self.failures += 1;
        let pause = self.pause(self.failures).max(error.pause());
        let again = error.is_passing() && self.failures < TRIES;
        self.actions.push_back(ShardingAction::Report(error));
        if again {
            self.state = State::Backoff { until: now + pause };
        } else {
            // One shard, or the user's own, one after the other, is right for most bots.
            self.failures = 0;
            self.run(1);
        }
    }

    /// Runs the shards, as many as Discord recommends if the user leaves it to Discord.
    fn run(&mut self, recommended: u32) {
        let (ids, count) = match &self.shards {
            Shards::Auto => (0..recommended.max(1), recommended.max(1)),
            Shards::One => (0..1, 1),
            Shards::Of { ids, total } => (ids.clone(), *total),
        };
        self.count = count;
        self.to_start = ids.collect();
        self.size = self.to_start.len();
        self.starting.clear();
        self.state = State::Running;
    }

    /// Starts a shard, or lets one identify. No more shards wait for their turn than may identify at once.
    fn next_shard(&mut self, now: Instant) -> Option<ShardingAction> {
        if !matches!(self.state, State::Running) {
            return None;
        }
        if let Some(index) = self.restarts.pop(now) {
            return Some(ShardingAction::Start(self.id(index)));
        }
        if self.starting.len() < self.queue.max_concurrency()
            && let Some(index) = self.to_start.pop_front()
        {
            self.starting.insert(index);
            return Some(ShardingAction::Start(self.id(index)));
        }
        let index = self.queue.pop(now)?;
        self.starting.remove(&index);
        Some(ShardingAction::Identify(self.id(index)))
    }

    fn fail(&mut self, error: MainGatewayError) {
        self.stop();
        self.actions.push_back(ShardingAction::Fail(error));
    }

    fn stop_shards(&mut self) {
        self.to_start.clear();
        self.starting.clear();
        self.restarts.clear();
        self.actions.clear();
    }

    fn id(&self, index: u32) -> ShardId {
        ShardId { index, count: self.count }
    }

    /// Doubles with every failure; half of it is fixed, half is random.
    fn pause(&mut self, failures: u32) -> Duration {
        let longest = FIRST_PAUSE * 2_u32.pow(failures.saturating_sub(1).min(TRIES));
        longest / 2 + (longest / 2).mul_f64(self.random.next())
    }
}

/// How long Discord may take to answer the request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked before the bot does without an answer, and how often it may want more shards than it recommended.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
