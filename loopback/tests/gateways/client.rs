//! A client that does exactly what a test says: a websocket, and the shortest way into a call.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use actix_voice_loopback::{Bot, Builder, Channel, Dave, Discord};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One websocket.
pub struct Socket {
    websocket: WebSocketStream<Box<dyn Stream>>,
}

/// What came over it.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    Text(Value),
    Binary(Vec<u8>),
    Closed(u16),
    /// The TCP connection ended without a close frame.
    Lost,
}

impl Incoming {
    pub fn op(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text["op"].as_u64(),
            _ => None,
        }
    }
}

impl Socket {
    /// Opens `ws://host:port` followed by a path and query.
    pub async fn open(host: &str, query: &str) -> Self {
        let host = host.strip_prefix("ws://").unwrap_or(host);
        let stream = TcpStream::connect(host).await.expect("the listener is there");
        Self::over(Box::new(stream), &format!("ws://{host}/{query}")).await
    }

    /// Opens `wss://host:port`, trusting only this certificate authority.
    pub async fn open_tls(host: &str, query: &str, ca_pem: &str) -> Self {
        let host = host.strip_prefix("wss://").unwrap_or(host);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_reader_iter(Cursor::new(ca_pem)) {
            roots.add(certificate.expect("PEM")).expect("a certificate authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address: std::net::SocketAddr = host.parse().expect("an address");
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TcpStream::connect(host).await.expect("the listener is there");
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a trusted server");
        Self::over(Box::new(stream), &format!("wss://{host}/{query}")).await
    }

    async fn over(stream: Box<dyn Stream>, url: &str) -> Self {
        let (websocket, _) = client_async(url, stream).await.expect("a websocket");
        Self { websocket }
    }

    pub async fn send(&mut self, message: Value) {
        self.websocket.send(Message::text(message.to_string())).await.expect("sent");
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.websocket.send(message).await.expect("sent");
    }

    pub async fn close(&mut self, code: u16) {
        let frame =
            tokio_tungstenite::tungstenite::protocol::CloseFrame { code: code.into(), reason: "".into() };
        self.websocket.close(Some(frame)).await.expect("closed");
    }

    /// The next message; panics when none comes.
    pub async fn next(&mut self) -> Incoming {
        timeout(MESSAGE_TIMEOUT, self.receive()).await.expect("a message within ten seconds")
    }

    /// Asserts that nothing comes for a while.
    pub async fn stays_silent(&mut self) {
        self.stays_silent_for(Duration::from_secs(3)).await;
    }

    /// Asserts that nothing comes for so long.
    pub async fn stays_silent_for(&mut self, time: Duration) {
        let came = timeout(time, self.receive()).await;
        assert!(came.is_err(), "came: {came:?}");
    }

    /// The next message, however long it takes.
    pub async fn receive(&mut self) -> Incoming {
        match self.websocket.next().await {
            Some(Ok(Message::Text(text))) => Incoming::Text(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Binary(frame))) => Incoming::Binary(frame.to_vec()),
            Some(Ok(Message::Close(Some(frame)))) => Incoming::Closed(frame.code.into()),
            Some(Ok(other)) => panic!("unexpected {other:?}"),
            Some(Err(_)) | None => Incoming::Lost,
        }
    }

    /// The next text message.
    pub async fn text(&mut self) -> Value {
        match self.next().await {
            Incoming::Text(text) => text,
            other => panic!("not text: {other:?}"),
        }
    }

    /// The `d` of the next text message with this opcode; others before it are skipped.
    pub async fn op(&mut self, op: u64) -> Value {
        loop {
            let mut text = self.text().await;
            if text["op"] == op {
                return text["d"].take();
            }
        }
    }

    /// Waits for the next heartbeat acknowledgement; whatever comes before it is skipped.
    pub async fn heartbeat_ack(&mut self) {
        while self.next().await.op() != Some(6) {}
    }

    /// The `d` of the next dispatch of this name; others before it are skipped.
    pub async fn dispatch(&mut self, name: &str) -> Value {
        loop {
            let mut text = self.text().await;
            if text["t"] == name {
                return text["d"].take();
            }
        }
    }

    /// The `d` of the next dispatch of this name, which may take so long.
    pub async fn dispatch_within(&mut self, name: &str, limit: Duration) -> Value {
        let came = async {
            loop {
                match self.receive().await {
                    Incoming::Text(mut text) if text["t"] == name => return text["d"].take(),
                    Incoming::Text(_) => {}
                    other => panic!("not text: {other:?}"),
                }
            }
        };
        timeout(limit, came).await.expect("it comes in time")
    }

    /// The close code; whatever comes before it is skipped.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Incoming::Closed(code) => return code,
                Incoming::Lost => panic!("lost without a close code"),
                _ => {}
            }
        }
    }
}

/// A bot at the main gateway.
pub struct Main {
    pub socket: Socket,
    pub ready: Value,
    pub guilds: Vec<Value>,
}

impl Main {
    /// Identifies and reads READY and as many GUILD_CREATEs as it names guilds.
    pub async fn identify(discord: &Discord, bot: &Bot) -> Self {
        let mut socket = Socket::open(&discord.gateway_url(), "?v=10&encoding=json").await;
        socket.op(10).await;
        socket.send(identify(bot)).await;
        let ready = socket.dispatch("READY").await;
        let mut guilds = Vec::new();
        for _ in ready["guilds"].as_array().expect("guilds") {
            guilds.push(socket.dispatch("GUILD_CREATE").await);
        }
        Self { socket, ready, guilds }
    }

    /// Sends op 4.
    pub async fn join(&mut self, channel: &Channel) {
        self.voice_state(channel.guild_id, Some(channel.id)).await;
    }

    pub async fn voice_state(&mut self, guild: u64, channel: Option<u64>) {
        let d = json!({
            "guild_id": guild.to_string(),
            "channel_id": channel.map(|channel| channel.to_string()),
            "self_mute": false,
            "self_deaf": false,
        });
        self.socket.send(json!({"op": 4, "d": d})).await;
    }

    /// Joins and waits for both events.
    pub async fn credentials(&mut self, bot: &Bot, channel: &Channel) -> Credentials {
        self.join(channel).await;
        self.next_credentials(bot).await
    }

    /// Waits for a VOICE_SERVER_UPDATE with an endpoint, and the own voice state.
    pub async fn next_credentials(&mut self, bot: &Bot) -> Credentials {
        let user = bot.user_id.to_string();
        let (mut session_id, mut server) = (None, None);
        while session_id.is_none() || server.is_none() {
            let event = self.socket.text().await;
            let d = &event["d"];
            match event["t"].as_str() {
                Some("VOICE_STATE_UPDATE") if d["user_id"] == user.as_str() => {
                    session_id = Some(d["session_id"].as_str().expect("a session").to_owned());
                }
                Some("VOICE_SERVER_UPDATE") => server = Some(d.clone()),
                _ => {}
            }
        }
        let server = server.expect("came");
        Credentials {
            user,
            guild: server["guild_id"].as_str().expect("a guild").to_owned(),
            session_id: session_id.expect("came"),
            token: server["token"].as_str().expect("a token").to_owned(),
            endpoint: server["endpoint"].as_str().expect("an endpoint").to_owned(),
        }
    }
}

pub fn identify(bot: &Bot) -> Value {
    json!({"op": 2, "d": {"token": bot.token, "intents": 129, "properties": {"os": "", "browser": "", "device": ""}}})
}

/// What a voice connection is made from.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user: String,
    pub guild: String,
    pub session_id: String,
    pub token: String,
    pub endpoint: String,
}

impl Credentials {
    pub fn identify(&self) -> Value {
        json!({"op": 0, "d": {
            "server_id": self.guild,
            "user_id": self.user,
            "session_id": self.session_id,
            "token": self.token,
            "max_dave_protocol_version": 1,
        }})
    }

    pub fn resume(&self, seq_ack: Option<u16>) -> Value {
        let mut d = json!({"server_id": self.guild, "session_id": self.session_id, "token": self.token});
        if let Some(seq_ack) = seq_ack {
            d["seq_ack"] = Value::from(seq_ack);
        }
        json!({"op": 7, "d": d})
    }

    pub async fn open(&self) -> Socket {
        Socket::open(&self.endpoint, "?v=8").await
    }
}

/// A bot in a call.
pub struct Voice {
    pub socket: Socket,
    pub credentials: Credentials,
    pub ssrc: u64,
    /// What came between Select Protocol and the Session Description.
    pub introductions: Vec<Value>,
    pub description: Value,
}

impl Voice {
    /// Goes through the whole handshake; discovery is left out, the address made up.
    pub async fn connect(credentials: Credentials) -> Self {
        let mut socket = credentials.open().await;
        socket.send(credentials.identify()).await;
        let ready = socket.op(2).await;
        socket.send(select_protocol("udp", "aead_aes256_gcm_rtpsize")).await;
        let mut introductions = Vec::new();
        let description = loop {
            let mut text = socket.text().await;
            if text["op"] == 4 {
                break text["d"].take();
            }
            introductions.push(text);
        };
        let ssrc = ready["ssrc"].as_u64().expect("an SSRC");
        Self { socket, credentials, ssrc, introductions, description }
    }

    pub async fn speak(&mut self, flags: u8) {
        let d = json!({"speaking": flags, "delay": 0, "ssrc": self.ssrc});
        self.socket.send(json!({"op": 5, "d": d})).await;
    }

    pub async fn beat(&mut self, nonce: u64, seq_ack: i64) {
        self.socket.send(json!({"op": 3, "d": {"t": nonce, "seq_ack": seq_ack}})).await;
    }
}

pub fn select_protocol(protocol: &str, mode: &str) -> Value {
    json!({"op": 1, "d": {"protocol": protocol, "data": {"address": "127.0.0.1", "port": 50_000, "mode": mode}}})
}

/// A Discord without end-to-end encryption, which this client cannot do.
pub fn plain() -> Builder {
    Discord::builder().dave(Dave::Off)
}

/// A started Discord with one bot in one channel.
pub struct Setup {
    pub discord: Discord,
    pub bot: Bot,
    pub channel: Channel,
    pub main: Main,
}

impl Setup {
    pub async fn new() -> Self {
        Self::on(plain().start().await).await
    }

    pub async fn on(discord: Discord) -> Self {
        let bot = discord.bot("parrot");
        let channel = discord.guild("jungle").channel("General");
        let main = Main::identify(&discord, &bot).await;
        Self { discord, bot, channel, main }
    }

    pub async fn credentials(&mut self) -> Credentials {
        self.main.credentials(&self.bot, &self.channel).await
    }

    pub async fn connect(&mut self) -> Voice {
        Voice::connect(self.credentials().await).await
    }
}

const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
