//! A cluster at run time: its endpoints, who may be picked now, and what its parts share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outrigger_http::h1::client::ClientConfig;
use outrigger_http::{Chosen, RequestHead, h2};
use outrigger_resilience::{Breaker, Deadline, RetryBudget};
use outrigger_telemetry::shard::Sharded;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::config::{ClusterConfig, Location};
use crate::dial::Dialer;
use crate::endpoint::Endpoint;
use crate::error::{SendError, SendErrorKind};
use crate::gate::{Change, Standing, Verdict};
use crate::local::{Services, wants_connection};
use crate::metrics::ClusterMetrics;
use crate::pick::{Avoided, Picked, Tried, pick, pick_chosen};
use crate::set::{EndpointSet, Member};
use crate::status::ClusterStatus;
use crate::usage::Usage;
use crate::waiting::Waiting;

/// A set of endpoints that answer alike: the one way out of the process.
///
/// A cluster whose settings did not change is the same `Cluster` after a reload. One whose settings did keeps
/// its endpoints (with pools and standing), breaker, budget and limits as far as the change leaves them alone.
pub struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) config: ClusterConfig,
    pub(crate) dialer: Dialer,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) budget: Arc<RetryBudget>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) metrics: ClusterMetrics,
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) h2_client: h2::client::ClientConfig,
    pub(crate) services: Arc<dyn Services>,
    /// The truth about who is a member; the set is made from it.
    roster: Mutex<Vec<Member>>,
    judging: Mutex<()>,
    set: ArcSwap<EndpointSet>,
    turns: Sharded<AtomicUsize>,
    resolved: AtomicBool,
    roster_changed: Notify,
}

/// What a cluster is made of, new or carried over.
pub(crate) struct Parts {
    pub(crate) name: Arc<str>,
    pub(crate) config: ClusterConfig,
    pub(crate) dialer: Dialer,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) budget: Arc<RetryBudget>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) metrics: ClusterMetrics,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) members: Vec<Member>,
}

impl Cluster {
    pub(crate) fn new(parts: Parts, now: Instant) -> Self {
        let Parts { name, config, dialer, breaker, budget, usage, waiting, metrics, services, members } =
            parts;
        let resolved = AtomicBool::new(config.dns.is_none() || !members.is_empty());
        let ping_interval = Some(config.pool.ping_interval).filter(|interval| !interval.is_zero());
        let cluster = Self {
            name,
            config,
            dialer,
            breaker,
            budget,
            usage,
            client: Arc::default(),
            h2_client: h2::client::ClientConfig { ping_interval, ..Default::default() },
            waiting,
            metrics,
            services,
            roster: Mutex::new(members),
            judging: Mutex::new(()),
            set: ArcSwap::from_pointee(EndpointSet::empty()),
            // Workers begin at different places, so that they do not all favour the first endpoint.
            turns: Sharded::new(|| AtomicUsize::new(fastrand::usize(..1 << 20))),
            resolved,
            roster_changed: Notify::new(),
        };
        cluster.renew(now);
        cluster
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The settings it was compiled from.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// A moment's view for the admin dump.
    pub fn snapshot(&self) -> ClusterStatus {
        ClusterStatus::of(self, now())
    }

    pub(crate) fn set(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.set.load()
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.roster.lock().clone()
    }

    /// Replaces the members, keeping those that stay the same.
    pub(crate) fn set_members(&self, members: Vec<Member>, now: Instant) {
        *self.roster.lock() = members;
        self.renew(now);
        self.resolved.store(true, Ordering::Release);
        self.roster_changed.notify_waiters();
    }

    pub(crate) fn roster_changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.roster_changed.notified()
    }

    /// Makes the set anew from the roster and the endpoints' standing.
    pub(crate) fn renew(&self, now: Instant) {
        let roster = self.roster.lock();
        let set =
            EndpointSet::new(&roster, self.config.balance, self.config.health.panic_threshold_percent, now);
        self.metrics.usable.set(i64::try_from(set.usable.len()).unwrap_or(i64::MAX));
        // Stored while the roster is held, so that the last renewal to look is the last one to store.
        self.set.store(Arc::new(set));
    }

    /// An endpoint for a request, other than those `tried` while there is one, and the `chosen` one if there is that.
    /// Without a head it is a connection that is wanted.
    pub(crate) fn pick(
        &self,
        head: Option<&RequestHead>,
        tried: &[Arc<Endpoint>],
        chosen: Option<&Chosen>,
        now: Instant,
    ) -> Result<Picked, SendErrorKind> {
        let mut set = self.set.load();
        if set.is_due(now) {
            self.renew(now);
            set = self.set.load();
        }
        let absent = if set.has_functions { self.absent(&set, head) } else { Tried::new() };
        let avoided = Avoided { tried, absent: &absent };
        let picked = match chosen {
            None => pick(&set, self.turns.here(), avoided),
            Some(chosen) => pick_chosen(&set, self.turns.here(), avoided, chosen),
        };
        picked.ok_or_else(|| match set.all.is_empty() {
            true => SendErrorKind::NoEndpoint,
            false => SendErrorKind::Unhealthy,
        })
    }

    /// The functions that are not deployed; all of them where a connection is wanted.
    fn absent(&self, set: &EndpointSet, head: Option<&RequestHead>) -> Tried {
        let wants = head.is_none_or(wants_connection);
        let is_out = |endpoint: &Endpoint| match endpoint.location() {
            Location::Function(_) => wants || self.is_absent(endpoint),
            Location::Address(_) => false,
        };
        let members = set.usable.iter().map(|member| &member.endpoint);
        members.filter(|endpoint| is_out(endpoint)).cloned().collect()
    }

    /// A function that is not deployed. It may be the next moment, so nothing is held against it.
    pub(crate) fn is_absent(&self, endpoint: &Endpoint) -> bool {
        match endpoint.location() {
            Location::Function(name) => self.services.find(name).is_none(),
            Location::Address(_) => false,
        }
    }

    /// Waits until endpoints are known, which only a DNS cluster that has just started has to.
    pub(crate) async fn wait_resolved(&self, deadline: Deadline) -> Result<(), SendError> {
        let changed = self.roster_changed.notified();
        if self.resolved.load(Ordering::Acquire) {
            return Ok(());
        }
        let limit = Deadline::after(now(), self.config.connect_timeout).earlier(deadline);
        let wait = limit.remaining(now()).unwrap_or(Duration::MAX);
        tokio::time::timeout(wait, changed).await.map_err(|_| SendError::new(SendErrorKind::NoEndpoint))
    }

    /// Whether the first DNS answer has come (or none is needed).
    pub fn is_resolved(&self) -> bool {
        self.resolved.load(Ordering::Acquire)
    }

    /// Takes in how a request to `endpoint` ended.
    pub(crate) fn judge(&self, endpoint: &Endpoint, verdict: Verdict, now: Instant) {
        // Failures are judged one at a time, so that two ejections cannot both find room for one.
        let _one_at_a_time = (verdict != Verdict::Success).then(|| self.judging.lock());
        let change = endpoint.gate.record(verdict, &self.config.health.passive, now, || self.may_eject());
        if change != Change::None {
            self.metrics.changed(change);
            self.report(endpoint, change);
            self.renew(now);
        }
    }

    /// Whether one more ejection stays under the cap. One always may be out, unless it is the only one:
    /// leaving that out would only turn its errors into ours.
    fn may_eject(&self) -> bool {
        let set = self.set.load();
        let out = set.all.iter().filter(|member| member.endpoint.standing() == Standing::Ejected).count();
        let percent = usize::from(self.config.health.passive.max_ejected_percent);
        let cap = (set.all.len() * percent / 100).max(1).min(set.all.len().saturating_sub(1));
        out < cap
    }

    fn report(&self, endpoint: &Endpoint, change: Change) {
        let (cluster, address) = (&*self.name, endpoint.location());
        match change {
            Change::Ejected => warn!(cluster, %address, "endpoint ejected: its answers fail in a row"),
            Change::Unreachable => info!(cluster, %address, "endpoint left out for a moment: no connection"),
            Change::Back => info!(cluster, %address, "endpoint is back"),
            Change::None => {}
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The clock of this crate: tokio's, which tests may pause.
#[inline]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
