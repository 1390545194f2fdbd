//! Upper bounds on what one destination may hold at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Concurrency limits of one destination. A limit of 0 admits nothing (Envoy's reading, not MOSN's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Open connections, idle ones included. Default 4096.
    pub max_connections: usize,
    /// Requests waiting for a connection. Default 1024.
    pub max_pending: usize,
    /// Requests and L4 connections in progress. Default 10,000.
    pub max_requests: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { max_connections: 4096, max_pending: 1024, max_requests: 10_000 }
    }
}

/// The counters behind [`LimitsConfig`].
#[derive(Debug)]
pub struct Bulkhead {
    /// Open connections.
    pub connections: Limit,
    /// Requests waiting for a connection.
    pub pending: Limit,
    /// Requests in progress.
    pub requests: Limit,
}

impl Bulkhead {
    /// Nothing in use yet.
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            connections: Limit::new(config.max_connections),
            pending: Limit::new(config.max_pending),
            requests: Limit::new(config.max_requests),
        }
    }
}

/// A counter that refuses to pass its maximum. Each successful [`enter`](Self::enter) is paired with one
/// [`leave`](Self::leave), which the owner ties to a guard of its own.
#[derive(Debug)]
pub struct Limit {
    used: AtomicUsize,
    max: usize,
}

impl Limit {
    /// Room for `max`.
    pub fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Takes a place; `false` when there is none.
    #[must_use]
    pub fn enter(&self) -> bool {
        // Optimistic: one addition when there is room. Overshooting callers take their place back, so the
        // counter may briefly read above `max`, but no more than `max` callers ever hold a place.
        if self.used.fetch_add(1, Ordering::AcqRel) < self.max {
            return true;
        }
        self.used.fetch_sub(1, Ordering::AcqRel);
        false
    }

    /// Gives the place back.
    pub fn leave(&self) {
        let before = self.used.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a place was given back twice");
    }

    /// Places taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Places there are.
    pub fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn refuses_above_its_maximum_and_admits_again() {
        let limit = Limit::new(2);
        assert!(limit.enter() && limit.enter());
        assert!(!limit.enter());
        limit.leave();
        assert!(limit.enter());
        assert!(!Limit::new(0).enter());
    }

    #[test]
    fn threads_never_hold_more_than_the_maximum() {
        let (limit, inside) = (Arc::new(Limit::new(3)), Arc::new(AtomicUsize::new(0)));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (limit, inside) = (Arc::clone(&limit), Arc::clone(&inside));
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        if limit.enter() {
                            assert!(inside.fetch_add(1, Ordering::AcqRel) < 3);
                            inside.fetch_sub(1, Ordering::AcqRel);
                            limit.leave();
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(limit.used(), 0);
    }
}
