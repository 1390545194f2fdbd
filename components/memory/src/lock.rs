//! Locks in memory: exclusive among the callers of this process, gone with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_component_api::{
    Backend, BuildContext, Component, Held, Key, Lease, LockStore, Result, async_trait,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::start_of_counting;

/// How many leases are held before those that have ended are looked for again.
const SWEEP_EVERY: usize = 1024;

/// Registers [`MemoryLock`] as `lock.in-memory`.
pub struct MemoryLockBackend;

/// `lock.in-memory` has no settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryLockConfig {}

#[async_trait]
impl Backend for MemoryLockBackend {
    const TYPE: &'static str = "lock.in-memory";
    const ALIASES: &'static [&'static str] = &["lock.memory"];
    const ABOUT: &'static str = "Locks among the callers of this process; all are free when it ends.";
    type Config = MemoryLockConfig;
    type Block = dyn LockStore;

    async fn build(_: MemoryLockConfig, _: &BuildContext) -> Result<Arc<dyn LockStore>> {
        Ok(Arc::new(MemoryLock::new()))
    }
}

/// A lock store in memory.
pub struct MemoryLock {
    leases: Mutex<Leases>,
}

struct Leases {
    held: HashMap<Key, Holder>,
    last_token: u64,
    /// The number of entries at which those that have ended are removed.
    sweep_at: usize,
}

struct Holder {
    owner: Box<str>,
    /// `None` is beyond what the clock can count.
    until: Option<Instant>,
}

impl MemoryLock {
    pub fn new() -> Self {
        let leases = Leases { held: HashMap::new(), last_token: start_of_counting(), sweep_at: SWEEP_EVERY };
        Self { leases: Mutex::new(leases) }
    }
}

impl Default for MemoryLock {
    fn default() -> Self {
        Self::new()
    }
}

impl Holder {
    fn new(owner: &str, ttl: Duration, now: Instant) -> Self {
        Self { owner: owner.into(), until: now.checked_add(ttl) }
    }

    fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Leases {
    fn holder(&mut self, resource: &Key, now: Instant) -> Option<&mut Holder> {
        self.held.get_mut(resource).filter(|holder| holder.holds(now))
    }

    /// Removes what has ended whenever the number of entries has doubled, so that looking costs each lease little.
    fn sweep(&mut self, now: Instant) {
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, holder| holder.holds(now));
            self.sweep_at = (self.held.len() * 2).max(SWEEP_EVERY);
        }
    }
}

#[async_trait]
impl Component for MemoryLock {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl LockStore for MemoryLock {
    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>> {
        let mut leases = self.leases.lock();
        let now = Instant::now();
        if leases.holder(resource, now).is_some() {
            return Ok(None);
        }
        leases.sweep(now);
        leases.held.insert(resource.clone(), Holder::new(owner, ttl, now));
        leases.last_token += 1;
        Ok(Some(Lease { token: leases.last_token }))
    }

    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held> {
        let mut leases = self.leases.lock();
        let held = match leases.holder(resource, Instant::now()) {
            None => Held::Nobody,
            Some(holder) if *holder.owner != *owner => return Ok(Held::Other),
            Some(_) => Held::Yes,
        };
        leases.held.remove(resource);
        Ok(held)
    }

    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held> {
        let mut leases = self.leases.lock();
        let now = Instant::now();
        Ok(match leases.holder(resource, now) {
            None => Held::Nobody,
            Some(holder) if *holder.owner != *owner => Held::Other,
            Some(holder) => {
                *holder = Holder::new(owner, ttl, now);
                Held::Yes
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leases_that_ended_do_not_pile_up() {
        let store = MemoryLock::new();
        for i in 0..10_000 {
            let resource = Key::new(i.to_string()).expect("not empty");
            store.try_lock(&resource, "a", Duration::ZERO).await.expect("answered").expect("free");
        }
        assert!(store.leases.lock().held.len() <= SWEEP_EVERY);
    }
}
