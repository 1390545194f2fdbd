//! TLS with rustls, on ring alone: configuration from files, the handshake on both sides, and what it told us.

mod client;
mod files;
mod peer;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client::{ClientTls, connect};
pub use peer::{PeerCertificate, TlsInfo};
pub use rustls::pki_types::ServerName;
pub use rustls::{ClientConfig, ServerConfig};
pub use server::{ClientAuth, HANDSHAKE_TIMEOUT, ServerTls, TlsAcceptor};

/// Makes ring the provider of every rustls user in this process. First thing in `main`; again does nothing.
pub fn install_provider() {
    // An error says that one is installed, and the tree holds no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The oldest version spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        static ALL: [&rustls::SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls12 => &ALL,
            Self::Tls13 => &ALL[..1],
        }
    }
}

/// What is wrong with a TLS configuration. Names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("{} holds no {wanted} in PEM form", path.display())]
    Missing { path: PathBuf, wanted: &'static str },
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("a client certificate needs both `certificate` and `key`")]
    HalfIdentity,
    #[error("`client_auth: optional` needs `client_ca`")]
    OptionalWithoutCa,
    #[error("'{0}' is not a host name or an IP address")]
    ServerName(String),
    #[error("tls: {0}")]
    Other(#[from] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocols(alpn: &[String]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests;
