//! A bot that knows no actors: plain tokio, a main gateway connection of its own, and a channel each way.
//!
//! The connection here is as small as can be, and goes to a Discord on this machine; yours is serenity's, twilight's or
//! your own, and stays what it is. What matters is marked with arrows.
//!
//! `cargo run --example no_actors`

use std::{error::Error, time::Duration};

use actix_voice::{
    actors::{
        Config, Join, PlugChannel, Shutdown, Speak, SubscribeChannel, VoiceManager, VoiceServerUpdate,
        VoiceStateUpdate,
    },
    bridge::events::{VoiceServer, VoiceState},
    id::{ChannelId, GuildId, UserId},
    source::Tone,
};
use actix_voice_loopback::Discord;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let discord = Discord::start().await;
    let bot = discord.bot("plain");
    let room = discord.guild("house").channel("Living room");
    let ear = room.listener("ear");

    // For a Discord on this machine; `Config::default()` for the real one.
    let voice = VoiceManager::spawn(Config::local())?;
    let (mut gateway, user) = MyGateway::connect(&discord.gateway_url(), &bot.token).await?;
    // → Who we are, and who takes op 4.
    let (op4, mut updates) = mpsc::channel(10);
    voice.send(PlugChannel::new(user, op4)).await?;
    let manager = voice.clone();
    tokio::spawn(async move {
        loop {
            let passed_on = tokio::select! {
                // ← Join, move or leave.
                Some(update) = updates.recv() => gateway.send(4, json!(update)).await,
                // → The two events, as they come; those of other users are sorted out.
                event = gateway.event() => event.map(|event| match event {
                    Event::VoiceState(state) => manager.do_send(VoiceStateUpdate(state)),
                    Event::VoiceServer(server) => manager.do_send(VoiceServerUpdate(server)),
                    Event::Ready(_) | Event::Other => {}
                }),
            };
            if let Err(error) = passed_on {
                return eprintln!("{error}");
            }
        }
    });

    let (to, mut events) = mpsc::channel(100);
    voice.send(SubscribeChannel::new(to)).await?;
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            println!("{:?}", event.kind);
        }
    });

    let (guild, channel) = (GuildId(room.guild_id), ChannelId(room.id));
    let call = voice.send(Join::new(guild, channel)).await??;
    let tone = Tone::new(330.0).lasting(Duration::from_secs(2));
    let track = call.speak(Speak::source(guild, tone)).await?;
    call.ended(track).await;
    voice.send(Shutdown).await?;

    println!("heard {} packets", ear.packets_heard(bot.user_id));
    Ok(())
}

type Failure = Box<dyn Error + Send + Sync>;

/// The bot's own main gateway; heartbeats are left out.
struct MyGateway(WebSocketStream<MaybeTlsStream<TcpStream>>);

enum Event {
    Ready(UserId),
    VoiceState(VoiceState),
    VoiceServer(VoiceServer),
    Other,
}

impl MyGateway {
    /// Connects and logs in; says who we are.
    async fn connect(url: &str, token: &str) -> Result<(Self, UserId), Failure> {
        let (websocket, _) = connect_async(format!("{url}/?v=10&encoding=json")).await?;
        let mut gateway = Self(websocket);
        let properties = json!({ "os": "any", "browser": "mine", "device": "mine" });
        gateway.send(2, json!({ "token": token, "intents": 1 | 1 << 7, "properties": properties })).await?;
        loop {
            if let Event::Ready(user) = gateway.event().await? {
                return Ok((gateway, user));
            }
        }
    }

    async fn send(&mut self, op: u8, d: Value) -> Result<(), Failure> {
        self.0.send(Message::text(json!({ "op": op, "d": d }).to_string())).await?;
        Ok(())
    }

    async fn event(&mut self) -> Result<Event, Failure> {
        let payload = self.payload().await?;
        Ok(match payload["t"].as_str() {
            Some("READY") => Event::Ready(payload["d"]["user"]["id"].as_str().unwrap_or_default().parse()?),
            Some("VOICE_STATE_UPDATE") => Event::VoiceState(VoiceState::deserialize(&payload["d"])?),
            Some("VOICE_SERVER_UPDATE") => Event::VoiceServer(VoiceServer::deserialize(&payload["d"])?),
            _ => Event::Other,
        })
    }

    async fn payload(&mut self) -> Result<Value, Failure> {
        loop {
            if let Message::Text(text) = self.0.next().await.ok_or("the main gateway is gone")?? {
                return Ok(serde_json::from_str(&text)?);
            }
        }
    }
}
