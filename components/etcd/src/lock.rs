//! The lock block on etcd: a lock is a key on a lease, as Layotto's etcd lock keeps it.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use outrigger_component_api::{
    Backend, BuildContext, Component, Held, Key, Lease, LockCapabilities, LockStore, Result, async_trait,
};

use crate::config::EtcdConfig;
use crate::failure::{from_etcd, is_missing_lease};
use crate::lease;
use crate::link::Links;

/// Registers [`EtcdLock`] as `lock.etcd`.
pub struct EtcdLockBackend;

#[async_trait]
impl Backend for EtcdLockBackend {
    const TYPE: &'static str = "lock.etcd";
    const ABOUT: &'static str =
        "Locks in an etcd cluster, on leases of two seconds or more, with fencing tokens.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("endpoints", "localhost:2379")];
    type Config = EtcdConfig;
    type Block = dyn LockStore;

    async fn build(config: EtcdConfig, _: &BuildContext) -> Result<Arc<dyn LockStore>> {
        Ok(Arc::new(EtcdLock::new(&config)?))
    }
}

/// A lock store in an etcd cluster. Connects with the first call.
///
/// The cluster counts the time of a lease: it never ends early, and not before two seconds; the end of a leader gives
/// every lease its whole time again.
pub struct EtcdLock {
    links: Links,
    prefix: String,
}

/// A lock as it is found.
struct Found {
    owner: Vec<u8>,
    /// When it was taken: this very holding, whoever asks.
    taken: i64,
    lease: i64,
}

impl EtcdLock {
    pub fn new(config: &EtcdConfig) -> Result<Self> {
        Ok(Self { links: Links::new(config)?, prefix: config.prefix("/layotto/") })
    }

    fn key(&self, resource: &Key) -> Vec<u8> {
        [self.prefix.as_bytes(), resource.as_bytes()].concat()
    }

    async fn find(&self, key: &[u8]) -> Result<Option<Found>> {
        let wanted = key.to_vec();
        let mut found = self.links.run(|etcd| async move { etcd.kv().get(wanted, None).await }).await?;
        Ok(found.take_kvs().into_iter().next().map(|pair| {
            let (taken, lease) = (pair.create_revision(), pair.lease());
            Found { owner: pair.into_key_value().1, taken, lease }
        }))
    }

    /// Runs a transaction; the revision if its condition held. A lease that ended before it was used is as good as a
    /// condition that did not hold.
    async fn decide(&self, txn: Txn) -> Result<Option<i64>> {
        match self.links.attempt(|etcd| async move { etcd.kv().txn(txn).await }).await? {
            Ok(answer) if answer.succeeded() => {
                Ok(Some(answer.header().map_or(0, etcd_client::ResponseHeader::revision)))
            }
            Ok(_) => Ok(None),
            Err(error) if is_missing_lease(&error) => Ok(None),
            Err(error) => Err(from_etcd(&error)),
        }
    }

    /// Puts the owner on a new lease, if `condition` holds. The revision, if it did.
    async fn put(&self, key: &[u8], owner: &str, ttl: Duration, condition: Compare) -> Result<Option<i64>> {
        let lease = lease::grant(&self.links, ttl).await?;
        let put = TxnOp::put(key.to_vec(), owner, Some(PutOptions::new().with_lease(lease)));
        let decided = self.decide(Txn::new().when([condition]).and_then([put])).await;
        // Where the answer was lost the owner may be on this lease; it ends by itself.
        if matches!(decided, Ok(None)) {
            lease::revoke(&self.links, lease).await;
        }
        decided
    }
}

/// Whether this very holding still lasts.
fn same(key: &[u8], found: &Found) -> Compare {
    Compare::create_revision(key.to_vec(), CompareOp::Equal, found.taken)
}

#[async_trait]
impl Component for EtcdLock {
    async fn ping(&self) -> Result<()> {
        self.links.ping(&self.prefix).await
    }
}

#[async_trait]
impl LockStore for EtcdLock {
    fn capabilities(&self) -> LockCapabilities {
        LockCapabilities { persistent: true, shared: true }
    }

    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>> {
        let key = self.key(resource);
        // Most refusals are seen here, before they cost a lease.
        if self.find(&key).await?.is_some() {
            return Ok(None);
        }
        let free = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let taken = self.put(&key, owner, ttl, free).await?;
        Ok(taken.map(|revision| Lease { token: revision.unsigned_abs() }))
    }

    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held> {
        let key = self.key(resource);
        let Some(found) = self.find(&key).await? else { return Ok(Held::Nobody) };
        if found.owner != owner.as_bytes() {
            return Ok(Held::Other);
        }
        let delete = TxnOp::delete(key.clone(), None);
        if self.decide(Txn::new().when([same(&key, &found)]).and_then([delete])).await?.is_none() {
            // It ended in between; who holds it now is not this holding.
            return Ok(after(self.find(&key).await?));
        }
        lease::revoke(&self.links, found.lease).await;
        Ok(Held::Yes)
    }

    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held> {
        let key = self.key(resource);
        let Some(found) = self.find(&key).await? else { return Ok(Held::Nobody) };
        if found.owner != owner.as_bytes() {
            return Ok(Held::Other);
        }
        // A lease keeps the time it was made with, so another one takes its place; the key stays, and its token.
        if self.put(&key, owner, ttl, same(&key, &found)).await?.is_none() {
            return Ok(after(self.find(&key).await?));
        }
        lease::revoke(&self.links, found.lease).await;
        Ok(Held::Yes)
    }
}

fn after(found: Option<Found>) -> Held {
    if found.is_some() { Held::Other } else { Held::Nobody }
}
