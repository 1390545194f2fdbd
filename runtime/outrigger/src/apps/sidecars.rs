//! The other sidecars: those of this user on this host, in the embedded store's file, and those in the registries the
//! configuration names. What was found is kept: its connections, and how its endpoints are doing.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use outrigger_blocks::{
    Caller, Error, Member as _, Meter, RegistryComponent, Result, Stores,
    invoke::{Place, SharedToken, Target},
};
use outrigger_cluster::{ClusterConfig, Clusters, Context, config::Protocol};
use outrigger_component_api::{Announcement, AppRegistry};
use outrigger_net::Address;
use outrigger_resilience::Backoff;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::config::{native::AppConfig, reachable};

/// Taking back what we said must not hold up the end of the process.
const WITHDRAWAL: Duration = Duration::from_secs(2);
/// Between attempts to tell a registry that is not ready.
const RETRY: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };

pub(super) struct Sidecars {
    /// Those of this host.
    hosts: Option<Arc<dyn AppRegistry>>,
    registries: Arc<Stores<RegistryComponent>>,
    meter: Meter,
    token: SharedToken,
    found: Mutex<Found>,
    /// Whether anything was said of us.
    announced: AtomicBool,
    /// Tells the registries, which may not be ready yet.
    telling: Mutex<JoinSet<()>>,
}

struct Found {
    clusters: Clusters,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    addresses: Vec<Address>,
    target: Arc<Target>,
}

#[cfg(feature = "sqlite")]
fn hosts() -> Option<Arc<dyn AppRegistry>> {
    let hosts = outrigger_sqlite::SqliteHosts::new(outrigger_sqlite::SqliteConfig::default());
    Some(Arc::new(hosts.ok()?))
}

#[cfg(not(feature = "sqlite"))]
fn hosts() -> Option<Arc<dyn AppRegistry>> {
    None
}

impl Sidecars {
    pub(super) fn new(
        context: Context,
        meter: Meter,
        token: SharedToken,
        registries: Arc<Stores<RegistryComponent>>,
    ) -> Self {
        let found = Found { clusters: Clusters::empty(context), entries: BTreeMap::new() };
        Self {
            hosts: hosts(),
            registries,
            meter,
            token,
            found: Mutex::new(found),
            announced: AtomicBool::new(false),
            telling: Mutex::default(),
        }
    }

    /// The target of an id, if a sidecar answers for it. Those of this host come first; a registry that cannot be asked
    /// is a failure only if nobody else knows the id.
    pub(super) async fn find(&self, caller: &str, app: &str) -> Result<Option<Arc<Target>>> {
        let mut failure = None;
        if let Some(hosts) = &self.hosts {
            match self.take_in(app, hosts.find(app).await) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        for registry in self.open_to(caller) {
            match self.take_in(app, registry.find(&Caller::new(caller), app).await) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => {
                self.found.lock().entries.remove(app);
                Ok(None)
            }
        }
    }

    fn open_to(&self, app: &str) -> Vec<Arc<RegistryComponent>> {
        let mut registries = self.registries.all();
        registries.retain(|registry| registry.slot().scopes().allow(app));
        registries
    }

    fn take_in(&self, app: &str, addresses: Result<Vec<String>>) -> Result<Option<Arc<Target>>> {
        let addresses: Vec<Address> = addresses?.iter().filter_map(|address| address.parse().ok()).collect();
        if addresses.is_empty() {
            return Ok(None);
        }
        self.found.lock().take_in(app, addresses, &self.token, &self.meter).map(Some)
    }

    /// Says where the API beside `app` listens, as far as the configuration wants that to be known.
    pub(super) async fn announce(&self, app: &AppConfig, listeners: &[Address]) {
        let Some(first) = listeners.first().filter(|_| app.announce && !app.id.is_empty()) else {
            if self.announced.swap(false, Ordering::Relaxed) {
                self.withdraw().await;
            }
            return;
        };
        self.announced.store(true, Ordering::Relaxed);
        self.tell_host(&app.id, first).await;
        let socket = listeners.iter().find_map(|address| match address {
            Address::Tcp(socket) => Some(*socket),
            Address::Unix(_) => None,
        });
        let mut telling = self.telling.lock();
        *telling = JoinSet::new();
        for registry in self.open_to(&app.id) {
            match socket {
                Some(socket) => drop(telling.spawn(tell(registry, app.id.clone(), socket))),
                None => tracing::warn!(
                    registry = registry.slot().name(),
                    "other hosts will not find this sidecar: its API listens on a Unix socket only"
                ),
            }
        }
    }

    async fn tell_host(&self, app: &str, listener: &Address) {
        let Some(hosts) = &self.hosts else { return };
        let address = match listener {
            Address::Tcp(tcp) => Address::Tcp(reachable(*tcp)),
            Address::Unix(path) => Address::Unix(path.clone()),
        };
        // A process that is gone is known to be.
        let (app, ttl) = (app.to_owned(), Duration::ZERO);
        let announcement = Announcement { app, address: address.to_string(), ttl };
        match hosts.announce(announcement).await {
            Ok(()) => tracing::debug!(%address, "announced to the sidecars of this host"),
            Err(error) => tracing::warn!(%error, "other sidecars of this host will not find this one"),
        }
    }

    /// Takes back what was said.
    pub(super) async fn withdraw(&self) {
        *self.telling.lock() = JoinSet::new();
        let hosts = async {
            match &self.hosts {
                Some(hosts) => hosts.withdraw().await,
                None => Ok(()),
            }
        };
        let registries = self.registries.all();
        let registries = join_all(registries.iter().map(|registry| registry.withdraw()));
        let all = async {
            let (hosts, registries) = tokio::join!(hosts, registries);
            for error in std::iter::once(hosts).chain(registries).filter_map(Result::err) {
                // The row of a process that has ended is known to be dead, and a lease ends by itself.
                tracing::debug!(%error, "an announcement stays behind");
            }
        };
        if tokio::time::timeout(WITHDRAWAL, all).await.is_err() {
            tracing::debug!("an announcement stays behind");
        }
    }
}

/// Tells a registry until it has been told.
async fn tell(registry: Arc<RegistryComponent>, app: String, listener: SocketAddr) {
    let name = registry.slot().name();
    let mut attempt = 0;
    loop {
        let error = match registry.announce(&app, listener).await {
            Ok(address) if address.ip().is_loopback() => {
                return tracing::info!(registry = name, %address, "announced; only this host reaches that address");
            }
            Ok(address) => return tracing::info!(registry = name, %address, "announced"),
            Err(error) => error,
        };
        if attempt == 0 {
            tracing::warn!(registry = name, %error, "other sidecars may not find this one");
        }
        if !error.is_retryable() {
            return;
        }
        attempt += 1;
        tokio::time::sleep(RETRY.delay(attempt, &mut fastrand::Rng::new())).await;
    }
}

impl Found {
    fn take_in(
        &mut self,
        app: &str,
        addresses: Vec<Address>,
        token: &SharedToken,
        meter: &Meter,
    ) -> Result<Arc<Target>> {
        if let Some(entry) = self.entries.get(app).filter(|entry| entry.addresses == addresses) {
            return Ok(Arc::clone(&entry.target));
        }
        let known = self.entries.iter().filter(|(id, _)| *id != app);
        let known = known.map(|(id, entry)| (id.as_str(), entry.addresses.as_slice()));
        let all = known.chain([(app, addresses.as_slice())]);
        let config = all.map(|(id, addresses)| (format!("host:{id}"), cluster(addresses))).collect();
        self.clusters = Clusters::compile(&config, &self.clusters).map_err(|problems| {
            Error::internal(format!("a sidecar's address cannot be used: {problems:?}"))
        })?;
        let cluster = self.clusters.get(&format!("host:{app}"));
        let cluster = cluster.ok_or_else(|| Error::internal("a cluster was lost"))?;
        let place = Place::Sidecar { token: Arc::clone(token) };
        let target = Arc::new(Target::new(app, Arc::clone(cluster), place, meter));
        self.entries.insert(app.to_owned(), Entry { addresses, target: Arc::clone(&target) });
        Ok(target)
    }
}

fn cluster(addresses: &[Address]) -> ClusterConfig {
    let endpoints = addresses.iter().cloned().map(Into::into).collect();
    ClusterConfig { endpoints, protocol: Protocol::Http2, ..ClusterConfig::default() }
}
