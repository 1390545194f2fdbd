//! TLS towards clients: the listener's section, and the acceptor whose configuration can be swapped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MinVersion, TlsError, files, protocols, provider};
use crate::{Rewind, Stream};

/// A handshake that takes longer is cut.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The `tls` section of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file with our certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM file with the certificate's private key.
    pub key: PathBuf,
    /// PEM file with the authorities whose client certificates we take. With it a client must show one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate, when `client_ca` is set. Default `required`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Protocols offered, the preferred first. Default `[h2, http/1.1]`; empty for bytes of another protocol.
    #[serde(default = "http_protocols")]
    pub alpn: Vec<String>,
    /// The oldest version spoken. Default `1.2`.
    #[serde(default)]
    pub min_version: MinVersion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    #[default]
    Required,
    /// One that is shown must be good; none is fine.
    Optional,
}

fn http_protocols() -> Vec<String> {
    ["h2", "http/1.1"].map(str::to_owned).to_vec()
}

impl ServerTls {
    /// With the defaults for HTTP.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            client_auth: ClientAuth::default(),
            alpn: http_protocols(),
            min_version: MinVersion::default(),
        }
    }

    /// Reads the files.
    pub fn build(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.min_version.versions())?;
        let builder =
            match &self.client_ca {
                None if self.client_auth == ClientAuth::Optional => return Err(TlsError::OptionalWithoutCa),
                None => builder.with_no_client_auth(),
                Some(ca) => {
                    let verifier = WebPkiClientVerifier::builder_with_provider(files::roots(ca)?, provider());
                    let verifier = match self.client_auth {
                        ClientAuth::Required => verifier,
                        ClientAuth::Optional => verifier.allow_unauthenticated(),
                    };
                    builder.with_client_cert_verifier(verifier.build().map_err(|error| {
                        TlsError::Unusable { path: ca.clone(), reason: error.to_string() }
                    })?)
                }
            };
        let chain = files::certificates(&self.certificate)?;
        let mut config = builder.with_single_cert(chain, files::key(&self.key)?).map_err(|error| {
            TlsError::Unusable { path: self.certificate.clone(), reason: error.to_string() }
        })?;
        config.alpn_protocols = protocols(&self.alpn);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.client_ca.is_some() {
            // A resumed session would carry an identity past its revocation, or to another configuration.
            config.send_tls13_tickets = 0;
        } else {
            // Tickets under keys of this configuration alone: nothing kept per client, nothing valid elsewhere.
            config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        }
        Ok(Arc::new(config))
    }
}

/// Does the server's side of handshakes. Cloning shares the configuration, so a swap reaches all clones.
#[derive(Clone, Debug)]
pub struct TlsAcceptor {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsAcceptor {
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { config: Arc::new(RwLock::new(config)) }
    }

    /// Handshakes that start from now on use `config`; connections live on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.write() = config;
    }

    /// The handshake, at most for [`HANDSHAKE_TIMEOUT`].
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        self.accept_after(Rewind::new(bytes::Bytes::new(), stream)).await
    }

    /// The same on a stream some of whose bytes were read to detect the protocol.
    pub async fn accept_after(&self, stream: Rewind<Stream>) -> io::Result<Stream> {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.config.read()));
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(tls)) => Ok(Stream::Tls(Box::new(tls))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no handshake within {HANDSHAKE_TIMEOUT:?}"),
            )),
        }
    }
}
