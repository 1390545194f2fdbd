//! Making connections to endpoints.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_net::tls::{ClientTls, TlsError};
use outrigger_net::{Address, ConnectOptions, Stream};
use tokio_rustls::rustls;

use crate::config::{ClusterConfig, Location, Protocol};
use crate::endpoint::Identity;
use crate::error::{SendError, SendErrorKind};

/// How a cluster connects, prepared when it is compiled.
#[derive(Clone)]
pub(crate) struct Dialer {
    timeout: Duration,
    http2: bool,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    settings: ClientTls,
    config: Arc<rustls::ClientConfig>,
    fingerprint: u64,
}

impl Dialer {
    /// Reads the files TLS needs.
    pub(crate) fn new(config: &ClusterConfig) -> Result<Self, TlsError> {
        let http2 = config.protocol == Protocol::Http2;
        let tls = match &config.tls {
            None => None,
            Some(settings) => {
                let mut settings = settings.clone();
                if settings.alpn.is_empty() {
                    settings.alpn = vec![if http2 { "h2" } else { "http/1.1" }.to_owned()];
                }
                let fingerprint = Identity::tls_fingerprint(&settings);
                Some(Tls { config: settings.build()?, settings, fingerprint })
            }
        };
        Ok(Self { timeout: config.connect_timeout, http2, tls })
    }

    /// The identity an endpoint has when reached this way.
    pub(crate) fn identity(&self, location: Location) -> Identity {
        let connected = matches!(location, Location::Address(_));
        let tls = self.tls.as_ref().filter(|_| connected).map(|tls| tls.fingerprint);
        Identity { location, http2: self.http2 && connected, tls }
    }

    /// Whether the upstream's certificate can name the endpoint at all.
    pub(crate) fn check_name(&self, location: &Location) -> Result<(), TlsError> {
        match (&self.tls, location) {
            (Some(tls), Location::Address(address)) => tls.settings.name_for(address).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether connections made by `other` are as good as ours.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let fingerprint = |dialer: &Self| dialer.tls.as_ref().map(|tls| tls.fingerprint);
        (self.timeout, self.http2, fingerprint(self)) == (other.timeout, other.http2, fingerprint(other))
    }

    /// Whether connections are encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects, TLS handshake included, within `connect_timeout`.
    pub(crate) async fn connect(&self, address: &Address) -> Result<Stream, SendError> {
        let mut options = ConnectOptions { timeout: self.timeout, ..ConnectOptions::default() };
        if let Some(tls) = &self.tls {
            let name = tls.settings.name_for(address);
            let name = name.map_err(|error| SendError::with_source(SendErrorKind::Tls, error))?;
            options.tls = Some((Arc::clone(&tls.config), name));
        }
        let connected = Stream::connect(address, &options).await;
        connected.map_err(|error| SendError::with_source(self.kind_of(&error), error))
    }

    fn kind_of(&self, error: &io::Error) -> SendErrorKind {
        match error.kind() {
            io::ErrorKind::TimedOut => SendErrorKind::ConnectTimeout,
            // What rustls says of a certificate or alert, and a peer that hangs up on our hello.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof if self.is_tls() => SendErrorKind::Tls,
            _ => SendErrorKind::ConnectFailed,
        }
    }
}
