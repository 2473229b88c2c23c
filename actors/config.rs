//! What a manager can be told when it is started.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    audio::opus::EncoderSettings, call::Supervision, gateway::session::Endpoints,
    transport::dave::IdentityKey,
};

/// Whether connections to gateways are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// wss, with the platform's trusted roots, `SSL_CERT_FILE` and [`Config::trust`]: what Discord needs.
    #[default]
    Tls,
    /// ws, for a test server on this machine.
    None,
}

/// On which arbiter (thread) the control plane runs: the manager, the bridge, calls, websockets and heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlArbiter {
    /// On one of its own, where no user code can hold up a heartbeat.
    #[default]
    Own,
    /// On the arbiter that starts the manager, whose clock a test can pause.
    Callers,
}

/// How the threads that send and receive audio are scheduled among all others of the machine. What the system does not allow
/// is left out; only Linux is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaPriority {
    /// As any other thread.
    Normal,
    /// Before others: nice −10. It takes root, `CAP_SYS_NICE`, or `RLIMIT_NICE` (`LimitNICE=-10` in a unit of systemd,
    /// `--cap-add SYS_NICE` for a container).
    #[default]
    Raised,
    /// Before all others: `SCHED_FIFO`. It takes root, `CAP_SYS_NICE`, or `RLIMIT_RTPRIO` (`LimitRTPRIO=1`); without, it is as
    /// `Raised`. A bot that encodes more than its cores can do then keeps everything else on them waiting, heartbeats too.
    Realtime,
}

/// What a call costs that would make a media arbiter (thread) busier than is good for the calls that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Admission {
    /// Nothing: all are let in, and frames may come late.
    #[default]
    All,
    /// Its join: it is refused with [`JoinError::Overloaded`](super::JoinError::Overloaded) where the least busy arbiter has
    /// used more than this much of a core in the last second, as 1.0 is all of it.
    Refuse {
        /// The load above which nobody is let in.
        above: f32,
    },
    /// Its quality: what it encodes is encoded with this complexity, of 0 to 10.
    Degrade {
        /// The load above which calls that begin are degraded.
        above: f32,
        /// The complexity: the lower, the less time it takes, and the worse it sounds.
        complexity: u8,
    },
}

/// How a [`VoiceManager`](super::VoiceManager) works; `Config::default()` is right for Discord.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where everything but audio runs.
    pub control_arbiter: ControlArbiter,
    /// How many arbiters (threads) do nothing but send and receive audio; by default one per core. With 0 audio
    /// runs beside the control plane, on its clock.
    pub media_arbiters: usize,
    /// How the threads of media arbiters are scheduled.
    pub media_priority: MediaPriority,
    /// How many arbiters (threads) decode what is heard; by default one for two cores. They are started with the first call, and
    /// sleep while nobody speaks, or nobody listens. Without media arbiters there are none either.
    pub hearing_arbiters: usize,
    /// Who is let in when the media arbiters are busy.
    pub admission: Admission,
    /// How frames are encoded that do not come as Opus.
    pub encoder: EncoderSettings,
    /// How files are opened that a call is to play: which ffmpeg plays what is not decoded here.
    #[cfg(feature = "decode")]
    pub decode: crate::audio::decode::DecodeOptions,
    /// Whether voice gateways are spoken to over TLS. The URL of a [`MainGateway`](super::MainGateway) says it for that one.
    pub encryption: Encryption,
    /// Which voice servers are connected to: any that VOICE_SERVER_UPDATE names, or only those under Discord's domains.
    pub endpoints: Endpoints,
    /// The highest version of the end-to-end encryption protocol that is offered. With 0 Discord refuses (4017).
    pub max_dave_protocol_version: u16,
    /// Whether the bot may only speak where it is end-to-end encrypted, as every voice channel of Discord is: on. A voice
    /// server that says otherwise gets silence, and the call ends with [`EndReason::NotEncrypted`](crate::call::EndReason::NotEncrypted).
    /// Stages are never encrypted; they are known by [`StageChannel`](super::StageChannel), or by the bot being in the audience.
    pub require_e2ee: bool,
    /// The key by which other members can recognise the bot over several calls; by default a new one for each manager.
    pub identity: Option<IdentityKey>,
    /// What a call does about failures, how soon, and how often.
    pub supervision: Supervision,
    roots: Vec<CertificateDer<'static>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control_arbiter: ControlArbiter::Own,
            media_arbiters: std::thread::available_parallelism().map_or(1, usize::from),
            media_priority: MediaPriority::default(),
            hearing_arbiters: std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            admission: Admission::default(),
            encoder: EncoderSettings::default(),
            #[cfg(feature = "decode")]
            decode: crate::audio::decode::DecodeOptions::default(),
            encryption: Encryption::Tls,
            endpoints: Endpoints::Any,
            max_dave_protocol_version: 1,
            require_e2ee: true,
            identity: None,
            supervision: Supervision::default(),
            roots: Vec::new(),
        }
    }
}

impl Config {
    /// For tests: everything on the caller's arbiter, no TLS.
    #[must_use]
    pub fn local() -> Self {
        Self {
            control_arbiter: ControlArbiter::Callers,
            media_arbiters: 0,
            encryption: Encryption::None,
            ..Self::default()
        }
    }

    /// Trusts the certificates in this PEM text besides the platform's.
    ///
    /// # Errors
    ///
    /// When the text holds no certificate, or a broken one.
    pub fn trust(mut self, pem: &str) -> Result<Self, StartError> {
        let before = self.roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            self.roots.push(certificate.map_err(|error| StartError::Certificate(error.to_string()))?);
        }
        if self.roots.len() == before {
            return Err(StartError::Certificate("no certificate in it".into()));
        }
        Ok(self)
    }

    /// The TLS settings for all connections; platform roots that cannot be read are left out.
    pub(super) fn tls(&self, encryption: Encryption) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if encryption == Encryption::Tls {
            let platform = rustls_native_certs::load_native_certs();
            for error in &platform.errors {
                tracing::warn!(%error, "a trusted root of the platform cannot be read");
            }
            roots.add_parsable_certificates(platform.certs);
        }
        roots.add_parsable_certificates(self.roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Why a manager could not be started as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A certificate to be trusted cannot be read.
    #[error("the certificate to trust cannot be read: {0}")]
    Certificate(String),
    /// The system gave no thread, or no actix System began on it.
    #[error("no thread for the manager: {0}")]
    Thread(String),
}
