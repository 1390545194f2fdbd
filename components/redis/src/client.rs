//! Reaching Redis, in each of its three shapes. The one file that names the driver's errors and turns them into ours.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Result, Secret};
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::io::tcp::{TcpSettings, socket2};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client as NodeClient, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    ErrorKind as DriverKind, IntoConnectionInfo, ParsingError, Pipeline, ProtocolVersion,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, TlsMode, Value,
};

use crate::config::{Pace, RedisType, Server, Tls};

/// A peer that vanished without a word is noticed after about half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PROBES: u32 = 3;

/// Where Redis is and who we are there. Connects to nothing by itself.
pub(crate) struct Client {
    shape: Shape,
    pub(crate) pace: Pace,
}

enum Shape {
    Node(Box<NodeClient>),
    Cluster(Box<ClusterClient>),
    Sentinels(Box<Sentinels>),
}

/// What is needed to ask sentinels for the master.
struct Sentinels {
    addresses: Vec<ConnectionAddr>,
    certificates: Option<TlsCertificates>,
    master: String,
    username: Option<String>,
    password: Option<Secret>,
    node: RedisConnectionInfo,
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
        let addresses = addresses(server)?;
        let shape = match (server.r#type, server.master.filter(|_| server.failover)) {
            (RedisType::Cluster, _) => Shape::Cluster(Box::new(cluster(server, addresses, certificates)?)),
            (RedisType::Node, Some(master)) => Shape::Sentinels(Box::new(Sentinels {
                addresses,
                certificates,
                master: master.to_owned(),
                username: server.sentinel_username.map(str::to_owned),
                password: server.sentinel_password.cloned(),
                node: login(server),
            })),
            (RedisType::Node, None) => Shape::Node(Box::new(node(server, addresses, certificates)?)),
        };
        Ok(Self { shape, pace: server.pace })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.shape, Shape::Cluster(_))
    }

    /// One attempt. The connection's driver runs on the runtime that calls, and ends with it.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        self.connect_for(self.pace.answer).await
    }

    /// As [`Client::connect`], for commands that may take as long as `answer`.
    pub(crate) async fn connect_for(&self, answer: Duration) -> Result<Connection> {
        let lost = Arc::new(AtomicBool::new(false));
        let watched = Watched(Arc::clone(&lost));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.pace.dial))
            .set_response_timeout(Some(answer))
            .set_push_sender(move |_| {
                // Only held: what matters is when the driver drops it.
                let _ = &watched;
                Ok::<_, redis::aio::SendError>(())
            });
        let longer = ClusterConfig::new().set_response_timeout(answer);
        let kind = match &self.shape {
            Shape::Node(client) => Kind::Node(
                client.get_multiplexed_async_connection_with_config(&config).await.map_err(from_redis)?,
            ),
            Shape::Sentinels(sentinels) => {
                let mut asked = sentinels.client()?;
                let master = asked.async_get_client().await.map_err(from_redis)?;
                Kind::Node(
                    master.get_multiplexed_async_connection_with_config(&config).await.map_err(from_redis)?,
                )
            }
            // Finds lost nodes again by itself.
            Shape::Cluster(client) => {
                Kind::Cluster(client.get_async_connection_with_config(longer).await.map_err(from_redis)?)
            }
        };
        if matches!(kind, Kind::Cluster(_)) {
            // The flag is set by now: nobody holds what would have set it.
            lost.store(false, Ordering::Release);
        }
        Ok(Connection { kind, pace: self.pace, lost })
    }
}

impl Sentinels {
    /// The driver's client remembers which sentinel it asked last, so each attempt has its own.
    fn client(&self) -> Result<SentinelClient> {
        let build = || {
            let mut builder = SentinelClientBuilder::new(
                self.addresses.iter().cloned(),
                &self.master,
                SentinelServerType::Master,
            )?
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_db(self.node.db())
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
            if let Some(username) = self.node.username() {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = self.node.password() {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(username) = &self.username {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = &self.password {
                builder = builder.set_client_to_sentinel_password(password.expose());
            }
            if let Some(certificates) = &self.certificates {
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

    /// Sends a command without a key to the node of a cluster that holds `key`.
    pub(crate) async fn send_to(&mut self, key: &[u8], command: &Cmd) -> Result<Value, RedisError> {
        match &mut self.kind {
            Kind::Node(node) => node.req_packed_command(command).await.and_then(Value::extract_error),
            Kind::Cluster(cluster) => {
                let master = Route::with_key(key, SlotAddr::Master);
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(master));
                cluster.route_command(command.clone(), routing).await.and_then(Value::extract_error)
            }
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
fn was_not_done(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(
        error.kind(),
        DriverKind::Server(Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain)
            | DriverKind::ClusterConnectionNotFound
    )
}

/// Settings that make no sense together.
fn check(server: &Server<'_>) -> Result<()> {
    let wrong = match server {
        Server { r#type: RedisType::Cluster, failover: true, .. } => {
            "failover is for sentinels; a cluster fails over by itself: set redisType or failover, not both"
        }
        Server { r#type: RedisType::Cluster, db: 1.., .. } => {
            "a cluster has only the database 0: remove redisDB"
        }
        Server { failover: true, master: None | Some(""), .. } => {
            "failover needs sentinelMasterName: the name the sentinels know the master by"
        }
        Server { failover: false, master: Some(_), .. } => {
            "sentinelMasterName does nothing without failover: set failover to true or remove it"
        }
        Server { tls: None, has_certificates: true, .. } => {
            "caCert, clientCert and clientKey do nothing without enableTLS: set it to true or remove them"
        }
        Server { username: Some(_), password: None, .. } => "redisUsername needs redisPassword",
        _ => return Ok(()),
    };
    Err(Error::invalid(wrong))
}

fn addresses(server: &Server<'_>) -> Result<Vec<ConnectionAddr>> {
    let default_port = server.port.unwrap_or(if server.failover { 26379 } else { 6379 });
    let hosts = server.hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
    let addresses: Vec<_> =
        hosts.map(|host| address(host, default_port, server.tls.is_some())).collect::<Result<_>>()?;
    match addresses.len() {
        0 => Err(Error::invalid("redisHost is empty")),
        2.. if server.r#type == RedisType::Node && !server.failover => Err(Error::invalid(
            "redisHost names several servers: set redisType to cluster, or failover to true for sentinels",
        )),
        _ => Ok(addresses),
    }
}

fn address(host: &str, default_port: u16, tls: bool) -> Result<ConnectionAddr> {
    let malformed = || Error::invalid("redisHost is malformed: expected host:port").with("host", host);
    let (name, port) = match host.rsplit_once(':') {
        // The last colon of a bare IPv6 address is not a port's.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().map_err(|_| malformed())?)
        }
        _ => (host, default_port),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    if name.is_empty() || name.contains('/') {
        return Err(malformed());
    }
    Ok(if tls {
        ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(name, port)
    })
}

fn login(server: &Server<'_>) -> RedisConnectionInfo {
    // RESP3 because only there the driver says that a connection was lost before somebody uses it.
    let mut login =
        RedisConnectionInfo::default().set_db(server.db.into()).set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = server.username {
        login = login.set_username(username);
    }
    if let Some(password) = server.password {
        login = login.set_password(password.expose());
    }
    login
}

fn tcp() -> TcpSettings {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE)
        .with_retries(KEEP_ALIVE_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keep_alive)
}

fn node(
    server: &Server<'_>,
    addresses: Vec<ConnectionAddr>,
    certificates: Option<TlsCertificates>,
) -> Result<NodeClient> {
    let address = addresses.into_iter().next().ok_or_else(|| Error::invalid("redisHost is empty"))?;
    let info = |address: ConnectionAddr| -> Result<ConnectionInfo> {
        let info = address.into_connection_info().map_err(from_redis)?;
        Ok(info.set_tcp_settings(tcp()).set_redis_settings(login(server)))
    };
    let info = info(address)?;
    match certificates {
        Some(certificates) => NodeClient::build_with_tls(info, certificates),
        None => NodeClient::open(info),
    }
    .map_err(|error| wrong_settings(&error))
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

fn certificates(tls: &Tls<'_>) -> Result<TlsCertificates> {
    let root_cert = tls.ca.map(|ca| pem("caCert", ca)).transpose()?;
    let client_tls = match (tls.certificate, tls.key) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: pem("clientCert", certificate)?,
            client_key: pem("clientKey", key.expose())?,
        }),
        (None, None) => None,
        _ => return Err(Error::invalid("clientCert and clientKey go together: set both or none")),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// PEM as given, or read from the file it names.
fn pem(setting: &'static str, given: &str) -> Result<Vec<u8>> {
    if given.contains("-----BEGIN ") {
        return Ok(given.as_bytes().to_vec());
    }
    std::fs::read(Path::new(given)).map_err(|error| {
        Error::invalid(format!("{setting} is neither PEM nor the path of a file that can be read"))
            .with_source(error)
    })
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
    let text = error.to_string();
    text.contains("certificate")
        || text.contains("TLS")
        || text.contains("InvalidContentType")
        || text.contains("tls")
}
