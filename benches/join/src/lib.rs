//! Joins the first voice channel of many guilds over a main gateway, and says where each call connects to: what the floor
//! and the rival need of a bot, so that both begin in the same way.

use std::{collections::HashMap, env, fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, interval_at, timeout},
};
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

/// What every program of the comparison is started with.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The main gateway, `ws://host:port` or `wss://host:port`.
    pub gateway: String,
    /// The bot's token.
    pub token: String,
    /// How many calls.
    pub calls: usize,
    /// What to play; nothing where each call stays silent.
    pub file: Option<PathBuf>,
    /// How it is played.
    pub source: Source,
}

/// How a file is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Opus packets, as they are.
    Passthrough,
    /// Samples, encoded.
    Encode,
    /// Two tracks of samples, added up and encoded.
    Mix,
    /// Nothing is played.
    Idle,
}

/// Where one call connects to.
#[derive(Clone)]
pub struct VoiceServer {
    /// The guild.
    pub guild: u64,
    /// Its first voice channel.
    pub channel: u64,
    /// The bot.
    pub user: u64,
    /// Of VOICE_STATE_UPDATE.
    pub session: String,
    /// Of VOICE_SERVER_UPDATE.
    pub token: String,
    /// `host:port` of the voice gateway.
    pub endpoint: String,
}

/// A websocket, encrypted or not.
pub type Websocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no call, or none any more.
#[derive(Debug)]
pub struct JoinError(pub String);

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JoinError {}

impl Arguments {
    /// Reads `--gateway URL --calls N --source passthrough|encode|mix|idle [--file FILE]`, and the token from
    /// `DISCORD_TOKEN`.
    ///
    /// # Errors
    ///
    /// When something is missing, or not understood.
    pub fn read() -> Result<Self, JoinError> {
        let mut given: HashMap<String, String> = HashMap::new();
        let mut arguments = env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| JoinError(format!("{name} wants a value")))?;
            given.insert(name, value);
        }
        let mut take = |name: &str| given.remove(name).ok_or_else(|| JoinError(format!("{name} is missing")));
        let source = match take("--source")?.as_str() {
            "passthrough" => Source::Passthrough,
            "encode" => Source::Encode,
            "mix" => Source::Mix,
            "idle" => Source::Idle,
            other => return Err(JoinError(format!("there is no source {other}"))),
        };
        Ok(Self {
            gateway: take("--gateway")?,
            calls: take("--calls")?.parse().map_err(|_| JoinError("--calls wants a number".into()))?,
            file: take("--file").ok().map(PathBuf::from),
            source,
            token: env::var("DISCORD_TOKEN").map_err(|_| JoinError("DISCORD_TOKEN is not set".into()))?,
        })
    }
}

/// Logs in and joins the first voice channel of the first so many guilds. The session ends with the returned receiver.
///
/// # Errors
///
/// When the gateway cannot be reached.
pub async fn join(arguments: &Arguments) -> Result<mpsc::Receiver<VoiceServer>, JoinError> {
    let websocket = connect(&format!("{}/?v=10&encoding=json", arguments.gateway)).await?;
    let (found, servers) = mpsc::channel(arguments.calls.max(1));
    let session = MainSession {
        token: arguments.token.clone(),
        calls: arguments.calls,
        found,
        asked: 0,
        seq: Value::Null,
        user: 0,
        session: String::new(),
        channels: HashMap::new(),
    };
    tokio::spawn(session.run(websocket));
    Ok(servers)
}

/// Opens a websocket. Over TLS it trusts the authorities in the file that `SSL_CERT_FILE` names.
///
/// # Errors
///
/// When it does not open within ten seconds.
pub async fn connect(url: &str) -> Result<Websocket, JoinError> {
    let connector = if url.starts_with("wss://") { Connector::Rustls(trust()?) } else { Connector::Plain };
    let connecting = connect_async_tls_with_config(url, None, true, Some(connector));
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok((websocket, _))) => Ok(websocket),
        Ok(Err(error)) => Err(JoinError(format!("{url}: {error}"))),
        Err(_) => Err(JoinError(format!("{url} did not answer within {CONNECT_TIMEOUT:?}"))),
    }
}

/// Allows as many open files as the system lets us have.
pub fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused the limit stays, and a call that meets it says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn trust() -> Result<Arc<ClientConfig>, JoinError> {
    let file = env::var_os("SSL_CERT_FILE").ok_or_else(|| JoinError("SSL_CERT_FILE is not set".into()))?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&file).map_err(|error| JoinError(error.to_string()))?;
    roots.add_parsable_certificates(certificates.flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| JoinError(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

struct MainSession {
    token: String,
    calls: usize,
    found: mpsc::Sender<VoiceServer>,
    /// How many guilds have been asked for so far.
    asked: usize,
    seq: Value,
    user: u64,
    session: String,
    /// The voice channel of each guild.
    channels: HashMap<u64, u64>,
}

impl MainSession {
    /// Runs until nobody wants to know any more, or the gateway ends it.
    async fn run(mut self, mut websocket: Websocket) {
        let mut beats = interval_at(Instant::now() + BEAT_INTERVAL, BEAT_INTERVAL);
        loop {
            let mut answers = Vec::new();
            tokio::select! {
                () = self.found.closed() => return,
                _ = beats.tick() => answers.push(json!({"op": 1, "d": self.seq})),
                message = websocket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let payload = serde_json::from_str(&text).unwrap_or_default();
                        self.take(&payload, &mut answers);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return eprintln!("main gateway: {error}"),
                    None => return eprintln!("main gateway: closed"),
                },
            }
            for answer in answers {
                if let Err(error) = websocket.send(Message::text(answer.to_string())).await {
                    return eprintln!("main gateway: {error}");
                }
            }
        }
    }

    fn take(&mut self, payload: &Value, answers: &mut Vec<Value>) {
        if payload["s"].is_u64() {
            self.seq = payload["s"].clone();
        }
        let d = &payload["d"];
        match (payload["op"].as_u64(), payload["t"].as_str()) {
            (Some(10), _) => answers.push(identify(&self.token)),
            (_, Some("READY")) => {
                self.user = id(&d["user"]["id"]);
                self.session = d["session_id"].as_str().unwrap_or_default().into();
            }
            (_, Some("GUILD_CREATE")) => answers.extend(self.guild(d)),
            (_, Some("VOICE_SERVER_UPDATE")) => self.voice_server(d),
            _ => {}
        }
    }

    /// Asks for the voice channel of a guild.
    fn guild(&mut self, d: &Value) -> Option<Value> {
        let channels = d["channels"].as_array()?;
        let channel = id(&channels.iter().find(|channel| channel["type"] == VOICE_CHANNEL)?["id"]);
        if self.asked == self.calls {
            return None;
        }
        self.asked += 1;
        let guild = id(&d["id"]);
        self.channels.insert(guild, channel);
        let (guild, channel) = (guild.to_string(), channel.to_string());
        Some(json!({"op": 4, "d":
            {"guild_id": guild, "channel_id": channel, "self_mute": false, "self_deaf": true}}))
    }

    /// The voice state has come before: the loopback sends it first.
    fn voice_server(&self, d: &Value) {
        let guild = id(&d["guild_id"]);
        let server = VoiceServer {
            guild,
            channel: self.channels.get(&guild).copied().unwrap_or_default(),
            user: self.user,
            session: self.session.clone(),
            token: d["token"].as_str().unwrap_or_default().into(),
            endpoint: d["endpoint"].as_str().unwrap_or_default().into(),
        };
        // There is room for each call once; whoever is told twice has been moved, which is no part of a comparison.
        let _ = self.found.try_send(server);
    }
}

fn identify(token: &str) -> Value {
    let properties = json!({"os": "linux", "browser": "bench", "device": "bench"});
    // Guilds and voice states.
    json!({"op": 2, "d": {"token": token, "intents": 1 | 1 << 7, "properties": properties}})
}

/// A snowflake, which is text.
fn id(value: &Value) -> u64 {
    value.as_str().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

const VOICE_CHANNEL: u64 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Discord asks for one about every 41 s.
const BEAT_INTERVAL: Duration = Duration::from_secs(30);
