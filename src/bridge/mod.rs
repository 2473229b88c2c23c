//! Rendezvous: brings VOICE_STATE_UPDATE and VOICE_SERVER_UPDATE of one guild together into the credentials of a voice session.
//!
//! ```text
//!           join                  both events, an endpoint                 leave
//!   Away ─────────▶ Joining ───────────────────────────────▶ Joined ───────────────▶ Leaving
//!                    │  ▲    10 s without ▶ Failed, Away       │  null state ▶ Disconnected, Away
//!                    ▼  │ own null state, or 1 s                │  null endpoint ▶ EndpointLost, wait
//!                   Leaving ◀───────── rejoin ──────────────────┤  another channel ▶ Moved
//!                       │ ... and nowhere to be                 │  join elsewhere ▶ Moved, or 10 s ▶ NotMoved
//!                       ▼                                       ▼
//!                      Away                                   Joined
//! ```
//!
//! Discord never answers op 4 with an error: silence is the refusal, so every wait has a deadline. A refused move
//! leaves the bot where it is, and so does this machine.
//! See <https://docs.discord.com/developers/topics/voice-connections#retrieving-voice-server-information>.

mod action;
pub mod events;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::action::{Action, JoinFailure, Suppression};
use self::events::{VoiceServer, VoiceState};
use crate::{
    gateway::session::Credentials,
    id::{ChannelId, GuildId, SessionId, Token, UserId},
};

/// The machine of one guild.
#[derive(Debug)]
pub struct GuildVoice {
    guild: GuildId,
    user: UserId,
    /// Where the user wants to be.
    target: Option<ChannelId>,
    /// Until when Discord may take to bring the bot there; none once it has.
    asked: Option<Instant>,
    /// Where the bot is, or was when it was last in voice.
    home: Option<ChannelId>,
    silenced: Option<Suppression>,
    state: State,
    orders: VecDeque<Action>,
}

#[derive(Debug)]
enum State {
    Away,
    Leaving { until: Instant },
    Joining { halves: Halves, until: Instant },
    Joined { session_id: SessionId, channel: ChannelId, server: ServerHalf },
}

/// What has arrived of the two events.
#[derive(Debug, Default)]
struct Halves {
    state: Option<(SessionId, ChannelId)>,
    server: Option<Server>,
    null_endpoint: Endpoint,
}

/// The second half, of a bot that is in voice.
#[derive(Debug)]
enum ServerHalf {
    /// It was told; at this time, if it came unasked and was taken for one of the same channel.
    Told { guessed: Option<Instant> },
    /// It came unasked; if it belongs to a move, the other half is here in a moment.
    Held { server: Server, until: Instant },
    /// There must be another.
    Awaited { until: Instant, without: JoinFailure },
}

#[derive(Clone, Debug)]
struct Server {
    token: Token,
    endpoint: String,
}

/// Whether a null endpoint was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Endpoint {
    #[default]
    Unseen,
    Null,
}

impl GuildVoice {
    /// A bot that is in no channel of this guild.
    pub fn new(guild: GuildId, user: UserId) -> Self {
        Self {
            guild,
            user,
            target: None,
            asked: None,
            home: None,
            silenced: None,
            state: State::Away,
            orders: VecDeque::new(),
        }
    }

    /// The user wants to be in this channel; in another one already, it is a move.
    pub fn join(&mut self, channel: ChannelId, now: Instant) {
        let before = self.target.replace(channel);
        match self.state {
            // Discord would answer with half of what it takes to join, or not at all.
            State::Joining { .. } | State::Joined { .. } if before == Some(channel) => {}
            State::Joined { .. } => self.request(channel, now),
            State::Joining { ref mut until, .. } => {
                *until = now + ANSWER;
                self.request(channel, now);
            }
            State::Leaving { .. } => {}
            State::Away => self.enter(channel, now),
        }
    }

    /// Another call wants to be in this channel, and knows nothing of what the one before was told.
    pub fn take_over(&mut self, channel: ChannelId, now: Instant) {
        self.target = Some(channel);
        self.silenced = None;
        match self.state {
            State::Joining { .. } | State::Joined { .. } => self.part(now),
            State::Leaving { .. } => {}
            State::Away => self.enter(channel, now),
        }
    }

    /// The bot is in voice already, with these credentials: the machine before this one was lost.
    pub fn adopt(&mut self, credentials: &Credentials) {
        let Credentials { channel, session_id, .. } = credentials.clone();
        self.target = Some(channel);
        self.home = Some(channel);
        self.state = State::Joined { session_id, channel, server: ServerHalf::Told { guessed: None } };
    }

    /// The bot is no longer in the guild, or the guild is unavailable: there is nothing to leave, and nowhere to be.
    pub fn guild_deleted(&mut self) {
        *self = Self::new(self.guild, self.user);
    }

    /// The voice session is of no use any more: leave, and join again, for fresh credentials.
    pub fn rejoin(&mut self, now: Instant) {
        if self.target.is_some() && !matches!(self.state, State::Leaving { .. }) {
            self.part(now);
        }
    }

    /// The main gateway began a new session, which is in no voice channel: join again.
    pub fn session_replaced(&mut self, now: Instant) {
        match self.target {
            Some(channel) => self.enter(channel, now),
            None => self.state = State::Away,
        }
    }

    /// The main gateway is back and its session goes on. What was asked while it was away may not have arrived.
    pub fn session_resumed(&mut self, now: Instant) {
        let (target, answer) = (self.target, now + ANSWER);
        match (&mut self.state, target) {
            (State::Away, _) => {}
            (State::Leaving { .. }, _) => self.part(now),
            (State::Joining { until, .. }, Some(channel)) => {
                *until = answer.max(*until);
                self.request(channel, now);
            }
            (State::Joined { server, .. }, Some(channel)) => {
                if let ServerHalf::Awaited { until, .. } = server {
                    *until = answer.max(*until);
                }
                if self.asked.is_some() {
                    self.request(channel, now);
                }
            }
            (State::Joining { .. } | State::Joined { .. }, None) => {}
        }
    }

    /// The user wants to leave.
    pub fn leave(&mut self, now: Instant) {
        self.target = None;
        self.home = None;
        self.part(now);
    }

    /// Whether nothing is asked for and nothing awaited.
    pub fn is_away(&self) -> bool {
        matches!(self.state, State::Away)
    }

    /// VOICE_STATE_UPDATE of any user; others than the bot itself, and other guilds, are ignored.
    pub fn voice_state(&mut self, event: &VoiceState, now: Instant) {
        if event.user != self.user || event.guild != Some(self.guild) {
            return;
        }
        match event.channel {
            Some(channel) => {
                self.in_channel(channel, event.session_id.clone(), now);
                self.heard(event);
            }
            None => self.out_of_voice(now),
        }
    }

    fn heard(&mut self, event: &VoiceState) {
        let silenced = match event {
            VoiceState { suppress: true, .. } => Some(Suppression::Suppressed),
            VoiceState { mute: true, .. } => Some(Suppression::Muted),
            _ => None,
        };
        if std::mem::replace(&mut self.silenced, silenced) != silenced {
            self.orders.push_back(Action::Suppression(silenced));
        }
    }

    /// VOICE_SERVER_UPDATE.
    pub fn voice_server(&mut self, event: &VoiceServer, now: Instant) {
        if event.guild != self.guild {
            return;
        }
        let endpoint = event.endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        let offered = endpoint.map(|endpoint| Server { token: event.token.clone(), endpoint });
        match (&mut self.state, offered) {
            (State::Joining { halves, until }, None) => {
                halves.server = None;
                halves.null_endpoint = Endpoint::Null;
                if halves.state.is_some() {
                    *until = now + ALLOCATION;
                }
            }
            (State::Joining { halves, .. }, server) => {
                halves.server = server;
                self.meet();
            }
            (State::Joined { server, .. }, None) => {
                *server = ServerHalf::Awaited { until: now + ALLOCATION, without: JoinFailure::NoEndpoint };
                self.orders.push_back(Action::EndpointLost);
            }
            (State::Joined { server: known, .. }, Some(server)) => match known {
                ServerHalf::Awaited { .. } => self.tell(server, None),
                ServerHalf::Held { until, .. } => *known = ServerHalf::Held { server, until: *until },
                ServerHalf::Told { .. } => *known = ServerHalf::Held { server, until: now + RACE },
            },
            (State::Away | State::Leaving { .. }, _) => {}
        }
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        while self.orders.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        self.orders.pop_front()
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Away => None,
            State::Leaving { until } | State::Joining { until, .. } => Some(*until),
            State::Joined { server, .. } => self.asked.into_iter().chain(server.until()).min(),
        }
    }

    /// Asks to be in a channel, from wherever the bot is.
    fn request(&mut self, channel: ChannelId, now: Instant) {
        self.asked = Some(now + ANSWER);
        self.orders.push_back(Action::UpdateVoiceState(Some(channel)));
    }

    fn enter(&mut self, channel: ChannelId, now: Instant) {
        self.request(channel, now);
        self.state = State::Joining { halves: Halves::default(), until: now + ANSWER };
    }

    /// Leaves; what Discord still sends of the session before is of no interest until it has said goodbye.
    fn part(&mut self, now: Instant) {
        self.asked = None;
        self.state = State::Leaving { until: now + GOODBYE };
        self.orders.push_back(Action::UpdateVoiceState(None));
    }

    fn in_channel(&mut self, channel: ChannelId, session_id: SessionId, now: Instant) {
        match &mut self.state {
            State::Joining { halves, until } => {
                let first = halves.state.replace((session_id, channel)).is_none();
                if first && halves.null_endpoint == Endpoint::Null && halves.server.is_none() {
                    *until = now + ALLOCATION;
                }
                self.arrive(channel);
                self.meet();
            }
            State::Joined { session_id: known, channel: was, .. } => {
                *known = session_id;
                let moved = std::mem::replace(was, channel) != channel;
                self.arrive(channel);
                if moved {
                    self.home = Some(channel);
                    self.orders.push_back(Action::Moved(channel));
                    self.follow(now);
                }
            }
            State::Away | State::Leaving { .. } => {}
        }
    }

    /// The bot is where the user wants it; or else somebody moved it, unless it has not been there yet.
    fn arrive(&mut self, channel: ChannelId) {
        if self.target == Some(channel) {
            self.asked = None;
        } else if self.asked.is_none() {
            self.target = Some(channel);
        }
    }

    /// After a move there is another voice server, which may have been told just before.
    fn follow(&mut self, now: Instant) {
        let State::Joined { server, .. } = &mut self.state else { return };
        match server {
            ServerHalf::Held { server, .. } => {
                let server = server.clone();
                self.tell(server, None);
            }
            ServerHalf::Awaited { without: JoinFailure::NoEndpoint, .. } => {}
            // It was of the new channel, and is spent on the old one: only joining anew brings another.
            ServerHalf::Told { guessed: Some(at) } if now.duration_since(*at) < LATE => {
                *server = ServerHalf::Awaited { until: now, without: JoinFailure::NoServer };
            }
            ServerHalf::Told { .. } | ServerHalf::Awaited { .. } => {
                *server = ServerHalf::Awaited { until: now + ANSWER, without: JoinFailure::NoServer };
            }
        }
    }

    fn out_of_voice(&mut self, now: Instant) {
        match &self.state {
            State::Leaving { .. } => self.gone(now),
            // Before its own voice state, a null state belongs to the session before.
            State::Joining { halves: Halves { state: None, .. }, .. } | State::Away => {}
            State::Joining { .. } | State::Joined { .. } => {
                self.state = State::Away;
                self.target = None;
                self.home = None;
                self.asked = None;
                self.orders.push_back(Action::Disconnected);
            }
        }
    }

    /// The bot has left; it comes back if there is somewhere to be.
    fn gone(&mut self, now: Instant) {
        match self.target {
            Some(channel) => self.enter(channel, now),
            None => self.state = State::Away,
        }
    }

    fn meet(&mut self) {
        let State::Joining { halves, .. } = &mut self.state else { return };
        let Some(server) = halves.server.clone() else { return };
        let Some((session_id, channel)) = halves.state.take() else { return };
        self.home = Some(channel);
        self.state = State::Joined { session_id, channel, server: ServerHalf::Told { guessed: None } };
        self.tell(server, None);
    }

    fn tell(&mut self, Server { token, endpoint }: Server, guessed: Option<Instant>) {
        let State::Joined { session_id, channel, server } = &mut self.state else { return };
        *server = ServerHalf::Told { guessed };
        self.orders.push_back(Action::Credentials(Credentials {
            guild: self.guild,
            channel: *channel,
            user: self.user,
            session_id: session_id.clone(),
            token,
            endpoint,
        }));
    }

    fn expire(&mut self, now: Instant) {
        match &self.state {
            State::Leaving { .. } => self.gone(now),
            State::Joining { halves, .. } => {
                let failure = halves.missing();
                self.fail(failure);
            }
            State::Joined { server: ServerHalf::Held { server, until }, .. } if *until <= now => {
                let server = server.clone();
                self.tell(server, Some(now));
            }
            State::Joined { server: ServerHalf::Awaited { until, without }, .. } if *until <= now => {
                let failure = *without;
                self.fail(failure);
            }
            State::Joined { .. } => self.stay(JoinFailure::NoAnswer),
            State::Away => {}
        }
    }

    /// The channel asked for last is out of reach: the one before is home again.
    fn stay(&mut self, failure: JoinFailure) {
        self.asked = None;
        if self.home.is_some() && self.target != self.home {
            self.target = self.home;
            self.orders.push_back(Action::NotMoved(failure));
        }
    }

    fn fail(&mut self, failure: JoinFailure) {
        self.stay(failure);
        self.state = State::Away;
        self.orders.push_back(Action::Failed(failure));
    }
}

impl ServerHalf {
    fn until(&self) -> Option<Instant> {
        match self {
            Self::Told { .. } => None,
            Self::Held { until, .. } | Self::Awaited { until, .. } => Some(*until),
        }
    }
}

impl Halves {
    fn missing(&self) -> JoinFailure {
        match (&self.state, &self.server, self.null_endpoint) {
            (Some(_), None, Endpoint::Null) => JoinFailure::NoEndpoint,
            (Some(_), _, _) => JoinFailure::NoServer,
            (None, None, Endpoint::Unseen) => JoinFailure::NoAnswer,
            (None, _, _) => JoinFailure::NoState,
        }
    }
}

/// How long the two events may take; peers use 5 to 30 s.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long Discord may take to allocate another voice server after a null endpoint.
pub const ALLOCATION: Duration = Duration::from_secs(60);
/// How long to wait for the null state before joining again.
const GOODBYE: Duration = Duration::from_secs(1);
/// How much later than the server half the state half of a move may come. They are two messages on one websocket.
/// Little enough for another server without a move, and enough for bots that pass their events on by detours.
const RACE: Duration = Duration::from_millis(500);
/// How much later it is still taken for the other half of that move.
const LATE: Duration = Duration::from_secs(2);
