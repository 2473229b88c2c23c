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

/// How a [`VoiceManager`](super::VoiceManager) works; `Config::default()` is right for Discord.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where everything but audio runs.
    pub control_arbiter: ControlArbiter,
    /// How many arbiters (threads) do nothing but send and receive audio; by default one per core. With 0 audio
    /// runs beside the control plane, on its clock.
    pub media_arbiters: usize,
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
