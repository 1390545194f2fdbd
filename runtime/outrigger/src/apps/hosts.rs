//! The other sidecars of this user on this host. They are looked up in the embedded store's file, at most every two
//! seconds for one id, and what was found is kept between: its connections, and how its endpoints are doing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use outrigger_blocks::{
    Error, Meter, Result,
    invoke::{Place, Target},
};
use outrigger_cluster::{ClusterConfig, Clusters, Context, config::Protocol};
use outrigger_component_api::Secret;
use outrigger_net::Address;
use parking_lot::Mutex;

use crate::config::native::AppConfig;

/// How long a look into the file is believed.
const FRESH: Duration = Duration::from_secs(2);
/// Taking our row away must not hold up the end of the process.
const WITHDRAWAL: Duration = Duration::from_secs(2);

pub(super) struct Hosts {
    #[cfg(feature = "sqlite")]
    table: Option<outrigger_sqlite::SqliteHosts>,
    meter: Meter,
    token: ArcSwapOption<Secret>,
    found: Mutex<Found>,
}

struct Found {
    clusters: Clusters,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    addresses: Vec<Address>,
    target: Arc<Target>,
    looked: Instant,
}

impl Hosts {
    pub(super) fn new(context: Context, meter: Meter) -> Self {
        let found = Found { clusters: Clusters::empty(context), entries: BTreeMap::new() };
        Self {
            #[cfg(feature = "sqlite")]
            table: outrigger_sqlite::SqliteHosts::new(outrigger_sqlite::SqliteConfig::default()).ok(),
            meter,
            token: ArcSwapOption::empty(),
            found: Mutex::new(found),
        }
    }

    /// Sidecars that call each other share their token.
    pub(super) fn ask_with(&self, token: Option<Secret>) {
        let token = token.map(Arc::new);
        if *self.token.load() != token {
            self.token.store(token);
            self.found.lock().entries.clear();
        }
    }

    /// The target of an id, if a sidecar of this host answers for it.
    pub(super) async fn find(&self, app: &str) -> Result<Option<Arc<Target>>> {
        let now = Instant::now();
        let fresh = |entry: &&Entry| now.duration_since(entry.looked) < FRESH;
        if let Some(entry) = self.found.lock().entries.get(app).filter(fresh) {
            return Ok(Some(Arc::clone(&entry.target)));
        }
        let addresses = self.look(app).await?;
        let token = self.token.load_full().map(|token| (*token).clone());
        self.found.lock().take_in(app, addresses, now, token, &self.meter)
    }

    #[cfg(feature = "sqlite")]
    async fn look(&self, app: &str) -> Result<Vec<Address>> {
        let Some(table) = &self.table else { return Ok(Vec::new()) };
        let rows = table.find(app).await?;
        Ok(rows.iter().filter_map(|address| address.parse().ok()).collect())
    }

    #[cfg(not(feature = "sqlite"))]
    async fn look(&self, _: &str) -> Result<Vec<Address>> {
        Ok(Vec::new())
    }

    #[cfg(feature = "sqlite")]
    pub(super) async fn announce(&self, app: &AppConfig, addresses: &[Address]) {
        let address = addresses.first().filter(|_| app.announce && !app.id.is_empty());
        let (Some(table), Some(address)) = (&self.table, address) else { return };
        match table.announce(&app.id, &address.to_string()).await {
            Ok(()) => tracing::debug!(app = %app.id, %address, "announced to the sidecars of this host"),
            Err(error) => tracing::warn!(%error, "other sidecars of this host will not find this one"),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    pub(super) async fn announce(&self, _: &AppConfig, _: &[Address]) {}

    #[cfg(feature = "sqlite")]
    pub(super) async fn withdraw(&self) {
        let Some(table) = &self.table else { return };
        match tokio::time::timeout(WITHDRAWAL, table.withdraw()).await {
            Ok(Ok(())) => {}
            // The row of a process that has ended is known to be dead.
            Ok(Err(error)) => tracing::debug!(%error, "the announcement stays behind"),
            Err(_) => tracing::debug!("the announcement stays behind"),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    pub(super) async fn withdraw(&self) {}
}

impl Found {
    fn take_in(
        &mut self,
        app: &str,
        addresses: Vec<Address>,
        now: Instant,
        token: Option<Secret>,
        meter: &Meter,
    ) -> Result<Option<Arc<Target>>> {
        if addresses.is_empty() {
            self.entries.remove(app);
            return Ok(None);
        }
        if let Some(entry) = self.entries.get_mut(app).filter(|entry| entry.addresses == addresses) {
            entry.looked = now;
            return Ok(Some(Arc::clone(&entry.target)));
        }
        let known = self.entries.iter().filter(|(id, _)| *id != app);
        let known = known.map(|(id, entry)| (id.as_str(), entry.addresses.as_slice()));
        let all = known.chain([(app, addresses.as_slice())]);
        let config = all.map(|(id, addresses)| (format!("host:{id}"), cluster(addresses))).collect();
        self.clusters = Clusters::compile(&config, &self.clusters).map_err(|problems| {
            Error::internal(format!("a sidecar's address cannot be used: {problems:?}"))
        })?;
        let Some(cluster) = self.clusters.get(&format!("host:{app}")) else { return Ok(None) };
        let target = Arc::new(Target::new(app, Arc::clone(cluster), Place::Sidecar { token }, meter));
        self.entries.insert(app.to_owned(), Entry { addresses, target: Arc::clone(&target), looked: now });
        Ok(Some(target))
    }
}

fn cluster(addresses: &[Address]) -> ClusterConfig {
    let endpoints = addresses.iter().cloned().map(Into::into).collect();
    ClusterConfig { endpoints, protocol: Protocol::Http2, ..ClusterConfig::default() }
}
