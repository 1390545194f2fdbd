//! HTTP/2 connections: few, each shared by many requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use outrigger_http::h2::client::SendRequest;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Pool;
use super::via::Via;
use crate::waiting::Waiting;

/// The HTTP/2 connections of one endpoint on one worker.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    state: Mutex<State>,
    /// An attempt to open a connection has ended, well or badly.
    opened: Notify,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Arc<Shared>>,
    /// Somebody is opening a connection; whoever comes meanwhile waits for it instead of opening another.
    opening: bool,
}

/// A connection and the requests on it.
#[derive(Debug)]
struct Shared {
    sender: SendRequest,
    via: Via,
    active: AtomicUsize,
    idle_since: Mutex<Instant>,
    /// A response has come, and with it the peer's settings: its limit on streams is known.
    settled: AtomicBool,
}

/// What the next request can do.
pub(super) enum Next<'a> {
    /// Go ahead on this stream.
    Stream(Stream),
    /// Open a connection.
    Open(Opening<'a>),
    /// Wait until somebody else has.
    Wait(tokio::sync::futures::Notified<'a>),
}

impl Streams {
    /// A stream on a connection with room, or what to do instead. `max` is our own limit per connection; the
    /// upstream's counts too.
    pub(super) fn next(
        &self,
        pool: &Arc<Pool>,
        waiting: &Arc<Waiting>,
        idle_timeout: Duration,
        max: usize,
    ) -> Next<'_> {
        let mut state = self.state.lock();
        state.connections.retain(|connection| !connection.sender.is_closed());
        let with_room = state.connections.iter().find(|connection| connection.has_room(max));
        if let Some(connection) = with_room {
            return Next::Stream(Stream::on(connection, pool, waiting, idle_timeout));
        }
        if state.opening {
            // Made under the lock, so the end of the opening cannot be missed.
            return Next::Wait(self.opened.notified());
        }
        state.opening = true;
        Next::Open(Opening(self))
    }

    /// Connections without a request.
    pub(super) fn idle(&self) -> usize {
        self.state.lock().connections.iter().filter(|connection| connection.is_idle()).count()
    }

    /// Lets go of a connection nobody uses; it closes by itself then.
    pub(super) fn evict(&self) -> bool {
        let mut state = self.state.lock();
        let idle = state.connections.iter().position(|connection| connection.is_idle());
        idle.map(|at| state.connections.swap_remove(at)).is_some()
    }

    /// Lets go of connections idle for too long; says when the next one will be.
    pub(super) fn reap(&self, idle_timeout: Duration, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state
            .connections
            .retain(|c| !c.sender.is_closed() && (!c.is_idle() || c.idle_until(idle_timeout) > now));
        state.connections.iter().filter(|c| c.is_idle()).map(|c| c.idle_until(idle_timeout)).min()
    }
}

impl Shared {
    fn has_room(&self, max: usize) -> bool {
        self.active.load(Ordering::Relaxed) < max.min(self.sender.max_streams())
    }

    fn is_idle(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0
    }

    fn idle_until(&self, idle_timeout: Duration) -> Instant {
        *self.idle_since.lock() + idle_timeout
    }
}

/// The right to open a connection. Given up, also by a cancelled request, the next one who waits takes over.
pub(super) struct Opening<'a>(&'a Streams);

impl Opening<'_> {
    /// The connection is there: the first stream on it.
    pub(super) fn done(
        self,
        (sender, via): (SendRequest, Via),
        pool: &Arc<Pool>,
        waiting: &Arc<Waiting>,
        idle_timeout: Duration,
    ) -> Stream {
        let (active, settled) = (AtomicUsize::new(0), AtomicBool::new(false));
        let connection = Shared { sender, via, active, idle_since: Mutex::new(Instant::now()), settled };
        let connection = Arc::new(connection);
        let stream = Stream::on(&connection, pool, waiting, idle_timeout);
        self.0.state.lock().connections.push(connection);
        stream
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.state.lock().opening = false;
        self.0.opened.notify_waiters();
    }
}

/// A place for one request on a connection, held until its response has ended.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Shared>,
    pool: Weak<Pool>,
    waiting: Arc<Waiting>,
    idle_timeout: Duration,
    early: bool,
}

impl Stream {
    fn on(
        connection: &Arc<Shared>,
        pool: &Arc<Pool>,
        waiting: &Arc<Waiting>,
        idle_timeout: Duration,
    ) -> Self {
        connection.active.fetch_add(1, Ordering::Relaxed);
        let (connection, waiting) = (Arc::clone(connection), Arc::clone(waiting));
        let early = !connection.settled.load(Ordering::Relaxed);
        Self { connection, pool: Arc::downgrade(pool), waiting, idle_timeout, early }
    }

    pub(super) fn sender(&self) -> SendRequest {
        self.connection.sender.clone()
    }

    pub(super) fn via(&self) -> Via {
        self.connection.via
    }

    /// Whether it was begun before the peer's limit on streams was known, and may have been one too many.
    pub(super) fn is_early(&self) -> bool {
        self.early
    }

    /// The peer has answered.
    pub(super) fn answered(&self) {
        if self.early {
            self.connection.settled.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.connection.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.connection.idle_since.lock() = Instant::now();
            if let Some(pool) = self.pool.upgrade() {
                pool.reap_later(self.idle_timeout);
            }
        }
        self.waiting.pooled();
    }
}
