//! Connecting to one of the members.

use std::path::Path;
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use outrigger_component_api::{Error, ErrorKind, Result};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::config::{Cluster, Tls};
use crate::failure::from_etcd;

/// A peer that vanished without a word, as seen from calls and watches under way.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest message either way. How large a value may be is for etcd to say, which by default takes 1.5 MiB.
const LARGEST: usize = 64 << 20;

impl Cluster {
    /// A connection to the first member that takes it, beginning with the `first`.
    ///
    /// One member at a time, where the client would spread calls over all of them: it waits without end when none
    /// answers, while here each attempt has an outcome.
    pub(crate) async fn connect(&self, first: usize) -> Result<Connection> {
        let mut refused = Error::unavailable("etcd cannot be reached");
        let share = self.dial_timeout / u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX).max(1);
        let turns = self.endpoints.iter().cycle().skip(first % self.endpoints.len().max(1));
        for endpoint in turns.take(self.endpoints.len()) {
            match tokio::time::timeout(share, self.connect_to(endpoint)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => refused = error.with("endpoint", endpoint),
                Err(_) => {
                    let late = "etcd did not answer within dialTimeout";
                    refused = Error::unavailable(late).with("endpoint", endpoint);
                }
            }
        }
        Err(refused)
    }

    async fn connect_to(&self, endpoint: &str) -> Result<Connection> {
        let malformed =
            |error: tonic::transport::Error| Error::invalid("the endpoint is malformed").with_source(error);
        let mut target = Endpoint::from_shared(endpoint.to_owned())
            .map_err(malformed)?
            .tcp_nodelay(true)
            // Also for a connection the channel makes anew by itself, of which nobody else keeps the time.
            .connect_timeout(self.dial_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        if let Some(tls) = &self.tls {
            target = target.tls_config(tls.read().await?).map_err(certificates)?;
        }
        let channel = target.connect().await.map_err(|error| from_etcd(&error.into()))?;
        let mut options = ConnectOptions::new();
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password.expose()).with_auto_token_refresh(true);
        }
        let client =
            async |options| Client::from_channel(Channel::Tonic(channel.clone()), Some(options)).await;
        let calls = client(options.clone()).await.map_err(|error| from_etcd(&error))?;
        // A member that lost the others would keep a watch open and silent. A call waits there for the next leader.
        let watches = client(options.with_require_leader(true)).await.map_err(|error| from_etcd(&error))?;
        Ok(Connection::new(&calls, &watches))
    }
}

/// A connection by what is asked of it. The client whole is several kilobytes, and each call has one of its own.
pub(crate) struct Connection {
    kv: KvClient,
    lease: LeaseClient,
    watch: WatchClient,
}

impl Connection {
    fn new(calls: &Client, watches: &Client) -> Self {
        let kv = calls.kv_client().max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST);
        let watch = watches.watch_client().max_decoding_message_size(LARGEST);
        Self { kv, lease: calls.lease_client(), watch }
    }

    pub(crate) fn kv(&self) -> KvClient {
        self.kv.clone()
    }

    pub(crate) fn lease(&self) -> LeaseClient {
        self.lease.clone()
    }

    pub(crate) fn watch(&self) -> WatchClient {
        self.watch.clone()
    }
}

impl Tls {
    async fn read(&self) -> Result<ClientTlsConfig> {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.ca).await?));
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
        }
        Ok(config)
    }
}

/// A file that is not there may yet come: certificates are often issued beside the start of the program.
async fn read(file: &Path) -> Result<Vec<u8>> {
    tokio::fs::read(file).await.map_err(|error| {
        Error::unavailable("a certificate of the connection to etcd cannot be read")
            .with_source(format!("{}: {error}", file.display()))
    })
}

fn certificates(error: tonic::transport::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the certificates of the connection to etcd do not fit")
        .with_source(error)
}
