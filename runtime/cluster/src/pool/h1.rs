//! HTTP/1.1 connections between requests.

use std::sync::{Arc, Weak};
use std::time::Duration;

use outrigger_http::h1::client::{Conn, Recycle};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Pool;
use super::via::Via;
use crate::config::PoolConfig;
use crate::usage::InFlight;
use crate::waiting::{Place, Waiting};

/// A connection nobody is using.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) conn: Conn,
    pub(super) lease: Arc<Lease>,
}

impl Idle {
    pub(super) fn since(&self) -> Option<Instant> {
        self.conn.idle_since()
    }

    /// Tells whoever waits that a connection is in the pool.
    pub(super) fn announce(&self) {
        self.lease.waiting.pooled();
    }

    pub(super) fn is_fresh(&self, idle_timeout: Duration, now: Instant) -> bool {
        self.since().is_none_or(|since| now.saturating_duration_since(since) < idle_timeout)
    }
}

/// What goes with a connection all its life: its place among the cluster's connections, the way back to its
/// pool, and the request it is lent to. One allocation per connection, none per request.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Weak<Pool>,
    waiting: Arc<Waiting>,
    settings: PoolConfig,
    pub(super) via: Via,
    _place: Place,
    request: Mutex<Option<InFlight>>,
}

impl Lease {
    pub(super) fn new(
        pool: &Arc<Pool>,
        waiting: &Arc<Waiting>,
        settings: PoolConfig,
        (place, via): (Place, Via),
    ) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::downgrade(pool),
            waiting: Arc::clone(waiting),
            settings,
            via,
            _place: place,
            request: Mutex::new(None),
        })
    }

    /// Counts `request` until the connection is done with it.
    pub(super) fn lend(&self, request: InFlight) {
        *self.request.lock() = Some(request);
    }
}

impl Recycle for Lease {
    fn finished(self: Arc<Self>, conn: Option<Conn>) {
        drop(self.request.lock().take());
        // A pool that is gone belonged to an endpoint that is: the connection closes.
        if let (Some(conn), Some(pool)) = (conn, self.pool.upgrade())
            && self.waiting.keep_idle()
        {
            let PoolConfig { idle_timeout, max_idle, .. } = self.settings;
            pool.put(Idle { conn, lease: self }, idle_timeout, max_idle);
        }
    }
}
