//! Shards: how many main gateways a bot is told to use, how fast they may identify, and how often.
//!
//! <https://docs.discord.com/developers/events/gateway#sharding>

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::State;
use super::main_sessions::Shard;
use crate::builder::ShardSettings;
use crate::log::{Entry, Event, Side};
use crate::rule::Rule;

/// The owner of what bots are told about shards, and of how they keep to it.
#[derive(Debug)]
pub(super) struct Sharding {
    settings: ShardSettings,
    /// With fewer shards, Identify is refused.
    required: u64,
    /// When each rate-limit key of a user was used last.
    identified: BTreeMap<(u64, u64), Instant>,
    /// Identifies of each user.
    starts: BTreeMap<u64, u64>,
    /// What the next requests are answered with.
    failures: Vec<u16>,
}

impl Sharding {
    pub(super) fn new(settings: ShardSettings) -> Self {
        Self {
            settings,
            required: 1,
            identified: BTreeMap::new(),
            starts: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// The fewest shards that are let in; more of them are recommended then too.
    pub(super) fn required(&self) -> u64 {
        self.required
    }

    /// Counts an Identify; says whether the one before of the same rate-limit key is five seconds ago. A bot that does not
    /// shard may run in several programs, which know nothing of each other: it is let in at once.
    fn identify(&mut self, user: u64, shard: Shard, now: Instant) -> bool {
        *self.starts.entry(user).or_default() += 1;
        if shard.count == 1 {
            return true;
        }
        let key = (user, shard.index % self.settings.max_concurrency.max(1));
        let before = self.identified.insert(key, now);
        before.is_none_or(|before| now.duration_since(before) >= IDENTIFY_WINDOW)
    }

    fn remaining(&self, user: u64) -> u64 {
        self.settings.session_starts.saturating_sub(self.starts.get(&user).copied().unwrap_or(0))
    }
}

impl State {
    /// Counts an Identify of a user; says whether it is let in.
    pub(super) fn may_identify(&mut self, id: u64, user: u64, shard: Shard, now: Instant) -> bool {
        if self.sharding.remaining(user) == 0 {
            self.log.violation(now, Some(user), Rule::NoSessionStartLeft);
        }
        let spaced = self.sharding.identify(user, shard, now);
        if !spaced {
            self.log.violation(now, Some(user), Rule::IdentifiedTooSoon { shard: shard.index });
            self.send_plain(id, crate::opcodes::main::INVALID_SESSION, Value::Bool(false), now);
        }
        spaced
    }

    /// Refuses bots with fewer shards with 4011, and recommends as many.
    pub(crate) fn require_shards(&mut self, count: u64) {
        self.sharding.required = count;
        self.sharding.settings.recommended = self.sharding.settings.recommended.max(count);
    }

    /// Answers the next requests for the gateway with this status.
    pub(crate) fn fail_rest(&mut self, requests: usize, status: u16) {
        self.sharding.failures.extend(std::iter::repeat_n(status, requests));
    }

    /// Answers `GET /gateway/bot`: a status, and a body.
    pub(crate) fn gateway_bot(&mut self, authorization: Option<&str>, now: Instant) -> (u16, Value) {
        let user = authorization
            .filter(|authorization| authorization.starts_with("Bot "))
            .and_then(|token| self.directory.user_of_token(token));
        let failure = self.sharding.failures.pop();
        let (status, body) = match (failure, user) {
            (Some(status), _) => (status, json!({"message": "a fault of the loopback", "code": 0})),
            (None, None) => (401, json!({"message": "401: Unauthorized", "code": 0})),
            (None, Some(user)) => (200, self.gateway_of(user)),
        };
        self.log.push(Entry {
            at: now,
            side: Side::Main,
            connection: 0,
            user,
            event: Event::Rest { status },
        });
        (status, body)
    }

    fn gateway_of(&self, user: u64) -> Value {
        let ShardSettings { recommended, max_concurrency, session_starts, reset_after } =
            &self.sharding.settings;
        json!({
            "url": self.addresses.gateway_url,
            "shards": recommended,
            "session_start_limit": {
                "total": session_starts,
                "remaining": self.sharding.remaining(user),
                "reset_after": u64::try_from(reset_after.as_millis()).unwrap_or(u64::MAX),
                "max_concurrency": max_concurrency,
            },
        })
    }
}

/// Discord takes one Identify of a rate-limit key in this time.
const IDENTIFY_WINDOW: Duration = Duration::from_secs(5);
