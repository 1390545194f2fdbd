//! The lock block on SQLite: leases by the host's clock, tokens by a counter of the file.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Backend, BuildContext, Component, Held, Key, Lease, LockCapabilities, LockStore, Result, async_trait,
};
use rusqlite::params;

use crate::batch::Batch;
use crate::config::SqliteConfig;
use crate::store::Store;

/// Registers [`SqliteLock`] as `lock.sqlite`.
pub struct SqliteLockBackend;

#[async_trait]
impl Backend for SqliteLockBackend {
    const TYPE: &'static str = "lock.sqlite";
    const ABOUT: &'static str = "Locks in a file that several processes of this host may share.";
    type Config = SqliteConfig;
    type Block = dyn LockStore;

    async fn build(config: SqliteConfig, _: &BuildContext) -> Result<Arc<dyn LockStore>> {
        Ok(Arc::new(SqliteLock { store: Store::shared(config)? }))
    }
}

/// A lock store in an SQLite file. Nothing is opened or created before the first call.
pub struct SqliteLock {
    store: Arc<Store>,
}

impl SqliteLock {
    /// Settles where the file is; opens nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::new(config)?) })
    }

    /// Does something to a lease if this owner holds it.
    async fn holding(
        &self,
        resource: &Key,
        owner: &str,
        act: impl Fn(&Batch<'_>, &Key) -> Result<()> + Send + 'static,
    ) -> Result<Held> {
        let (resource, owner) = (resource.clone(), owner.to_owned());
        let work = move |batch: &mut Batch<'_>| match holder(batch, &resource)? {
            None => Ok(Held::Nobody),
            Some(holder) if holder != owner => Ok(Held::Other),
            Some(_) => act(batch, &resource).map(|()| Held::Yes),
        };
        self.store.write(0, work).await
    }
}

#[async_trait]
impl Component for SqliteLock {
    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }
}

#[async_trait]
impl LockStore for SqliteLock {
    fn capabilities(&self) -> LockCapabilities {
        LockCapabilities { persistent: true, shared: true }
    }

    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>> {
        let (resource, owner) = (resource.clone(), owner.to_owned());
        let work = move |batch: &mut Batch<'_>| {
            if holder(batch, &resource)?.is_some() {
                return Ok(None);
            }
            let token = batch.count("lock")?;
            batch.execute(
                "INSERT INTO locks (resource, owner, token, expires) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (resource) DO UPDATE SET owner = ?2, token = ?3, expires = ?4",
                params![resource.as_bytes(), owner, token, end(batch, ttl)],
            )?;
            Ok(Some(Lease { token: token.unsigned_abs() }))
        };
        self.store.write(0, work).await
    }

    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held> {
        let act = |batch: &Batch<'_>, resource: &Key| {
            batch.execute("DELETE FROM locks WHERE resource = ?1", params![resource.as_bytes()]).map(drop)
        };
        self.holding(resource, owner, act).await
    }

    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held> {
        let act = move |batch: &Batch<'_>, resource: &Key| {
            let sql = "UPDATE locks SET expires = ?2 WHERE resource = ?1";
            batch.execute(sql, params![resource.as_bytes(), end(batch, ttl)]).map(drop)
        };
        self.holding(resource, owner, act).await
    }
}

/// Who holds it now.
fn holder(batch: &Batch<'_>, resource: &Key) -> Result<Option<String>> {
    let sql = "SELECT owner FROM locks WHERE resource = ?1 AND expires > ?2";
    batch.find(sql, params![resource.as_bytes(), batch.now()], |row| row.get(0))
}

/// When a lease of `ttl` ends that is given now.
fn end(batch: &Batch<'_>, ttl: Duration) -> i64 {
    // The clock is read in whole milliseconds: rounded up, so that no lease ends early.
    let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    batch.now().saturating_add(millis).saturating_add(1)
}
