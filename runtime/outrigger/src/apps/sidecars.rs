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
/// Between looks at an address that the system may change.
const LOOK: Duration = Duration::from_secs(30);

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
    /// Whether they are shown our token.
    trusted: bool,
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
            let found = hosts.find(app).await.map(|addresses| parsed(&addresses));
            match self.take_in(app, found, true) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        for registry in self.open_to(caller) {
            let found = registry.find(&Caller::new(caller), app).await;
            match self.take_in(app, found.map(|addresses| remote(&addresses)), registry.presents_token()) {
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

    fn take_in(
        &self,
        app: &str,
        addresses: Result<Vec<Address>>,
        trusted: bool,
    ) -> Result<Option<Arc<Target>>> {
        let addresses = addresses?;
        if addresses.is_empty() {
            return Ok(None);
        }
        let token = trusted.then_some(&self.token);
        self.found.lock().take_in(app, addresses, token, &self.meter).map(Some)
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
        let sockets = listeners.iter().filter_map(|address| match address {
            Address::Tcp(socket) => Some(*socket),
            Address::Unix(_) => None,
        });
        let sockets: Vec<SocketAddr> = sockets.collect();
        let mut telling = self.telling.lock();
        *telling = JoinSet::new();
        for registry in self.registries.all() {
            if registry.slot().scopes().allow(&app.id) {
                telling.spawn(tell(registry, app.id.clone(), sockets.clone()));
            } else {
                telling.spawn(take_back(registry));
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

/// Tells a registry until it has been told, and again when the system gives us another address.
async fn tell(registry: Arc<RegistryComponent>, app: String, listeners: Vec<SocketAddr>) {
    let name = registry.slot().name();
    let (mut attempt, mut told) = (0, None);
    loop {
        match registry.announce(&app, &listeners).await {
            Ok(address) => {
                if told.replace(address) != Some(address) {
                    tracing::info!(registry = name, %address, "announced");
                }
                if !registry.may_move(&listeners) {
                    return;
                }
                attempt = 0;
                tokio::time::sleep(LOOK).await;
            }
            Err(error) if error.is_retryable() => {
                if attempt == 0 {
                    tracing::warn!(registry = name, %error, "other sidecars may not find this one");
                }
                attempt += 1;
                tokio::time::sleep(RETRY.delay(attempt, &mut fastrand::Rng::new())).await;
            }
            Err(error) => {
                tracing::warn!(registry = name, %error, "sidecars of other hosts will not find this one");
                return take_back(registry).await;
            }
        }
    }
}

/// What a registry was told before holds no longer.
async fn take_back(registry: Arc<RegistryComponent>) {
    if let Err(error) = registry.withdraw().await {
        tracing::debug!(registry = registry.slot().name(), %error, "an announcement stays behind");
    }
}

fn parsed(addresses: &[String]) -> Vec<Address> {
    addresses.iter().filter_map(|address| address.parse().ok()).collect()
}

/// What others may send us to: never to a socket in our own file system.
fn remote(addresses: &[String]) -> Vec<Address> {
    let mut addresses = parsed(addresses);
    addresses.retain(|address| matches!(address, Address::Tcp(_)));
    addresses
}

impl Found {
    fn take_in(
        &mut self,
        app: &str,
        addresses: Vec<Address>,
        token: Option<&SharedToken>,
        meter: &Meter,
    ) -> Result<Arc<Target>> {
        let trusted = token.is_some();
        let same = |entry: &&Entry| entry.addresses == addresses && entry.trusted == trusted;
        if let Some(entry) = self.entries.get(app).filter(same) {
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
        let place = Place::Sidecar { token: token.cloned().unwrap_or_default() };
        let target = Arc::new(Target::new(app, Arc::clone(cluster), place, meter));
        self.entries.insert(app.to_owned(), Entry { addresses, trusted, target: Arc::clone(&target) });
        Ok(target)
    }
}

fn cluster(addresses: &[Address]) -> ClusterConfig {
    let endpoints = addresses.iter().cloned().map(Into::into).collect();
    ClusterConfig { endpoints, protocol: Protocol::Http2, ..ClusterConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_sends_nobody_to_a_socket_of_this_host() {
        let told = ["10.0.0.7:34904", "unix:/run/docker.sock", "[fd00::7]:1", "nonsense"].map(str::to_owned);
        let taken: Vec<_> = remote(&told).iter().map(Address::to_string).collect();
        assert_eq!(taken, ["10.0.0.7:34904", "[fd00::7]:1"]);
        assert_eq!(parsed(&told).len(), 3);
    }
}
