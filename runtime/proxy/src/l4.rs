//! Byte streams: the life of a connection that is carried without being understood.

mod own;
mod sni;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use outrigger_cluster::{Cluster, Connected, SendError};
use outrigger_http::Duplex;
use outrigger_http::chain::{Module, Tap};
use outrigger_net::copy::{self, CopyEnd, CopyOptions, CopyStats, Side};
use outrigger_net::{Accepted, Address, BoxFuture, ConnInfo, Drain, Rewind, Service, Stream};
use outrigger_resilience::Deadline;
use outrigger_telemetry::Metrics;

pub(crate) use own::leads_to;
pub(crate) use sni::SniMap;

use crate::config::ListenerConfig;
use crate::metrics::StreamMetrics;

/// How long a client may take to say which server it wants, and a server to be connected to.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the connections of one listener for as long as it listens. Reloads change the settings new ones get.
pub(crate) struct L4 {
    settings: ArcSwap<StreamListener>,
    /// Started when connections have had time enough to end by themselves.
    cut: Drain,
}

/// What a connection is decided by, read once when it arrives.
pub(crate) struct StreamListener {
    /// As configured; the port may be any.
    address: Address,
    destination: Destination,
    /// What both sides say goes by them, the first one nearest to the client.
    modules: Vec<Arc<dyn Module>>,
    options: CopyOptions,
    metrics: StreamMetrics,
}

pub(crate) enum Destination {
    Cluster(Arc<Cluster>),
    Sni(SniMap),
}

/// How a connection ended.
enum End {
    /// The client named no server we know.
    NoDestination {
        name: Option<Box<str>>,
    },
    NotConnected {
        cluster: Arc<Cluster>,
        error: SendError,
    },
    /// A filter would not have it.
    Refused,
    Carried {
        cluster: Arc<Cluster>,
        stats: CopyStats,
    },
    Cut,
}

impl L4 {
    pub(crate) fn new(settings: Arc<StreamListener>) -> Self {
        Self { settings: ArcSwap::new(settings), cut: Drain::new() }
    }

    pub(crate) fn replace(&self, settings: Arc<StreamListener>) {
        self.settings.store(settings);
    }

    /// Ends the connections that are left.
    pub(crate) fn cut(&self) {
        self.cut.start();
    }
}

impl Service for L4 {
    fn serve(self: Arc<Self>, conn: Accepted) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Accepted { stream, info, .. } = conn;
            let settings = self.settings.load_full();
            let started = Instant::now();
            settings.metrics.active.inc();
            let end = tokio::select! {
                end = settings.carry(stream, &info) => end,
                () = cut_of(&self.cut) => End::Cut,
            };
            settings.metrics.active.dec();
            settings.record(&info, &end, started);
        })
    }
}

async fn cut_of(cut: &Drain) {
    cut.watch().draining().await;
}

impl StreamListener {
    pub(crate) fn new(
        name: &str,
        config: &ListenerConfig,
        destination: Destination,
        modules: Vec<Arc<dyn Module>>,
        metrics: &Metrics,
    ) -> Self {
        let metrics = StreamMetrics::new(metrics, name);
        let options = CopyOptions {
            idle_timeout: config.idle_timeout,
            counters: Some([metrics.received.clone(), metrics.sent.clone()]),
            ..CopyOptions::default()
        };
        Self { address: config.address.clone(), destination, modules, options, metrics }
    }

    /// The life of a connection: find out where it goes, connect, carry.
    async fn carry(&self, mut client: Stream, conn: &Arc<ConnInfo>) -> End {
        let Some(taps) = self.taps(conn) else { return End::Refused };
        let (cluster, prefix) = match self.destination(&mut client).await {
            Ok(found) => found,
            Err(name) => return End::NoDestination { name },
        };
        // The server may be the first to speak, so connecting waits for nothing from the client.
        let deadline = Deadline::after(Instant::now(), SETUP_TIMEOUT);
        let bound = self.bound(&conn.local);
        let back = |endpoint: &Address| leads_to(endpoint, &bound);
        let Connected { stream: server, guard, .. } = match cluster.connect(deadline, back).await {
            Ok(connected) => connected,
            Err(error) => {
                // A reset says that it failed; an orderly end would say that the server had nothing to say.
                client.reset_on_close();
                return End::NotConnected { cluster, error };
            }
        };
        let stats = match prefix.is_empty() {
            _ if !taps.is_empty() => self.filter(taps, Rewind::new(prefix, client), server).await,
            true => copy::bidirectional(client, server, &self.options).await,
            false => copy::bidirectional(Rewind::new(prefix, client), server, &self.options).await,
        };
        drop(guard);
        End::Carried { cluster, stats }
    }

    /// Every filter begins with the connection, or it is closed.
    fn taps(&self, conn: &Arc<ConnInfo>) -> Option<Vec<Box<dyn Tap>>> {
        self.modules.iter().map(|module| module.tap(conn)).collect()
    }

    /// Carries by way of the filters.
    async fn filter(&self, taps: Vec<Box<dyn Tap>>, client: impl Duplex, server: impl Duplex) -> CopyStats {
        let ends: [Box<dyn Duplex>; 2] = [Box::new(client), Box::new(server)];
        let [client, server] =
            taps.into_iter().fold(ends, |[client, server], tap| tap.between(client, server));
        copy::bidirectional(client, server, &self.options).await
    }

    /// What is listened on, with the port the client has found it at.
    fn bound(&self, local: &Address) -> Address {
        match (&self.address, local) {
            (Address::Tcp(configured), Address::Tcp(local)) => {
                Address::Tcp((configured.ip(), local.port()).into())
            }
            (configured, _) => configured.clone(),
        }
    }

    /// The cluster, and what had to be read to find it; otherwise the name nobody answers to.
    async fn destination(&self, client: &mut Stream) -> Result<(Arc<Cluster>, Bytes), Option<Box<str>>> {
        match &self.destination {
            Destination::Cluster(cluster) => Ok((Arc::clone(cluster), Bytes::new())),
            Destination::Sni(map) => {
                let (name, prefix) = sni::read_name(client, SETUP_TIMEOUT).await;
                match map.find(name.as_deref()) {
                    Some(cluster) => Ok((Arc::clone(cluster), prefix)),
                    None => Err(name),
                }
            }
        }
    }

    fn record(&self, conn: &ConnInfo, end: &End, started: Instant) {
        self.count(end);
        let (cluster, received, sent) = match end {
            End::Carried { cluster, stats } => (Some(cluster), stats.a_to_b, stats.b_to_a),
            End::NotConnected { cluster, .. } => (Some(cluster), 0, 0),
            End::NoDestination { .. } | End::Refused | End::Cut => (None, 0, 0),
        };
        tracing::info!(
            target: "outrigger::access",
            listener = %conn.listener,
            peer = %conn.peer,
            cluster = cluster.map(|cluster| &**cluster.name()),
            received,
            sent,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = %end,
        );
    }

    fn count(&self, end: &End) {
        let metrics = &self.metrics;
        let counter = match end {
            End::NoDestination { .. } => &metrics.no_destination,
            End::NotConnected { .. } => &metrics.not_connected,
            End::Refused => &metrics.refused,
            End::Cut => &metrics.cut,
            End::Carried { stats, .. } => match &stats.reason {
                CopyEnd::Finished => &metrics.finished,
                CopyEnd::Idle => &metrics.idle,
                CopyEnd::Failed { side: Side::A, .. } => &metrics.downstream_failed,
                CopyEnd::Failed { side: Side::B, .. } => &metrics.upstream_failed,
            },
        };
        counter.inc();
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoDestination { name: None } => f.write_str("the client named no server"),
            Self::NoDestination { name: Some(name) } => write!(f, "no cluster for server name {name}"),
            Self::NotConnected { error, .. } => write!(f, "not connected: {error}"),
            Self::Refused => f.write_str("refused by a filter"),
            Self::Cut => f.write_str("cut at the end of a drain"),
            Self::Carried { stats, .. } => match &stats.reason {
                CopyEnd::Finished => f.write_str("finished"),
                CopyEnd::Idle => f.write_str("idle for too long"),
                CopyEnd::Failed { side: Side::A, error } => write!(f, "client: {error}"),
                CopyEnd::Failed { side: Side::B, error } => write!(f, "server: {error}"),
            },
        }
    }
}
