//! Locks. Nothing is missing.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Component, Error, Held, Key, Lease, LockCapabilities, LockStore, Result, async_trait,
};
use outrigger_memory::MemoryLock;
use outrigger_sdk as sdk;
use outrigger_sqlite::SqliteLock;

use super::{Kept, Remote, new_file, nothing, text};
use crate::harness::Sidecar;

mod memory {
    use super::*;
    outrigger_testkit::lock_suite!(remote(|| (Arc::new(MemoryLock::new()) as _, nothing())));
}

mod sqlite {
    use super::*;
    outrigger_testkit::lock_suite!(remote(|| {
        let (config, folder) = new_file();
        (Arc::new(SqliteLock::new(config).unwrap()) as _, Box::new(folder) as _)
    }));
}

fn remote(build: impl FnOnce() -> (Arc<dyn LockStore>, Kept) + Send + 'static) -> Arc<dyn LockStore> {
    let seat = |sidecar: &Sidecar| {
        let (backend, kept) = build();
        sidecar.blocks.lock.stores.replace([sidecar.seat("lock", backend)]);
        kept
    };
    Arc::new(Remote::start(seat, |client| client.lock("lock")))
}

#[async_trait]
impl Component for Remote<sdk::LockStore> {
    async fn ping(&self) -> Result<()> {
        self.call(|store| async move { store.held_by("ping", "nobody").unlock().await }).await.map(drop)
    }
}

#[async_trait]
impl LockStore for Remote<sdk::LockStore> {
    fn capabilities(&self) -> LockCapabilities {
        LockCapabilities::default()
    }

    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>> {
        let (resource, owner) = (text(resource)?, owner.to_owned());
        let lock = self.call(move |store| async move { store.try_lock_as(resource, owner, ttl).await });
        let Some(lock) = lock.await? else { return Ok(None) };
        let token = lock.fencing_token().ok_or_else(|| Error::internal("a lock without a token"))?;
        Ok(Some(Lease { token }))
    }

    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held> {
        let (resource, owner) = (text(resource)?, owner.to_owned());
        let unlocked = self.call(move |store| async move { store.held_by(resource, owner).unlock().await });
        unlocked.await.map(held)
    }

    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held> {
        let (resource, owner) = (text(resource)?, owner.to_owned());
        let kept =
            self.call(move |store| async move { store.held_by(resource, owner).keep_alive(ttl).await });
        kept.await.map(held)
    }
}

fn held(held: sdk::Held) -> Held {
    match held {
        sdk::Held::Yes => Held::Yes,
        sdk::Held::Expired => Held::Nobody,
        sdk::Held::Lost => Held::Other,
    }
}
