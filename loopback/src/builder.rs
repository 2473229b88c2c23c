//! The switches of the loopback, set before it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::dave::DaveSettings;
use crate::{Discord, StartError};

/// Whether end-to-end encryption is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dave {
    /// Sessions are described with DAVE version 0.
    Off,
    /// Clients without DAVE are let in, and downgrade the call.
    Allowed,
    /// Clients without DAVE are closed with 4017, as Discord does since March 2026.
    #[default]
    Required,
}

/// Which of two events that race over different paths comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventOrder {
    /// VOICE_STATE_UPDATE first.
    #[default]
    StateFirst,
    /// VOICE_SERVER_UPDATE first; on a kick or a move, the voice close first.
    ServerFirst,
    /// One or the other, by the seed.
    Random,
    /// VOICE_STATE_UPDATE first; on a move, the voice close only after VOICE_SERVER_UPDATE.
    CloseLast,
}

/// When the voice gateway sends Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HelloOrder {
    /// When the websocket opens.
    #[default]
    AtOnce,
    /// Only after the answer to Identify or Resume.
    AfterReady,
}

/// How the relay takes to audio of a connection that comes from another source than it was set up with: after a change of
/// network, or from the new socket of a client that resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NewSource {
    /// It follows: audio goes to where the last authentic packet or discovery request came from.
    #[default]
    Follow,
    /// It drops audio from there until a Select Protocol names the source.
    Select,
    /// It answers and takes nothing from there; only a new voice session helps.
    Pinned,
}

/// Whether the relay echoes keepalives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Echoes {
    /// Each is echoed.
    #[default]
    Always,
    /// None is, as by some of Discord's voice servers.
    Never,
}

/// What the main gateway does about more than 120 payloads within a minute; it is a violation always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SendLimit {
    /// It closes the connection with 4008, as Discord does.
    #[default]
    Close,
    /// Nothing.
    Tolerate,
    /// There is no such limit, and so no violation: to have many calls joined at once.
    Lifted,
}

/// What becomes of a connection that sends audio and does not say within 100 ms that it speaks; it is a violation always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UnannouncedAudio {
    /// It is closed with 4020.
    #[default]
    Close,
    /// Nothing: of hundreds of calls that begin at once, the gateway reads what they say later than the relay hears them.
    Tolerate,
}

/// Where the media relay runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RelayThread {
    /// On the runtime, beside the gateways; the only one for a paused clock.
    #[default]
    Shared,
    /// On a thread of its own, to measure with: it takes what has come every two milliseconds, in batches, and sends
    /// what is to be sent no more often. On Linux the kernel says when each datagram came, so that neither this thread's
    /// delays nor its wake-ups are measured with the bot.
    Own,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) secure: bool,
    pub(crate) seed: u64,
    pub(crate) dave: Dave,
    pub(crate) dave_settings: DaveSettings,
    pub(crate) heartbeat_interval: f64,
    pub(crate) main_heartbeat_interval: Duration,
    pub(crate) first_sequence: u16,
    pub(crate) buffer_capacity: usize,
    pub(crate) resume_window: Duration,
    pub(crate) main_resume_window: Duration,
    pub(crate) event_order: EventOrder,
    pub(crate) hello: HelloOrder,
    pub(crate) new_source: NewSource,
    pub(crate) modes: Vec<String>,
    pub(crate) send_limit: SendLimit,
    pub(crate) unannounced_audio: UnannouncedAudio,
    pub(crate) relay_thread: RelayThread,
    pub(crate) echoes: Echoes,
    pub(crate) clock_step: Duration,
    pub(crate) log_entries: usize,
    pub(crate) shards: ShardSettings,
}

/// What bots are told about shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardSettings {
    pub(crate) recommended: u64,
    pub(crate) max_concurrency: u64,
    pub(crate) session_starts: u64,
    pub(crate) reset_after: Duration,
}

/// Sets up a [`Discord`]; made by [`Discord::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    pub(crate) settings: Settings,
}

impl Default for Builder {
    fn default() -> Self {
        let modes = ["aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize"];
        Self {
            settings: Settings {
                ip: Ipv4Addr::LOCALHOST.into(),
                port: 0,
                secure: false,
                seed: 0,
                dave: Dave::default(),
                dave_settings: DaveSettings::default(),
                heartbeat_interval: 13_750.0,
                main_heartbeat_interval: Duration::from_millis(41_250),
                first_sequence: 0,
                buffer_capacity: 256,
                resume_window: Duration::from_secs(15),
                main_resume_window: Duration::from_secs(60),
                event_order: EventOrder::default(),
                hello: HelloOrder::default(),
                new_source: NewSource::default(),
                modes: modes.map(str::to_owned).to_vec(),
                send_limit: SendLimit::default(),
                unannounced_audio: UnannouncedAudio::default(),
                relay_thread: RelayThread::default(),
                echoes: Echoes::default(),
                clock_step: Duration::from_millis(1),
                log_entries: 65_536,
                shards: ShardSettings {
                    recommended: 1,
                    max_concurrency: 1,
                    session_starts: 1_000,
                    reset_after: Duration::from_secs(86_400),
                },
            },
        }
    }
}

impl Builder {
    /// Serves both gateways over TLS; [`Discord::ca_pem`] is what a client must trust.
    pub fn tls(mut self) -> Self {
        self.settings.secure = true;
        self
    }

    /// Binds to this address instead of 127.0.0.1.
    pub fn ip(mut self, ip: IpAddr) -> Self {
        self.settings.ip = ip;
        self
    }

    /// Binds the main gateway to this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = port;
        self
    }

    /// Seeds every random choice, the tokens and keys included.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Chooses whether end-to-end encryption is spoken.
    pub fn dave(mut self, dave: Dave) -> Self {
        self.settings.dave = dave;
        self
    }

    /// Sets the switches of every call's delivery service; [`DaveSettings::required`] follows [`Self::dave`].
    pub fn dave_settings(mut self, settings: DaveSettings) -> Self {
        self.settings.dave_settings = settings;
        self
    }

    /// Sets the voice heartbeat interval, in milliseconds and possibly fractional as Discord's is.
    pub fn heartbeat_interval(mut self, milliseconds: f64) -> Self {
        self.settings.heartbeat_interval = milliseconds;
        self
    }

    /// Sets the heartbeat interval of the main gateway.
    pub fn main_heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.main_heartbeat_interval = interval;
        self
    }

    /// Sets the number of the first numbered voice message; 65,530 shows the wrap soon.
    pub fn first_sequence(mut self, first: u16) -> Self {
        self.settings.first_sequence = first;
        self
    }

    /// Sets how many numbered messages are held for a resume.
    pub fn buffer_capacity(mut self, messages: usize) -> Self {
        self.settings.buffer_capacity = messages;
        self
    }

    /// Sets how long a voice session can be resumed after its websocket was lost.
    pub fn resume_window(mut self, window: Duration) -> Self {
        self.settings.resume_window = window;
        self
    }

    /// Sets how long a main session can be resumed after its websocket was lost.
    pub fn main_resume_window(mut self, window: Duration) -> Self {
        self.settings.main_resume_window = window;
        self
    }

    /// Chooses which of the two events of a join comes first.
    pub fn event_order(mut self, order: EventOrder) -> Self {
        self.settings.event_order = order;
        self
    }

    /// Chooses when the voice gateway says Hello.
    pub fn hello(mut self, order: HelloOrder) -> Self {
        self.settings.hello = order;
        self
    }

    /// Sets the transport encryption modes offered in Ready.
    pub fn modes<'a>(mut self, modes: impl IntoIterator<Item = &'a str>) -> Self {
        self.settings.modes = modes.into_iter().map(str::to_owned).collect();
        self
    }

    /// Chooses how the relay takes to audio from a new source.
    pub fn new_source(mut self, new_source: NewSource) -> Self {
        self.settings.new_source = new_source;
        self
    }

    /// Chooses what the main gateway does about too many payloads.
    pub fn send_limit(mut self, limit: SendLimit) -> Self {
        self.settings.send_limit = limit;
        self
    }

    /// Chooses what becomes of a connection that sends audio and does not say that it speaks.
    pub fn unannounced_audio(mut self, audio: UnannouncedAudio) -> Self {
        self.settings.unannounced_audio = audio;
        self
    }

    /// Chooses where the media relay runs.
    pub fn relay_thread(mut self, thread: RelayThread) -> Self {
        self.settings.relay_thread = thread;
        self
    }

    /// Chooses whether the relay echoes keepalives.
    pub fn echoes(mut self, echoes: Echoes) -> Self {
        self.settings.echoes = echoes;
        self
    }

    /// Sets how far a paused clock may jump while something happens, and so about how long a message takes on it; a
    /// millisecond unless changed. Hours pass faster in long steps.
    pub fn clock_step(mut self, step: Duration) -> Self {
        self.settings.clock_step = step;
        self
    }

    /// Sets how many entries of [`Discord::log`](crate::Discord::log) are kept, the last; 65,536 unless changed.
    pub fn log_entries(mut self, entries: usize) -> Self {
        self.settings.log_entries = entries;
        self
    }

    /// Sets how many shards bots are told to use.
    pub fn shards(mut self, recommended: u64) -> Self {
        self.settings.shards.recommended = recommended;
        self
    }

    /// Sets how many shards of a bot may identify within five seconds; 1 unless changed.
    pub fn max_concurrency(mut self, identifies: u64) -> Self {
        self.settings.shards.max_concurrency = identifies;
        self
    }

    /// Sets how often a bot may identify until it is told to wait so long; 1,000 times unless changed.
    pub fn session_starts(mut self, identifies: u64, reset_after: Duration) -> Self {
        self.settings.shards.session_starts = identifies;
        self.settings.shards.reset_after = reset_after;
        self
    }

    /// Starts the loopback on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// When no port can be bound; [`Self::try_start`] returns the error instead.
    pub async fn start(self) -> Discord {
        match self.try_start().await {
            Ok(discord) => discord,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts the loopback on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When no port can be bound or no certificate be made.
    pub async fn try_start(self) -> Result<Discord, StartError> {
        Discord::launch(self.settings).await
    }
}
