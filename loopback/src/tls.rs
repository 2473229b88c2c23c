//! A certificate authority of our own, made at start, and the server certificate for 127.0.0.1, ::1 and localhost.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::StartError;

/// What a TLS listener needs, and what a client must trust to reach it.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) pem: String,
    pub(crate) acceptor: TlsAcceptor,
}

impl Authority {
    /// Makes the authority and one server certificate signed by it.
    pub(crate) fn new() -> Result<Self, StartError> {
        let (issuer, pem) = authority()?;
        let key = KeyPair::generate().map_err(certificate)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let server = CertificateParams::new(names)
            .and_then(|parameters| parameters.signed_by(&key, &issuer))
            .map_err(certificate)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![server.der().clone()], private)
            })
            .map_err(certificate)?;
        Ok(Self { pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String), StartError> {
    let key = KeyPair::generate().map_err(certificate)?;
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.distinguished_name.push(DnType::CommonName, "actix-voice loopback");
    let pem = parameters.self_signed(&key).map_err(certificate)?.pem();
    Ok((Issuer::new(parameters, key), pem))
}

fn certificate(error: impl std::fmt::Display) -> StartError {
    StartError::Certificate(error.to_string())
}
