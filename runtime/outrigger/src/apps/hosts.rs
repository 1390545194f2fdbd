//! The other sidecars of this user on this host. They are looked up in the embedded store's file, and what was found is
//! kept: its connections, and how its endpoints are doing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use outrigger_blocks::{
    Error, Meter, Result,
    invoke::{Place, SharedToken, Target},
};
use outrigger_cluster::{ClusterConfig, Clusters, Context, config::Protocol};
use outrigger_net::Address;
use parking_lot::Mutex;

use crate::config::native::AppConfig;

/// Taking our row away must not hold up the end of the process.
const WITHDRAWAL: Duration = Duration::from_secs(2);

pub(super) struct Hosts {
    #[cfg(feature = "sqlite")]
    table: Option<outrigger_sqlite::SqliteHosts>,
    meter: Meter,
    token: SharedToken,
    found: Mutex<Found>,
}

struct Found {
    clusters: Clusters,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    addresses: Vec<Address>,
    target: Arc<Target>,
}

impl Hosts {
    pub(super) fn new(context: Context, meter: Meter, token: SharedToken) -> Self {
        let found = Found { clusters: Clusters::empty(context), entries: BTreeMap::new() };
        Self {
            #[cfg(feature = "sqlite")]
            table: outrigger_sqlite::SqliteHosts::new(outrigger_sqlite::SqliteConfig::default()).ok(),
            meter,
            token,
            found: Mutex::new(found),
        }
    }

    /// The target of an id, if a sidecar of this host answers for it.
    pub(super) async fn find(&self, app: &str) -> Result<Option<Arc<Target>>> {
        let addresses = self.look(app).await?;
        self.found.lock().take_in(app, addresses, &self.token, &self.meter)
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
        token: &SharedToken,
        meter: &Meter,
    ) -> Result<Option<Arc<Target>>> {
        if addresses.is_empty() {
            self.entries.remove(app);
            return Ok(None);
        }
        if let Some(entry) = self.entries.get(app).filter(|entry| entry.addresses == addresses) {
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
        let place = Place::Sidecar { token: Arc::clone(token) };
        let target = Arc::new(Target::new(app, Arc::clone(cluster), place, meter));
        self.entries.insert(app.to_owned(), Entry { addresses, target: Arc::clone(&target) });
        Ok(Some(target))
    }
}

fn cluster(addresses: &[Address]) -> ClusterConfig {
    let endpoints = addresses.iter().cloned().map(Into::into).collect();
    ClusterConfig { endpoints, protocol: Protocol::Http2, ..ClusterConfig::default() }
}
