//! State in memory: sharded, versioned, gone with the process.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use outrigger_component_api::{
    Backend, BuildContext, Change, Component, DeleteOptions, Entry, Error, Etag, GetOptions, Key, Result,
    SetOptions, StateCapabilities, StateStore, async_trait, check_fence,
};
use parking_lot::{Mutex, MutexGuard};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::expiry::Sweeper;
use crate::shard::{Deadline, Shard};
use crate::start_of_counting;

const SHARDS: usize = 32;

/// Registers [`MemoryState`] as `state.in-memory`.
pub struct MemoryStateBackend;

/// `state.in-memory` has no settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryStateConfig {}

#[async_trait]
impl Backend for MemoryStateBackend {
    const TYPE: &'static str = "state.in-memory";
    const ALIASES: &'static [&'static str] = &["state.memory"];
    const ABOUT: &'static str = "State in this process's memory; lost when it ends.";
    type Config = MemoryStateConfig;
    type Block = dyn StateStore;

    async fn build(_: MemoryStateConfig, _: &BuildContext) -> Result<Arc<dyn StateStore>> {
        Ok(Arc::new(MemoryState::new()))
    }
}

/// A state store in memory.
pub struct MemoryState {
    shards: Arc<Shards>,
    sweeper: Sweeper,
}

impl MemoryState {
    pub fn new() -> Self {
        let shards = Arc::new(Shards::new());
        Self { sweeper: Sweeper::new(Arc::clone(&shards)), shards }
    }
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Component for MemoryState {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl StateStore for MemoryState {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities {
            etags: true,
            ttl: true,
            transactions: true,
            max_changes: None,
            binary_keys: true,
            persistent: false,
            fencing: true,
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        Ok(self.shards.of(key).lock().get(key, Instant::now()))
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        let now = Instant::now();
        let deadline = options.ttl.and_then(|ttl| Deadline::after(ttl, now));
        let version = {
            let mut shard = self.shards.of(key).lock();
            check_fence(options.fence, shard.fence(key))?;
            options.condition().check(shard.version(key, now))?;
            shard.raise_fence(key, options.fence);
            let version = self.shards.next_version();
            shard.insert(key, value, version, deadline);
            version
        };
        if let Some(deadline) = deadline {
            self.sweeper.expect(deadline.at);
        }
        Ok(Etag::from(version))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let mut shard = self.shards.of(key).lock();
        check_fence(options.fence, shard.fence(key))?;
        options.condition().check(shard.version(key, Instant::now()))?;
        shard.raise_fence(key, options.fence);
        shard.remove(key);
        Ok(())
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        let now = Instant::now();
        let soonest = self.shards.transact(changes, now)?;
        if let Some(deadline) = soonest {
            self.sweeper.expect(deadline);
        }
        Ok(())
    }
}

/// What a key would have after the changes looked at so far.
#[derive(Clone, Copy)]
struct Pending {
    version: Option<u64>,
    fence: Option<u64>,
}

/// The map, cut into parts that are locked one by one.
pub(crate) struct Shards {
    parts: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    versions: AtomicU64,
}

impl Shards {
    fn new() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            // An etag from an earlier life of the process fits no new entry.
            versions: AtomicU64::new(start_of_counting()),
        }
    }

    fn index(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }

    #[expect(clippy::indexing_slicing, reason = "index() is below SHARDS")]
    fn of(&self, key: &Key) -> &Mutex<Shard> {
        &self.parts[self.index(key)]
    }

    fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Applies all changes or none and returns the soonest deadline among them.
    fn transact(&self, changes: Vec<Change>, now: Instant) -> Result<Option<Instant>> {
        let mut locked = self.lock_for(&changes);
        let missing = || Error::internal("a shard of the transaction was not locked");

        // First what would happen, on the side: later changes see earlier ones, and a refusal leaves no trace.
        let mut pending: HashMap<&Key, Pending> = HashMap::new();
        let mut versions = Vec::with_capacity(changes.len());
        for (position, change) in changes.iter().enumerate() {
            let key = change.key();
            let current = match pending.get(key) {
                Some(pending) => *pending,
                None => {
                    let shard = locked.get(&self.index(key)).ok_or_else(missing)?;
                    Pending { version: shard.version(key, now), fence: shard.fence(key) }
                }
            };
            check_fence(change.fence(), current.fence)
                .and_then(|()| change.condition().check(current.version))
                .map_err(|error| error.with("operation", position))?;
            let version = matches!(change, Change::Set { .. }).then(|| self.next_version());
            pending.insert(key, Pending { version, fence: change.fence().or(current.fence) });
            versions.push(version.unwrap_or_default());
        }
        drop(pending);

        let mut soonest = None;
        for (change, version) in changes.into_iter().zip(versions) {
            let shard = locked.get_mut(&self.index(change.key())).ok_or_else(missing)?;
            shard.raise_fence(change.key(), change.fence());
            match change {
                Change::Set { key, value, options } => {
                    let deadline = options.ttl.and_then(|ttl| Deadline::after(ttl, now));
                    soonest = soonest.into_iter().chain(deadline.map(|deadline| deadline.at)).min();
                    shard.insert(&key, value, version, deadline);
                }
                Change::Delete { key, .. } => shard.remove(&key),
            }
        }
        Ok(soonest)
    }

    /// Locks every shard the changes touch, in ascending order, so that two transactions cannot wait for each other.
    fn lock_for(&self, changes: &[Change]) -> HashMap<usize, MutexGuard<'_, Shard>> {
        let mut touched = [false; SHARDS];
        for change in changes {
            if let Some(touched) = touched.get_mut(self.index(change.key())) {
                *touched = true;
            }
        }
        let parts = self.parts.iter().zip(touched).enumerate();
        parts.filter(|(_, (_, touched))| *touched).map(|(index, (part, _))| (index, part.lock())).collect()
    }

    /// Frees everything expired, `chunk` entries at a time so that no writer waits long.
    pub(crate) fn sweep(&self, chunk: usize) {
        let now = Instant::now();
        for part in &self.parts {
            while part.lock().sweep(now, chunk) == chunk {}
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.parts.iter().filter_map(|part| part.lock().next_deadline()).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: impl std::fmt::Display) -> Key {
        Key::new(name.to_string()).expect("not empty")
    }

    fn sizes(store: &MemoryState) -> (usize, usize) {
        let sizes = store.shards.parts.iter().map(|part| part.lock().len());
        sizes.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    fn ttl(millis: u64) -> SetOptions {
        SetOptions { ttl: Some(Duration::from_millis(millis)), ..SetOptions::default() }
    }

    #[tokio::test]
    async fn a_store_without_ttls_has_no_thread() {
        let store = MemoryState::new();
        store.set(&key("a"), Bytes::new(), SetOptions::default()).await.expect("set");
        assert!(!store.sweeper.is_running());
    }

    #[tokio::test]
    async fn expired_entries_are_freed_and_the_thread_ends() {
        let store = MemoryState::new();
        for round in 0..2 {
            for i in 0..1000 {
                store.set(&key(i), Bytes::new(), ttl(3_600_000)).await.expect("set");
                store.set(&key(i), Bytes::new(), ttl(5)).await.expect("set over it, with a sooner deadline");
            }
            let give_up = Instant::now() + Duration::from_secs(30);
            while sizes(&store) != (0, 0) || store.sweeper.is_running() {
                assert!(Instant::now() < give_up, "round {round}: {:?} left", sizes(&store));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn rewriting_leaves_no_deadline_behind() {
        let store = MemoryState::new();
        for _ in 0..100 {
            store.set(&key("a"), Bytes::new(), ttl(60_000)).await.expect("set");
        }
        assert_eq!(sizes(&store), (1, 1));
        store.set(&key("a"), Bytes::new(), SetOptions::default()).await.expect("set");
        assert_eq!(sizes(&store), (1, 0));
        store.delete(&key("a"), DeleteOptions::default()).await.expect("delete");
        assert_eq!(sizes(&store), (0, 0));
    }

    #[tokio::test]
    async fn a_ttl_beyond_the_clock_never_ends() {
        let store = MemoryState::new();
        let forever = SetOptions { ttl: Some(Duration::MAX), ..SetOptions::default() };
        store.set(&key("a"), Bytes::new(), forever).await.expect("set");
        let entry = store.get(&key("a"), GetOptions::default()).await.expect("get").expect("present");
        assert_eq!(entry.expires, None);
    }
}
