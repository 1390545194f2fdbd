//! Room for connections, and those who wait for it.
//!
//! A request that finds all of a cluster's connections in use waits here. Connections never leave their
//! worker, so a returned one serves a waiter of the same worker; while only others wait, it is closed instead
//! of pooled and they may open their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_resilience::Bulkhead;
use outrigger_telemetry::shard::Sharded;
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Waiting {
    bulkhead: Arc<Bulkhead>,
    total: AtomicUsize,
    shards: Sharded<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    waiters: AtomicUsize,
    wake: Notify,
}

/// One open connection's place; given back when the connection is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Waiting>);

impl Waiting {
    pub(crate) fn new(bulkhead: Arc<Bulkhead>) -> Self {
        Self { bulkhead, total: AtomicUsize::new(0), shards: Sharded::default() }
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        self.bulkhead.connections.enter().then(|| Place(Arc::clone(self)))
    }

    /// Waits until a place or a connection of this worker may have become free. `None` when too many wait.
    /// The caller looks again, in a loop.
    pub(crate) fn wait(&self) -> Option<Waiter<'_>> {
        if !self.bulkhead.pending.enter() {
            return None;
        }
        let shard = self.shards.here();
        shard.waiters.fetch_add(1, Ordering::SeqCst);
        self.total.fetch_add(1, Ordering::SeqCst);
        Some(Waiter { waiting: self, shard })
    }

    /// Whether a connection that has become idle should be pooled; otherwise drop it for somebody elsewhere.
    pub(crate) fn keep_idle(&self) -> bool {
        self.total.load(Ordering::SeqCst) == 0 || self.shards.here().waiters.load(Ordering::SeqCst) > 0
    }

    /// A connection was put back into this worker's pool.
    pub(crate) fn pooled(&self) {
        if self.total.load(Ordering::SeqCst) > 0 {
            self.shards.here().wake.notify_one();
        }
    }

    /// A place has become free: the worker with waiters that is found first gets it.
    fn freed(&self) {
        if self.total.load(Ordering::SeqCst) == 0 {
            return;
        }
        let here = self.shards.here();
        let waits = |shard: &&Shard| shard.waiters.load(Ordering::SeqCst) > 0;
        if let Some(shard) = Some(here).filter(waits).or_else(|| self.shards.iter().find(waits)) {
            shard.wake.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.bulkhead.connections.leave();
        self.0.freed();
    }
}

/// Registered as waiting for as long as it lives.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    waiting: &'a Waiting,
    shard: &'a Shard,
}

impl Waiter<'_> {
    /// Until somebody says that it is worth looking again.
    pub(crate) async fn woken(&self) {
        self.shard.wake.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.shard.waiters.fetch_sub(1, Ordering::SeqCst);
        let left = self.waiting.total.fetch_sub(1, Ordering::SeqCst) - 1;
        self.waiting.bulkhead.pending.leave();
        // A wake-up meant for us, stored or taken and not used, is passed on: the others look in vain at most
        // once, while a lost one would leave them waiting with a place free.
        if left > 0 {
            self.waiting.freed();
        }
    }
}
