//! How many connections a listener takes, and the permit that counts one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::drain::DrainGuard;

/// The `limits` section of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerLimits {
    /// Connections at the same time. Further ones wait in the kernel's backlog until one ends. Default 10,000.
    pub max_connections: usize,
    /// Connections at the same time from one IPv4 address or one IPv6 /64. Further ones are closed at once.
    /// Default: no limit, as clients behind one address are common.
    pub max_connections_per_source: Option<u32>,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { max_connections: 10_000, max_connections_per_source: None }
    }
}

/// Counts a listener's connections.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Mutex<ListenerLimits>,
    active: AtomicUsize,
    freed: Notify,
    sources: Mutex<HashMap<IpAddr, u32>>,
}

impl Gate {
    pub(crate) fn new(limits: ListenerLimits) -> Self {
        Self {
            limits: Mutex::new(limits),
            active: AtomicUsize::new(0),
            freed: Notify::new(),
            sources: Mutex::default(),
        }
    }

    pub(crate) fn set_limits(&self, limits: ListenerLimits) {
        *self.limits.lock() = limits;
        self.freed.notify_one();
    }

    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.active() >= self.limits.lock().max_connections
    }

    /// Waits until a connection more is allowed. For the one accept loop.
    pub(crate) async fn room(&self) {
        loop {
            // `notify_one` keeps its permit, so an end between the check and the wait is not missed.
            if !self.is_full() {
                return;
            }
            self.freed.notified().await;
        }
    }

    /// Counts a connection, or refuses it because its source has too many.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: Option<IpAddr>,
        worker: Arc<AtomicUsize>,
        drain: DrainGuard,
    ) -> Option<Permit> {
        let per_source = self.limits.lock().max_connections_per_source;
        let source = match (per_source, peer) {
            (Some(max), Some(ip)) => {
                let source = source_of(ip);
                let mut sources = self.sources.lock();
                let count = sources.entry(source).or_default();
                if *count >= max {
                    return None;
                }
                *count += 1;
                Some(source)
            }
            _ => None,
        };
        self.active.fetch_add(1, Ordering::SeqCst);
        worker.fetch_add(1, Ordering::Relaxed);
        Some(Permit { gate: Arc::clone(self), worker, source, _drain: drain })
    }
}

/// The part of an address one client is free to choose within counts as one source.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Counts a connection against its listener, its worker, its source and the drain until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    worker: Arc<AtomicUsize>,
    source: Option<IpAddr>,
    _drain: DrainGuard,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
        if let Some(source) = self.source {
            let mut sources = self.gate.sources.lock();
            if let Some(count) = sources.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&source);
                }
            }
        }
        self.gate.active.fetch_sub(1, Ordering::SeqCst);
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Drain;

    fn admit(gate: &Arc<Gate>, ip: &str) -> Option<Permit> {
        gate.admit(Some(ip.parse().unwrap()), Arc::default(), Drain::new().watch().hold())
    }

    #[test]
    fn a_source_has_its_share() {
        let gate = Arc::new(Gate::new(ListenerLimits {
            max_connections_per_source: Some(2),
            ..ListenerLimits::default()
        }));
        let first = admit(&gate, "10.0.0.1").unwrap();
        let _second = admit(&gate, "::ffff:10.0.0.1").unwrap();
        assert!(admit(&gate, "10.0.0.1").is_none());
        let _other = admit(&gate, "10.0.0.2").unwrap();
        drop(first);
        let _third = admit(&gate, "10.0.0.1").unwrap();
        assert_eq!(gate.active(), 3);

        let _a = admit(&gate, "2001:db8::1").unwrap();
        let _b = admit(&gate, "2001:db8::ffff:2").unwrap();
        assert!(admit(&gate, "2001:db8::3").is_none(), "a /64 is one source");
        assert!(admit(&gate, "2001:db8:0:1::3").is_some());
    }

    #[test]
    fn sources_are_forgotten() {
        let gate = Arc::new(Gate::new(ListenerLimits {
            max_connections_per_source: Some(1),
            ..ListenerLimits::default()
        }));
        drop(admit(&gate, "10.0.0.1"));
        assert!(gate.sources.lock().is_empty());
    }

    #[tokio::test]
    async fn room_comes_back_when_a_connection_ends_or_the_limit_grows() {
        let limits = ListenerLimits { max_connections: 1, ..ListenerLimits::default() };
        let gate = Arc::new(Gate::new(limits));
        gate.room().await;
        let held = admit(&gate, "10.0.0.1").unwrap();
        assert!(gate.is_full());
        tokio::join!(gate.room(), async { drop(held) });
        let _held = admit(&gate, "10.0.0.1").unwrap();
        tokio::join!(gate.room(), async {
            gate.set_limits(ListenerLimits { max_connections: 2, ..limits });
        });
    }
}
