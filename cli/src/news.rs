//! News: what the main gateway and the calls have told so far, for whoever waits for something in it.

use std::collections::{HashMap, HashSet};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{
        CallEvent, CallEventKind,
        main_gateway::{Dispatch, MainGatewayError, MainGatewayEvent},
    },
    call::{ConnectionStatus, EndReason},
    id::{ChannelId, GuildId, UserId},
    speaker::{TrackEnd, TrackId},
};
use tokio::sync::watch;

use crate::screen::Screen;

/// What is known.
#[derive(Debug, Default)]
pub struct Standing {
    /// The bot, once the main gateway has let it in.
    pub user: Option<UserId>,
    /// Why it does not.
    pub refused: Option<MainGatewayError>,
    /// Why it could not be reached.
    pub unreachable: Option<String>,
    /// The guilds with at least one voice channel, in the order told, and the first of their voice channels.
    pub guilds: Vec<(GuildId, ChannelId)>,
    /// Where a track has begun.
    pub speaking: HashSet<GuildId>,
    /// The tracks that are over.
    pub tracks: HashMap<TrackId, TrackEnd>,
    /// The calls that are over.
    pub calls: HashMap<GuildId, EndReason>,
}

/// The actor that is told.
pub struct News {
    standing: watch::Sender<Standing>,
    screen: Screen,
}

impl News {
    /// An actor that knows nothing yet, and what it will know.
    pub fn new(screen: Screen) -> (Self, watch::Receiver<Standing>) {
        let (sender, standing) = watch::channel(Standing::default());
        (Self { standing: sender, screen }, standing)
    }

    fn dispatched(standing: &mut Standing, dispatch: Dispatch) {
        match dispatch {
            Dispatch::Ready { user, .. } => standing.user = Some(user),
            Dispatch::GuildAvailable { guild, voice_channels, .. } => {
                let known = standing.guilds.iter().any(|(known, _)| *known == guild);
                if let Some((channel, _)) = voice_channels.first().filter(|_| !known) {
                    standing.guilds.push((guild, *channel));
                }
            }
            _ => {}
        }
    }
}

impl Actor for News {
    type Context = Context<Self>;
}

impl Handler<MainGatewayEvent> for News {
    type Result = ();

    fn handle(&mut self, event: MainGatewayEvent, _: &mut Context<Self>) {
        match event {
            MainGatewayEvent::Dispatch(dispatch) => {
                self.standing.send_modify(|standing| Self::dispatched(standing, dispatch));
            }
            // Before the bot is let in, the failure itself is told.
            MainGatewayEvent::Reconnecting(why) if self.standing.borrow().user.is_some() => {
                self.screen.say(format_args!("main gateway: {why}; connecting again"));
            }
            MainGatewayEvent::Unreachable(why) => {
                self.standing.send_modify(|standing| standing.unreachable = Some(why));
            }
            MainGatewayEvent::Refused(error) => {
                self.standing.send_modify(|standing| standing.refused = Some(error));
            }
            _ => {}
        }
    }
}

impl Handler<CallEvent> for News {
    type Result = ();

    fn handle(&mut self, CallEvent { guild, kind, .. }: CallEvent, _: &mut Context<Self>) {
        match kind {
            CallEventKind::Connection(ConnectionStatus::Connected) => self.screen.say("connected"),
            CallEventKind::Connection(ConnectionStatus::Resumed) => self.screen.say("resumed"),
            CallEventKind::Connection(ConnectionStatus::Resuming(cause)) => {
                self.screen.say(format_args!("{cause}; resuming, the audio plays on"));
            }
            CallEventKind::Connection(ConnectionStatus::Reconnecting(cause)) => {
                self.screen.say(format_args!("{cause}; joining anew, the audio waits"));
            }
            CallEventKind::Moved(channel) => self.screen.say(format_args!("moved to channel {channel}")),
            CallEventKind::E2ee(state) if state.privacy_code.is_some() => self.screen.say(state),
            CallEventKind::TrackStalled(_) => self.screen.say("the source is late; playing silence"),
            CallEventKind::TrackStarted(_) => self.standing.send_modify(|standing| {
                standing.speaking.insert(guild);
            }),
            CallEventKind::TrackEnded(track, end) => self.standing.send_modify(|standing| {
                standing.tracks.insert(track, end);
            }),
            CallEventKind::Ended(reason) => self.standing.send_modify(|standing| {
                standing.calls.insert(guild, reason);
            }),
            _ => {}
        }
    }
}
