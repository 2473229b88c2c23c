//! A bot that has a connection to the main gateway of its own, and plugs it in: one recipient and two messages.
//!
//! The connection here is as small as can be, and goes to a Discord on this machine; yours is serenity's, twilight's or
//! your own, and stays what it is. What matters is marked with arrows.
//!
//! `cargo run --example own_gateway`

use std::{error::Error, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, StreamHandler};
use actix_http::ws::{Frame, Message, ProtocolError};
use actix_voice::{
    actors::{
        Config, Join, Plug, Speak, UpdateVoiceState, VoiceManager, VoiceServerUpdate, VoiceStateUpdate,
    },
    bridge::events::{VoiceServer, VoiceState},
    id::{ChannelId, GuildId, UserId},
    source::Tone,
};
use actix_voice_loopback::Discord;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// The bot's own main gateway.
struct MyGateway {
    manager: Addr<VoiceManager>,
    token: String,
    /// What is written to the websocket.
    writer: mpsc::Sender<Message>,
    last_seq: Value,
    ready: Option<oneshot::Sender<()>>,
}

impl MyGateway {
    fn send(&self, payload: &Value) {
        // A main gateway that reads nothing is found out by its heartbeats, which this example leaves out.
        let _ = self.writer.try_send(Message::Text(payload.to_string().into()));
    }

    fn dispatch(&mut self, name: &str, d: &Value, ctx: &mut Context<Self>) -> Result<(), Box<dyn Error>> {
        match name {
            "READY" => {
                // → Who we are, and who takes op 4.
                let user = UserId(d["user"]["id"].as_str().unwrap_or_default().parse()?);
                self.manager.do_send(Plug::new(user, ctx.address().recipient()));
                self.ready.take().map(|ready| ready.send(()));
            }
            // → The two events, as they come; those of other users are sorted out.
            "VOICE_STATE_UPDATE" => self.manager.do_send(VoiceStateUpdate(VoiceState::deserialize(d)?)),
            "VOICE_SERVER_UPDATE" => self.manager.do_send(VoiceServerUpdate(VoiceServer::deserialize(d)?)),
            _ => {}
        }
        Ok(())
    }
}

/// ← Join, move or leave.
impl Handler<UpdateVoiceState> for MyGateway {
    type Result = ();

    fn handle(&mut self, update: UpdateVoiceState, _: &mut Context<Self>) {
        self.send(&json!({ "op": 4, "d": update }));
    }
}

impl Actor for MyGateway {
    type Context = Context<Self>;
}

impl StreamHandler<Result<Frame, ProtocolError>> for MyGateway {
    fn handle(&mut self, frame: Result<Frame, ProtocolError>, ctx: &mut Context<Self>) {
        let Ok(Frame::Text(text)) = frame else { return };
        let Ok(payload) = serde_json::from_slice::<Value>(&text) else { return };
        if payload["s"].is_u64() {
            self.last_seq = payload["s"].clone();
        }
        match payload["op"].as_u64() {
            Some(10) => {
                let every = payload["d"]["heartbeat_interval"].as_u64().unwrap_or(41_250);
                ctx.run_interval(Duration::from_millis(every), |gateway, _| {
                    gateway.send(&json!({ "op": 1, "d": gateway.last_seq }));
                });
                let properties = json!({ "os": "any", "browser": "mine", "device": "mine" });
                let identify =
                    json!({ "token": self.token, "intents": 1 | 1 << 7, "properties": properties });
                self.send(&json!({ "op": 2, "d": identify }));
            }
            Some(0) => {
                let name = payload["t"].as_str().unwrap_or_default();
                if let Err(error) = self.dispatch(name, &payload["d"], ctx) {
                    eprintln!("{name}: {error}");
                }
            }
            _ => {}
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let discord = Discord::start().await;
    let bot = discord.bot("own");
    let room = discord.guild("house").channel("Living room");
    let ear = room.listener("ear");

    // For a Discord on this machine; `Config::default()` for the real one.
    let manager = VoiceManager::new(Config::local()).start();
    let ready = connect(&discord.gateway_url(), bot.token.clone(), manager.clone()).await?;
    ready.await?;

    let (guild, channel) = (GuildId(room.guild_id), ChannelId(room.id));
    let call = manager.send(Join::new(guild, channel)).await??;
    let tone = Tone::new(330.0).lasting(Duration::from_secs(2));
    let track = call.speak(Speak::source(guild, tone)).await?;
    call.ended(track).await;
    call.disconnect().await;

    println!("heard {} packets", ear.packets_heard(bot.user_id));
    Ok(())
}

/// Connects the websocket with the actor; what it returns says when the bot is logged in.
async fn connect(
    url: &str,
    token: String,
    manager: Addr<VoiceManager>,
) -> Result<oneshot::Receiver<()>, Box<dyn Error>> {
    let (_, websocket) = awc::Client::default()
        .ws(format!("{url}/?v=10&encoding=json"))
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let (mut sink, frames) = websocket.split();
    let (writer, mut queue) = mpsc::channel(64);
    let (ready, logged_in) = oneshot::channel();
    MyGateway::create(|ctx| {
        ctx.add_stream(frames);
        MyGateway { manager, token, writer, last_seq: Value::Null, ready: Some(ready) }
    });
    actix_rt::spawn(async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    });
    Ok(logged_in)
}
