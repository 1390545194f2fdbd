//! The connections of one endpoint on one worker.

pub(crate) mod exchange;
mod h1;
mod h2;
mod local;
mod over_h2;
mod timer;
mod tunnel;
mod via;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use exchange::Exchange;
use timer::Deadlines;

/// Idle connections and the timers of requests. Locks are held for a few instructions and, a connection never
/// leaving its worker, hardly ever contended.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// The least recently used first.
    idle: Mutex<Vec<h1::Idle>>,
    /// A task is waiting to close connections that stay idle.
    reaping: AtomicBool,
    h2: h2::Streams,
    timers: Mutex<Vec<Deadlines>>,
}

/// Timers kept for the next request.
const TIMERS: usize = 64;

impl Pool {
    /// Connections open and without a request.
    pub(crate) fn idle(&self) -> usize {
        self.idle.lock().len() + self.h2.idle()
    }

    /// The connection used last, which is the likeliest to be open still and leaves the others to be reaped.
    fn take(&self, idle_timeout: Duration, now: Instant) -> Option<h1::Idle> {
        let mut idle = self.idle.lock();
        let last = idle.pop()?;
        if last.is_fresh(idle_timeout, now) {
            return Some(last);
        }
        // The most recent one is too old, so all are.
        let (stale, guard) = (std::mem::take(&mut *idle), idle);
        drop(guard);
        drop((stale, last));
        None
    }

    /// Keeps a connection for the next request, and sees to it that it is not kept for ever.
    fn put(self: &Arc<Self>, idle: h1::Idle, idle_timeout: Duration, max_idle: usize) {
        let mut kept = self.idle.lock();
        if kept.len() >= max_idle {
            drop(kept);
            return;
        }
        kept.push(idle);
        // Still under the lock: the connection might be taken as soon as it is given up.
        if let Some(idle) = kept.last() {
            idle.announce();
        }
        drop(kept);
        self.reap_later(idle_timeout);
    }

    /// Closes the connection that has been idle longest.
    pub(crate) fn evict(&self) -> bool {
        let mut idle = self.idle.lock();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        // Closing it frees a place and wakes a waiter: not under our lock.
        drop(idle);
        oldest.is_some() || self.h2.evict()
    }

    /// One task and one timer while there is something to reap, none otherwise.
    fn reap_later(self: &Arc<Self>, idle_timeout: Duration) {
        if self.reaping.load(Ordering::Relaxed) || self.reaping.swap(true, Ordering::AcqRel) {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => drop(handle.spawn(reap(Arc::downgrade(self), Ticking::new(self, idle_timeout)))),
            Err(_) => self.reaping.store(false, Ordering::Release),
        }
    }

    /// Closes what has been idle too long; says when to look again.
    fn reap(&self, idle_timeout: Duration, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.lock();
        let stale = idle.iter().take_while(|idle| !idle.is_fresh(idle_timeout, now)).count();
        let closing: Vec<_> = idle.drain(..stale).collect();
        let next = idle.first().and_then(h1::Idle::since).map(|since| since + idle_timeout);
        let next = [next, self.h2.reap(idle_timeout, now)].into_iter().flatten().min();
        if next.is_none() {
            self.reaping.store(false, Ordering::Release);
        }
        drop(idle);
        drop(closing);
        next
    }

    fn timer(&self) -> Deadlines {
        self.timers.lock().pop().unwrap_or_default()
    }

    fn keep_timer(&self, timer: Deadlines) {
        let mut timers = self.timers.lock();
        if timers.len() < TIMERS {
            timers.push(timer);
        }
    }
}

/// Marks the pool as not being reaped when the task goes away, however it does (its runtime may end).
struct Ticking {
    pool: Weak<Pool>,
    idle_timeout: Duration,
}

impl Ticking {
    fn new(pool: &Arc<Pool>, idle_timeout: Duration) -> Self {
        Self { pool: Arc::downgrade(pool), idle_timeout }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.reaping.store(false, Ordering::Release);
        }
    }
}

async fn reap(pool: Weak<Pool>, mut ticking: Ticking) {
    let mut next = Instant::now() + ticking.idle_timeout;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.reap(ticking.idle_timeout, Instant::now()) {
            Some(later) => next = later,
            // The mark was taken off under the lock; by now it may be another task's.
            None => {
                ticking.pool = Weak::new();
                return;
            }
        }
    }
}
