//! Rendezvous: brings VOICE_STATE_UPDATE and VOICE_SERVER_UPDATE of one guild together into the credentials of a voice session.
//!
//! ```text
//!           join                  both events, an endpoint                 leave
//!   Away ─────────▶ Joining ───────────────────────────────▶ Joined ───────────────▶ Away
//!                    │  ▲    10 s without ▶ Failed              │  null state ▶ Disconnected, Away
//!                    ▼  │ own null state, or 1 s                │  null endpoint ▶ EndpointLost, wait
//!                   Leaving ◀───────── rejoin ──────────────────┘  another channel ▶ Moved
//! ```
//!
//! Discord never answers op 4 with an error: silence is the refusal, so every wait has a deadline.
//! See <https://docs.discord.com/developers/topics/voice-connections#retrieving-voice-server-information>.

pub mod events;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::events::{VoiceServer, VoiceState};
use crate::{
    gateway::session::Credentials,
    id::{ChannelId, GuildId, SessionId, Token, UserId},
};

/// What the main gateway is asked, and what the call is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send op 4 Voice State Update with this channel; `None` leaves.
    UpdateVoiceState(Option<ChannelId>),
    /// Both halves are here: connect to this voice server, with a fresh Identify.
    Credentials(Credentials),
    /// The voice server is gone and another is being allocated: disconnect and wait.
    EndpointLost,
    /// The bot is in another channel now; new credentials normally follow.
    Moved(ChannelId),
    /// The bot was taken out of voice, or left as asked.
    Disconnected,
    /// Nothing came back in time.
    Failed(JoinFailure),
}

/// Why no credentials came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailure {
    /// Neither event came: Discord refuses in silence.
    #[error(
        "no events came back within {}s: the channel may be full, VIEW_CHANNEL or CONNECT may be missing, \
         or the bot may not be in that guild", ANSWER.as_secs()
    )]
    NoAnswer,
    /// Only VOICE_SERVER_UPDATE came.
    #[error("VOICE_SERVER_UPDATE came but no VOICE_STATE_UPDATE: is the intent GUILD_VOICE_STATES set?")]
    NoState,
    /// Only VOICE_STATE_UPDATE came.
    #[error(
        "VOICE_STATE_UPDATE came but no VOICE_SERVER_UPDATE: does the bot forward it, and is no other session of it in voice there?"
    )]
    NoServer,
    /// The events came, with a null endpoint, and no other followed.
    #[error("no voice server was allocated within {}s: Discord has none to give now, try again later", ALLOCATION.as_secs())]
    NoEndpoint,
}

/// The machine of one guild.
#[derive(Debug)]
pub struct Rendezvous {
    guild: GuildId,
    user: UserId,
    target: Option<ChannelId>,
    state: State,
    orders: VecDeque<Action>,
}

#[derive(Debug)]
enum State {
    Away,
    Leaving { until: Instant },
    Joining { halves: Halves, until: Instant },
    Joined { session_id: SessionId, channel: ChannelId, server: Option<Server>, until: Option<Instant> },
}

/// What has arrived of the two events.
#[derive(Debug, Default)]
struct Halves {
    state: Option<(SessionId, ChannelId)>,
    server: Option<Server>,
    null_endpoint: Endpoint,
}

#[derive(Clone, Debug)]
struct Server {
    token: Token,
    endpoint: String,
    since: Instant,
}

/// Whether a null endpoint was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Endpoint {
    #[default]
    Unseen,
    Null,
}

impl Rendezvous {
    /// A bot that is in no channel of this guild.
    pub fn new(guild: GuildId, user: UserId) -> Self {
        Self { guild, user, target: None, state: State::Away, orders: VecDeque::new() }
    }

    /// The user wants to be in this channel; in another one already, it is a move.
    pub fn join(&mut self, channel: ChannelId, now: Instant) {
        self.target = Some(channel);
        self.ask(channel, now);
    }

    /// The voice session is of no use any more: leave, and join again, for fresh credentials.
    pub fn rejoin(&mut self, now: Instant) {
        if self.target.is_none() {
            return;
        }
        self.orders.push_back(Action::UpdateVoiceState(None));
        self.state = State::Leaving { until: now + GOODBYE };
    }

    /// The main gateway began a new session, which is in no voice channel: join again.
    pub fn session_replaced(&mut self, now: Instant) {
        if let Some(channel) = self.target {
            self.ask(channel, now);
        }
    }

    /// The user wants to leave.
    pub fn leave(&mut self) {
        self.target = None;
        self.state = State::Away;
        self.orders.push_back(Action::UpdateVoiceState(None));
    }

    /// VOICE_STATE_UPDATE of any user; others than the bot itself, and other guilds, are ignored.
    pub fn voice_state(&mut self, event: &VoiceState, now: Instant) {
        if event.user != self.user || event.guild != Some(self.guild) {
            return;
        }
        match event.channel {
            Some(channel) => self.in_channel(channel, event.session_id.clone(), now),
            None => self.out_of_voice(now),
        }
    }

    /// VOICE_SERVER_UPDATE.
    pub fn voice_server(&mut self, event: &VoiceServer, now: Instant) {
        if event.guild != self.guild {
            return;
        }
        let server = event.endpoint.clone().filter(|endpoint| !endpoint.is_empty()).map(|endpoint| Server {
            token: event.token.clone(),
            endpoint,
            since: now,
        });
        match &mut self.state {
            State::Joining { halves, until } => {
                if server.is_none() {
                    halves.null_endpoint = Endpoint::Null;
                    *until = now + ALLOCATION;
                }
                halves.server = server;
                self.meet(now);
            }
            State::Joined { session_id, channel, server: known, until } => match server {
                Some(server) => {
                    *until = None;
                    *known = Some(server.clone());
                    let credentials = credentials(self.guild, self.user, *channel, session_id, server);
                    self.orders.push_back(Action::Credentials(credentials));
                }
                None => {
                    *known = None;
                    *until = Some(now + ALLOCATION);
                    self.orders.push_back(Action::EndpointLost);
                }
            },
            State::Away | State::Leaving { .. } => {}
        }
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.orders.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        self.orders.pop_front()
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Away => None,
            State::Leaving { until } | State::Joining { until, .. } => Some(*until),
            State::Joined { until, .. } => *until,
        }
    }

    fn ask(&mut self, channel: ChannelId, now: Instant) {
        self.orders.push_back(Action::UpdateVoiceState(Some(channel)));
        self.state = State::Joining { halves: Halves::default(), until: now + ANSWER };
    }

    fn in_channel(&mut self, channel: ChannelId, session_id: SessionId, now: Instant) {
        match &mut self.state {
            State::Joining { halves, .. } => {
                halves.state = Some((session_id, channel));
                self.meet(now);
            }
            State::Joined { session_id: known, channel: was, server, until } => {
                *known = session_id;
                if *was == channel {
                    return;
                }
                *was = channel;
                self.target = Some(channel);
                self.orders.push_back(Action::Moved(channel));
                // The server half normally follows the state; where it came just before, it is already in hand.
                match server.take().filter(|server| now.duration_since(server.since) < RACE) {
                    Some(server) => {
                        let credentials = credentials(self.guild, self.user, channel, known, server);
                        self.orders.push_back(Action::Credentials(credentials));
                    }
                    None => *until = Some(now + ANSWER),
                }
            }
            State::Away | State::Leaving { .. } => {}
        }
    }

    fn out_of_voice(&mut self, now: Instant) {
        match (&self.state, self.target) {
            (State::Leaving { .. }, Some(channel)) => self.ask(channel, now),
            (State::Joined { .. }, _) => {
                self.state = State::Away;
                self.target = None;
                self.orders.push_back(Action::Disconnected);
            }
            // A null state while joining belongs to the session before.
            _ => {}
        }
    }

    fn meet(&mut self, now: Instant) {
        let State::Joining { halves, .. } = &mut self.state else { return };
        let (Some((session_id, channel)), Some(server)) = (&halves.state, &halves.server) else { return };
        let (session_id, channel, server) = (session_id.clone(), *channel, server.clone());
        let found = credentials(self.guild, self.user, channel, &session_id, server.clone());
        self.orders.push_back(Action::Credentials(found));
        self.target = Some(channel);
        self.state =
            State::Joined { session_id, channel, server: Some(Server { since: now, ..server }), until: None };
    }

    fn expire(&mut self, now: Instant) {
        match &self.state {
            State::Leaving { .. } => match self.target {
                Some(channel) => self.ask(channel, now),
                None => self.state = State::Away,
            },
            State::Joining { halves, .. } => {
                let failure = halves.missing();
                self.fail(failure);
            }
            State::Joined { server: None, .. } => self.fail(JoinFailure::NoEndpoint),
            State::Joined { .. } | State::Away => {}
        }
    }

    fn fail(&mut self, failure: JoinFailure) {
        self.state = State::Away;
        self.orders.push_back(Action::Failed(failure));
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

fn credentials(
    guild: GuildId,
    user: UserId,
    channel: ChannelId,
    session_id: &SessionId,
    server: Server,
) -> Credentials {
    Credentials {
        guild,
        channel,
        user,
        session_id: session_id.clone(),
        token: server.token,
        endpoint: server.endpoint,
    }
}

/// How long the two events may take; peers use 5 to 30 s.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long Discord may take to allocate another voice server after a null endpoint.
pub const ALLOCATION: Duration = Duration::from_secs(60);
/// How long to wait for the null state before joining again.
const GOODBYE: Duration = Duration::from_secs(1);
/// How far apart the two events of one move may be when the server half comes first.
const RACE: Duration = Duration::from_secs(2);
