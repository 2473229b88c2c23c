//! The actor that collects the events of the main gateway and the calls, for whoever waits for one of them.

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
    transport::PathStatus,
};
use tokio::sync::watch;

use crate::screen::Screen;

/// What the events so far say about the bot and its calls.
#[derive(Debug, Default)]
pub struct BotStatus {
    /// The bot's user, once the main gateway has let it in.
    pub user: Option<UserId>,
    /// Why the main gateway does not let it in.
    pub refused: Option<MainGatewayError>,
    /// Why the main gateway could not be reached.
    pub unreachable: Option<String>,
    /// The guilds with at least one voice channel, in the order in which they came, and the first of their voice channels.
    pub guilds: Vec<(GuildId, ChannelId)>,
    /// The guilds in which a track has begun.
    pub speaking: HashSet<GuildId>,
    /// The tracks that have ended, and how.
    pub ended_tracks: HashMap<TrackId, TrackEnd>,
    /// The calls that have ended, and why.
    pub ended_calls: HashMap<GuildId, EndReason>,
}

/// Receives the events and keeps the [`BotStatus`] up to date.
pub struct EventCollector {
    status: watch::Sender<BotStatus>,
    screen: Screen,
}

impl EventCollector {
    /// An actor that has no events yet, and the status that it will keep.
    pub fn new(screen: Screen) -> (Self, watch::Receiver<BotStatus>) {
        let (sender, status) = watch::channel(BotStatus::default());
        (Self { status: sender, screen }, status)
    }

    fn apply_dispatch(status: &mut BotStatus, dispatch: Dispatch) {
        match dispatch {
            Dispatch::Ready { user, .. } => status.user = Some(user),
            Dispatch::GuildAvailable { guild, voice_channels, .. } => {
                let known = status.guilds.iter().any(|(known, _)| *known == guild);
                if let Some(channel) = voice_channels.first().filter(|_| !known) {
                    status.guilds.push((guild, channel.id));
                }
            }
            _ => {}
        }
    }
}

impl Actor for EventCollector {
    type Context = Context<Self>;
}

impl Handler<MainGatewayEvent> for EventCollector {
    type Result = ();

    fn handle(&mut self, event: MainGatewayEvent, _: &mut Context<Self>) {
        match event {
            MainGatewayEvent::Dispatch { dispatch, .. } => {
                self.status.send_modify(|status| Self::apply_dispatch(status, dispatch));
            }
            // Before the bot is let in, the failure of the command says it.
            MainGatewayEvent::Reconnecting { why, .. } if self.status.borrow().user.is_some() => {
                self.screen.print_line(format_args!("main gateway: {why}; connecting again"));
            }
            MainGatewayEvent::Unreachable { why, .. } => {
                self.status.send_modify(|status| status.unreachable = Some(why));
            }
            MainGatewayEvent::Refused(error) => {
                self.status.send_modify(|status| status.refused = Some(error));
            }
            _ => {}
        }
    }
}

impl Handler<CallEvent> for EventCollector {
    type Result = ();

    fn handle(&mut self, CallEvent { guild, kind, .. }: CallEvent, _: &mut Context<Self>) {
        match kind {
            CallEventKind::Connection(ConnectionStatus::Connected) => self.screen.print_line("connected"),
            CallEventKind::Connection(ConnectionStatus::Resumed) => self.screen.print_line("resumed"),
            CallEventKind::Connection(ConnectionStatus::Resuming(cause)) => {
                self.screen.print_line(format_args!("{cause}; resuming, the audio plays on"));
            }
            CallEventKind::Connection(ConnectionStatus::Reconnecting(cause)) => {
                self.screen.print_line(format_args!("{cause}; joining anew, the audio waits"));
            }
            CallEventKind::MediaPath(PathStatus::Dead(why)) => {
                self.screen.print_line(format_args!(
                    "{why}; trying another UDP socket, the audio is lost meanwhile"
                ));
            }
            CallEventKind::MediaPath(PathStatus::Restored) => {
                self.screen.print_line("the UDP path is restored")
            }
            CallEventKind::Moved(channel) => {
                self.screen.print_line(format_args!("moved to channel {channel}"))
            }
            CallEventKind::E2ee(state) if state.privacy_code.is_some() => self.screen.print_line(state),
            CallEventKind::TrackStalled(_) => self.screen.print_line("the source is late; playing silence"),
            CallEventKind::TrackStarted(_) => self.status.send_modify(|status| {
                status.speaking.insert(guild);
            }),
            CallEventKind::TrackEnded(track, end) => self.status.send_modify(|status| {
                status.ended_tracks.insert(track, end);
            }),
            CallEventKind::Ended(reason) => self.status.send_modify(|status| {
                status.ended_calls.insert(guild, reason);
            }),
            _ => {}
        }
    }
}
