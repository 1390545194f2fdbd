//! Reaching Redis, in each of its three shapes. The one file that names the driver's errors and turns them into ours.

mod masters;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Result, Secret};
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client as NodeClient, Cmd, ConnectionAddr, ErrorKind as DriverKind,
    IntoConnectionInfo, ParsingError, Pipeline, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError,
    ServerErrorKind, TlsCertificates, TlsMode, Value,
};

use crate::address::{addresses, certificates, check, login, tcp};
use crate::config::{Pace, RedisType, Server};
pub(crate) use masters::Slots;

/// Where Redis is and who we are there. Connects to nothing by itself.
#[derive(Clone)]
pub(crate) struct Client {
    shape: Shape,
    identity: Identity,
    pub(crate) pace: Pace,
}

/// Who we are, and whom we trust.
#[derive(Clone)]
struct Identity {
    login: RedisConnectionInfo,
    certificates: Option<TlsCertificates>,
}

#[derive(Clone)]
enum Shape {
    Node(Box<NodeClient>),
    Cluster(Box<ClusterClient>),
    Sentinels(Box<Sentinels>),
}

/// What is needed to ask sentinels for the master.
#[derive(Clone)]
struct Sentinels {
    addresses: Vec<ConnectionAddr>,
    master: String,
    username: Option<String>,
    password: Option<Secret>,
    identity: Identity,
}

/// A connection that many calls share; what they send in the same moment travels together.
#[derive(Clone)]
pub(crate) struct Connection {
    kind: Kind,
    pace: Pace,
    lost: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Kind {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Sets the flag when the driver lets go of the connection, whatever the reason.
struct Watched(Arc<AtomicBool>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Client {
    pub(crate) fn new(server: &Server<'_>) -> Result<Self> {
        check(server)?;
        let certificates = server.tls.as_ref().map(certificates).transpose()?;
        let identity = Identity { login: login(server), certificates };
        let addresses = addresses(server)?;
        let shape = match (server.r#type, server.master.filter(|_| server.failover)) {
            (RedisType::Cluster, _) => {
                Shape::Cluster(Box::new(cluster(server, addresses, identity.certificates.clone())?))
            }
            (RedisType::Node, Some(master)) => Shape::Sentinels(Box::new(Sentinels {
                addresses,
                master: master.to_owned(),
                username: server.sentinel_username.map(str::to_owned),
                password: server.sentinel_password.cloned(),
                identity: identity.clone(),
            })),
            (RedisType::Node, None) => {
                let first = addresses.into_iter().next();
                let address = first.ok_or_else(|| Error::invalid("redisHost is empty"))?;
                Shape::Node(Box::new(identity.node(address)?))
            }
        };
        Ok(Self { shape, identity, pace: server.pace })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.shape, Shape::Cluster(_))
    }

    /// Connects for commands that may take as long as `answer`, with as many attempts as are allowed.
    pub(crate) async fn dial(&self, answer: Duration) -> Result<Connection> {
        let attempts = tokio::time::timeout(self.pace.dial, self.attempts(answer)).await;
        attempts.unwrap_or_else(|_| Err(Error::unavailable("redis did not answer within dialTimeout")))
    }

    async fn attempts(&self, answer: Duration) -> Result<Connection> {
        let mut attempt = 0;
        loop {
            match self.connect_for(answer).await {
                Err(error) if attempt < self.pace.retries && error.is_retryable() => {
                    tokio::time::sleep(self.pace.pause(attempt)).await;
                    attempt += 1;
                }
                connected => return connected,
            }
        }
    }

    /// One attempt. The connection's driver runs on the runtime that calls, and ends with it.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        self.connect_for(self.pace.answer).await
    }

    /// As [`Client::connect`], for commands that may take as long as `answer`.
    pub(crate) async fn connect_for(&self, answer: Duration) -> Result<Connection> {
        self.connect_with(answer, |_| {}).await
    }

    /// As [`Client::connect`], for a connection that is told things; `push` is dropped when it is lost.
    pub(crate) async fn connect_to_listen(
        &self,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection> {
        self.connect_with(self.pace.answer, push).await
    }

    async fn connect_with(
        &self,
        answer: Duration,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection> {
        let lost = Arc::new(AtomicBool::new(false));
        let watched = Watched(Arc::clone(&lost));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.pace.dial))
            .set_response_timeout(Some(answer))
            .set_push_sender(move |info| {
                // Held until the driver drops it, which is when the connection is lost.
                let _ = &watched;
                push(info);
                Ok::<_, redis::aio::SendError>(())
            });
        let node = match &self.shape {
            Shape::Node(client) => NodeClient::clone(client),
            Shape::Sentinels(sentinels) => sentinels.master().await?,
            // Finds lost nodes again by itself.
            Shape::Cluster(client) => {
                let config = ClusterConfig::new().set_response_timeout(answer);
                let cluster = client.get_async_connection_with_config(config).await.map_err(from_redis)?;
                let lost = Arc::new(AtomicBool::new(false));
                return Ok(Connection { kind: Kind::Cluster(cluster), pace: self.pace, lost });
            }
        };
        let node = node.get_multiplexed_async_connection_with_config(&config).await.map_err(from_redis)?;
        Ok(Connection { kind: Kind::Node(node), pace: self.pace, lost })
    }
}

impl Identity {
    fn address(&self, host: String, port: u16) -> ConnectionAddr {
        match self.certificates {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        }
    }

    fn node(&self, address: ConnectionAddr) -> Result<NodeClient> {
        let info = address.into_connection_info().map_err(from_redis)?;
        let info = info.set_tcp_settings(tcp()).set_redis_settings(self.login.clone());
        match &self.certificates {
            Some(certificates) => NodeClient::build_with_tls(info, certificates.clone()),
            None => NodeClient::open(info),
        }
        .map_err(|error| wrong_settings(&error))
    }
}

impl Sentinels {
    /// Asks for the master, and the master whether it is.
    async fn master(&self) -> Result<NodeClient> {
        self.client()?.async_get_client().await.map_err(from_redis).map_err(|error| match error.kind() {
            ErrorKind::Unauthenticated => {
                let message =
                    "sentinel or master refused the credentials; check sentinelPassword and redisPassword";
                Error::new(ErrorKind::Unauthenticated, message).with_source(error)
            }
            _ => error,
        })
    }

    /// The driver's client remembers which sentinel it asked last, so each attempt has its own.
    fn client(&self) -> Result<SentinelClient> {
        let build = || {
            let mut builder = SentinelClientBuilder::new(
                self.addresses.iter().cloned(),
                &self.master,
                SentinelServerType::Master,
            )?
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_db(self.identity.login.db())
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
            if let Some(username) = self.identity.login.username() {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = self.identity.login.password() {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(username) = &self.username {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = &self.password {
                builder = builder.set_client_to_sentinel_password(password.expose());
            }
            if let Some(certificates) = &self.identity.certificates {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_certificates(certificates.clone());
            }
            builder.build()
        };
        build().map_err(from_redis)
    }
}

impl Connection {
    /// Whether the driver has let go of it: nothing that is sent now would arrive.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Sends a command. In a cluster, its first key says to which node.
    ///
    /// There, it is sent again where the answer shows that nothing was done: the key is on another node, or the node is
    /// not ready. (The driver's own retries would also repeat what was under way when a connection broke.)
    pub(crate) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let mut attempt = 0;
        loop {
            let answer = match &mut self.kind {
                Kind::Node(node) => {
                    return node.req_packed_command(command).await.and_then(Value::extract_error);
                }
                Kind::Cluster(cluster) => cluster.req_packed_command(command).await,
            };
            match answer.and_then(Value::extract_error) {
                Err(error) if attempt < self.pace.retries && was_not_done(&error) => {
                    tokio::time::sleep(self.pace.pause(attempt)).await;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Has the server tell what happens on channels.
    pub(crate) async fn listen_to(&mut self, channels: &[String]) -> Result<(), RedisError> {
        match &mut self.kind {
            Kind::Node(node) => node.subscribe(channels).await,
            Kind::Cluster(cluster) => cluster.subscribe(channels).await,
        }
    }

    /// Has the server tell what happens on every channel like `pattern`.
    pub(crate) async fn listen_to_all(&mut self, pattern: &str) -> Result<(), RedisError> {
        match &mut self.kind {
            Kind::Node(node) => node.psubscribe(pattern).await,
            Kind::Cluster(cluster) => cluster.psubscribe(pattern).await,
        }
    }

    /// Sends commands in one go and gives an answer for each, errors of the server included. Not for clusters, where
    /// the keys of one pipeline have to live on one node.
    pub(crate) async fn send_all(&mut self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let count = commands.len();
        match &mut self.kind {
            Kind::Node(node) => node.req_packed_commands(commands, 0, count).await,
            Kind::Cluster(cluster) => cluster.req_packed_commands(commands, 0, count).await,
        }
    }
}

/// Whether a node of a cluster says that it has not even begun.
pub(crate) fn was_not_done(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(
        error.kind(),
        DriverKind::Server(Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain)
            | DriverKind::ClusterConnectionNotFound
    )
}

fn cluster(
    server: &Server<'_>,
    addresses: Vec<ConnectionAddr>,
    certificates: Option<TlsCertificates>,
) -> Result<ClusterClient> {
    let mut builder = ClusterClientBuilder::new(addresses)
        // What a broken connection left open is for our caller to decide; see `follow`.
        .retries(0)
        .connection_timeout(server.pace.dial)
        .response_timeout(server.pace.answer)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp());
    if let Some(username) = server.username {
        builder = builder.username(username);
    }
    if let Some(password) = server.password {
        builder = builder.password(password.expose());
    }
    if let Some(certificates) = certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    builder.build().map_err(|error| wrong_settings(&error))
}

/// The driver could make nothing of the settings.
fn wrong_settings(error: &RedisError) -> Error {
    Error::invalid("the settings are not usable: are the certificates and the key valid PEM?")
        .with_source(error.to_string())
}

/// Whether a connection should not be used any more after this. A server that lost its role as the master answers as
/// usual, and still the next call has to look for the new one.
pub(crate) fn breaks(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.kind() == DriverKind::Server(ServerErrorKind::ReadOnly)
}

/// Whether the server does not have the script any more.
pub(crate) fn lacks_script(error: &RedisError) -> bool {
    error.kind() == DriverKind::Server(ServerErrorKind::NoScript)
}

/// Whether a stream or its consumer group is not there.
pub(crate) fn lacks_group(error: &RedisError) -> bool {
    error.code() == Some("NOGROUP") || error.to_string().contains("NOGROUP")
}

/// Whether what was to be created is there already.
pub(crate) fn has_group(error: &RedisError) -> bool {
    error.code() == Some("BUSYGROUP")
}

/// What an error of the driver or of the server means to a caller. Its own text becomes the source, for the log.
pub(crate) fn from_redis(error: RedisError) -> Error {
    let (kind, passes, message) = meaning(&error);
    let ours = Error::new(kind, message).with_source(error.to_string());
    if passes { ours } else { ours.permanent() }
}

/// An answer that is not what the command promises.
pub(crate) fn from_reading(error: ParsingError) -> Error {
    Error::internal("redis gave an answer of the wrong kind").with_source(error)
}

fn meaning(error: &RedisError) -> (ErrorKind, bool, &'static str) {
    match error.kind() {
        _ if error.is_timeout() => (ErrorKind::Timeout, true, "redis did not answer in time"),
        DriverKind::AuthenticationFailed => (
            ErrorKind::Unauthenticated,
            false,
            "redis refused the credentials; check redisUsername and redisPassword",
        ),
        DriverKind::Io if is_tls(error) => (
            ErrorKind::Unavailable,
            false,
            "the TLS handshake with redis failed; check caCert, clientCert and the name in redisHost",
        ),
        DriverKind::Io | DriverKind::ClusterConnectionNotFound => {
            (ErrorKind::Unavailable, true, "redis cannot be reached")
        }
        DriverKind::MasterNameNotFoundBySentinel | DriverKind::NoValidReplicasFoundBySentinel => {
            (ErrorKind::Unavailable, true, "the sentinels know no master by the name in sentinelMasterName")
        }
        DriverKind::Parse => (ErrorKind::Unavailable, true, "what redis answered is not redis' protocol"),
        DriverKind::RESP3NotSupported => {
            (ErrorKind::FailedPrecondition, false, "the server is too old: redis 6.2 or newer is needed")
        }
        DriverKind::InvalidClientConfig => (ErrorKind::InvalidArgument, false, "the settings are not usable"),
        DriverKind::Server(kind) => server(kind, error),
        _ => code(error),
    }
}

fn server(kind: ServerErrorKind, error: &RedisError) -> (ErrorKind, bool, &'static str) {
    use ServerErrorKind as S;
    match kind {
        S::BusyLoading => (ErrorKind::Unavailable, true, "redis is still loading its data"),
        S::ClusterDown | S::MasterDown | S::TryAgain | S::Moved | S::Ask => {
            (ErrorKind::Unavailable, true, "the redis cluster cannot serve this key at the moment")
        }
        S::ReadOnly => (ErrorKind::Unavailable, true, "this redis is a replica and takes no writes"),
        S::CrossSlot => (
            ErrorKind::InvalidArgument,
            false,
            "a redis cluster changes together only keys of one slot; give them a common {tag}",
        ),
        S::NoPerm => (ErrorKind::PermissionDenied, false, "the redis user may not do this; check its ACL"),
        _ => code(error),
    }
}

/// What only the error's first word or its text tells.
fn code(error: &RedisError) -> (ErrorKind, bool, &'static str) {
    let text = error.to_string();
    let says = |word: &str| error.code() == Some(word) || text.contains(word);
    if says("NOAUTH") || says("WRONGPASS") || says("invalid password") || says("invalid username-password") {
        (
            ErrorKind::Unauthenticated,
            false,
            "redis refused the credentials; check redisUsername and redisPassword",
        )
    } else if says("WRONGTYPE") {
        (
            ErrorKind::FailedPrecondition,
            false,
            "the key holds data of another kind, written by another program",
        )
    } else if says("OOM") {
        (ErrorKind::RateLimited, true, "redis is full: its maxmemory is reached")
    } else if says("MISCONF") || says("NOREPLICAS") {
        (ErrorKind::Unavailable, true, "redis takes no writes at the moment: it cannot make them safe")
    } else if says("UNBLOCKED") {
        (ErrorKind::Unavailable, true, "this redis is not the master any more")
    } else if says("BUSY ") {
        (ErrorKind::Unavailable, true, "redis is busy with a script")
    } else if says("would overflow") {
        (ErrorKind::FailedPrecondition, false, "the number is at the end of its range")
    } else if says("NOSCRIPT") || says("unknown command") {
        (ErrorKind::FailedPrecondition, false, "the server is too old: redis 6.2 or newer is needed")
    } else {
        (ErrorKind::Internal, false, "redis refused the command")
    }
}

fn is_tls(error: &RedisError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    // The end of a connection, not of a handshake.
    let ended = ["without sending tls close_notify", "handshake eof"];
    !ended.iter().any(|words| text.contains(words))
        && ["certificate", "tls", "fatal alert", "invalidcontenttype"].iter().any(|word| text.contains(word))
}
