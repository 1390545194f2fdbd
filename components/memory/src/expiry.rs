//! Frees expired entries nobody asks for. Reads never depend on it: they look at the deadline themselves.
//!
//! A thread exists only while some entry has a deadline; it sleeps until the next one and wakes at most once a
//! second. A store without ttls costs no thread and no wake-up.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::state::Shards;

/// Deadlines that fall together are swept together.
const PAUSE: Duration = Duration::from_secs(1);
/// The most entries freed while holding one shard.
const CHUNK: usize = 256;

/// Owns the sweeping thread and waits for it when dropped.
pub(crate) struct Sweeper {
    shared: Arc<Shared>,
}

struct Shared {
    shards: Arc<Shards>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// When the thread will look next; `None` while there is no thread.
    wake: Option<Instant>,
    /// The thread does not look before this.
    not_before: Option<Instant>,
    stopping: bool,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        Self { shared: Arc::new(Shared { shards, state: Mutex::default(), changed: Condvar::new() }) }
    }

    /// To be called after an entry with this deadline went in.
    pub(crate) fn expect(&self, deadline: Instant) {
        let mut state = self.shared.state.lock();
        let look = state.not_before.map_or(deadline, |not_before| deadline.max(not_before));
        match state.wake {
            Some(wake) if wake <= look => {}
            Some(_) => {
                state.wake = Some(look);
                self.shared.changed.notify_one();
            }
            None => {
                let shared = Arc::clone(&self.shared);
                let spawned = Builder::new().name("memory-expiry".to_owned()).spawn(move || shared.run());
                // Without a thread the entry still reads as absent in time, and the next write with a ttl tries again.
                if let Ok(thread) = spawned {
                    state.wake = Some(look);
                    state.thread = Some(thread);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        self.shared.state.lock().wake.is_some()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let thread = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            self.shared.changed.notify_one();
            state.thread.take()
        };
        if let Some(thread) = thread {
            // A panic in there has been reported by the hook, and nothing is left to save.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stopping {
            let Some(wake) = state.wake else { return };
            if Instant::now() < wake {
                self.changed.wait_until(&mut state, wake);
                continue;
            }
            MutexGuard::unlocked(&mut state, || self.shards.sweep(CHUNK));
            let not_before = Instant::now() + PAUSE;
            state.not_before = Some(not_before);
            // Under the lock, so that a writer either is seen here or finds `wake` empty and starts a new thread.
            state.wake = self.shards.next_deadline().map(|next| next.max(not_before));
        }
    }
}
