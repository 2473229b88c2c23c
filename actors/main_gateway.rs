//! MainGateway: a connection to Discord's main gateway, for bots that have none of their own.

use std::sync::Arc;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient,
    ResponseFuture, SpawnHandle, StreamHandler, WrapFuture,
};
use rustls::ClientConfig;
use tokio::sync::oneshot;

use super::{
    bridge::{
        GuildDeleted, MainGatewayLost, MainGatewayRestored, MainSessionReplaced, Plug, VoiceServerUpdate,
        VoiceStateUpdate,
    },
    config::{Config, Encryption},
    driven::{Alarm, Driven, now},
    manager::{ChannelBitrate, RunOnControlArbiter, Unplug, VoiceManager},
    websocket::{self, Incoming, Reader, Writer},
};
pub use crate::main_gateway::{Dispatch, Loss, MainGatewayError};
use crate::{
    bridge::events::UpdateVoiceState,
    gateway::payload::Outgoing,
    id::{Token, UserId},
    main_gateway::{Action, DISCORD, Shard},
};

/// **MainGateway → your actor.** What happens on the main gateway.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum MainGatewayEvent {
    /// An event that concerns voice.
    Dispatch(Dispatch),
    /// The connection was lost; another is tried soon.
    Reconnecting(Loss),
    /// Why the connection could not be opened; another is tried soon.
    Unreachable(String),
    /// Discord refuses the bot; the actor stops.
    Refused(MainGatewayError),
}

/// **Your bot → MainGateway.** Wait for Discord. Answered once it has let the bot in, so that channels can be joined,
/// refuses it, or cannot be reached.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<UserId, LoginError>")]
pub struct Login;

/// Why a bot was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// Discord refuses the bot.
    #[error(transparent)]
    Refused(#[from] MainGatewayError),
    /// The gateway cannot be reached now; the actor goes on trying.
    #[error("the main gateway cannot be reached: {0}")]
    Unreachable(String),
    /// It logged out before it was let in.
    #[error("logged out before Discord let the bot in")]
    LoggedOut,
}

/// **Your bot → MainGateway.** End the session; the bot leaves all voice channels. Answered once Discord has been told.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Logout;

/// The actor over [`Shard`]. It plugs itself into the manager once Discord has said who the bot is.
pub struct MainGateway {
    shard: Shard,
    tls: Arc<ClientConfig>,
    manager: Addr<VoiceManager>,
    listener: Option<Recipient<MainGatewayEvent>>,
    writer: Option<Writer>,
    input: Option<SpawnHandle>,
    user: Option<UserId>,
    sessions: u64,
    waiting: Vec<oneshot::Sender<Result<UserId, LoginError>>>,
    alarm: Alarm,
}

impl MainGateway {
    /// A bot with this token on Discord's own gateway.
    #[must_use]
    pub fn new(token: Token, config: &Config, manager: Addr<VoiceManager>) -> Self {
        Self::at(DISCORD, token, config, manager)
    }

    /// A bot on another server, `ws://host:port` or `wss://host:port`.
    #[must_use]
    pub fn at(url: &str, token: Token, config: &Config, manager: Addr<VoiceManager>) -> Self {
        let encryption = if url.starts_with("ws://") { Encryption::None } else { Encryption::Tls };
        Self {
            shard: Shard::new(token, url, fastrand::u64(..), now()),
            tls: config.tls(encryption),
            manager,
            listener: None,
            writer: None,
            input: None,
            user: None,
            sessions: 0,
            waiting: Vec::new(),
            alarm: Alarm::default(),
        }
    }

    /// Starts the gateway, beside its manager: on the same arbiter, so that no user code holds it up. It needs no actix
    /// system on this thread.
    pub fn start(self) -> Addr<Self> {
        let (sender, receiver) = actix::dev::channel::channel(MAILBOX);
        let manager = self.manager.clone();
        let run = move || {
            actix_rt::spawn(Context::with_receiver(receiver).into_future(self));
        };
        manager.do_send(RunOnControlArbiter(Box::new(run)));
        Addr::new(sender)
    }

    /// Tells this actor what happens.
    #[must_use]
    pub fn listener(self, listener: Recipient<MainGatewayEvent>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    fn answer(&mut self, answer: &Result<UserId, LoginError>) {
        for waiting in self.waiting.drain(..) {
            // Whoever asked no longer waits.
            let _ = waiting.send(answer.clone());
        }
    }

    fn publish(&self, event: MainGatewayEvent) {
        if let Some(listener) = &self.listener {
            listener.do_send(event);
        }
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Connect { url } => self.connect(url, ctx),
            Action::Send(text) => {
                let stuck =
                    self.writer.as_ref().is_some_and(|writer| writer.send(Outgoing::Text(text)).is_err());
                if stuck {
                    self.close(ctx);
                    self.shard.closed(None, now());
                }
            }
            Action::Close(code) => {
                if let Some(writer) = self.writer.take() {
                    writer.close(code);
                }
                self.close(ctx);
            }
            Action::Dispatch(dispatch) => self.dispatch(dispatch, ctx),
            Action::Reconnecting { why, .. } => {
                tracing::info!(?why, "main gateway: reconnecting");
                self.manager.do_send(MainGatewayLost);
                self.answer(&Err(LoginError::Unreachable(why.to_string())));
                self.publish(MainGatewayEvent::Reconnecting(why));
            }
            Action::Fail(error) => {
                tracing::error!(%error, "main gateway");
                self.answer(&Err(error.into()));
                self.publish(MainGatewayEvent::Refused(error));
                ctx.stop();
            }
        }
    }

    fn connect(&mut self, url: String, ctx: &mut Context<Self>) {
        self.close(ctx);
        let opening =
            websocket::open(url, Arc::clone(&self.tls), websocket::MAX_MAIN_MESSAGE).into_actor(self);
        self.input = Some(ctx.spawn(opening.map(|opened, gateway, ctx| gateway.opened(opened, ctx))));
    }

    fn opened(&mut self, opened: Result<(Writer, Reader), String>, ctx: &mut Context<Self>) {
        match opened {
            Ok((writer, reader)) => {
                self.writer = Some(writer);
                self.input = Some(ctx.add_stream(reader));
                self.shard.opened(now());
            }
            Err(error) => {
                tracing::warn!(error, "main gateway: unreachable");
                self.input = None;
                self.answer(&Err(LoginError::Unreachable(error.clone())));
                self.publish(MainGatewayEvent::Unreachable(error));
                self.shard.closed(None, now());
            }
        }
        self.drive(ctx);
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        self.writer = None;
        if let Some(input) = self.input.take() {
            ctx.cancel_future(input);
        }
    }

    fn dispatch(&mut self, dispatch: Dispatch, ctx: &mut Context<Self>) {
        self.publish(MainGatewayEvent::Dispatch(dispatch.clone()));
        match dispatch {
            Dispatch::Ready { user, session_id } => {
                tracing::info!(user = user.0, "main gateway: ready");
                if self.sessions > 0 {
                    self.manager.do_send(MainSessionReplaced);
                }
                let plug = Plug::new(user, ctx.address().recipient()).session(session_id);
                self.manager.do_send(plug);
                self.sessions += 1;
                self.user = Some(user);
                self.answer(&Ok(user));
            }
            Dispatch::Resumed => self.manager.do_send(MainGatewayRestored),
            Dispatch::VoiceStateUpdate(state) => self.manager.do_send(VoiceStateUpdate(state)),
            Dispatch::VoiceServerUpdate(server) => self.manager.do_send(VoiceServerUpdate(server)),
            Dispatch::ChannelBitrate { channel, bitrate } => {
                self.manager.do_send(ChannelBitrate { channel, bitrate })
            }
            Dispatch::GuildDeleted(guild) => self.manager.do_send(GuildDeleted(guild)),
            Dispatch::GuildAvailable { voice_channels, .. } => {
                for (channel, bitrate) in voice_channels {
                    if let Some(bitrate) = bitrate {
                        self.manager.do_send(ChannelBitrate { channel, bitrate });
                    }
                }
            }
        }
    }
}

impl Driven for MainGateway {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.shard.poll(now()) {
            self.carry_out(action, ctx);
        }
        self.alarm.set(self.shard.deadline(), ctx);
    }
}

impl Actor for MainGateway {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.manager.do_send(Unplug(ctx.address().recipient()));
    }
}

impl StreamHandler<Incoming> for MainGateway {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Context<Self>) {
        match incoming {
            Incoming::Text(text) => self.shard.text(&text, now()),
            Incoming::Binary(_) => {}
            Incoming::Closed(code) => {
                self.writer = None;
                self.shard.closed(code, now());
            }
            Incoming::Lost(_) => {
                self.writer = None;
                self.shard.closed(None, now());
            }
        }
        self.drive(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<UpdateVoiceState> for MainGateway {
    type Result = ();

    fn handle(&mut self, update: UpdateVoiceState, ctx: &mut Context<Self>) {
        self.shard.update_voice_state(update);
        self.drive(ctx);
    }
}

impl Handler<Login> for MainGateway {
    type Result = ResponseFuture<Result<UserId, LoginError>>;

    fn handle(&mut self, _: Login, _: &mut Context<Self>) -> Self::Result {
        let (waiting, answer) = oneshot::channel();
        self.waiting.push(waiting);
        if let Some(user) = self.user {
            self.answer(&Ok(user));
        }
        Box::pin(async move { answer.await.unwrap_or(Err(LoginError::LoggedOut)) })
    }
}

impl Handler<Logout> for MainGateway {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Logout, ctx: &mut Context<Self>) -> Self::Result {
        let written = self.writer.as_ref().map(Writer::written);
        self.shard.stop();
        self.drive(ctx);
        ctx.stop();
        Box::pin(async move {
            if let Some(written) = written {
                written.await;
            }
        })
    }
}

/// Messages that a bot may send before it has to wait, as for any actor.
const MAILBOX: usize = 16;
