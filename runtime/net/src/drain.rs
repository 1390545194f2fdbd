//! Drain: asking connections to end, and waiting until they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The side that starts the drain and waits. One per listener, or per process; dropping it changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    draining: AtomicBool,
    started: Notify,
    held: AtomicUsize,
    released: Notify,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// What connections look at.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { shared: Arc::clone(&self.shared) }
    }

    /// Asks everybody who watches to come to an end. There is no way back.
    pub fn start(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.started.notify_waiters();
    }

    /// Waits until nothing is held, at most for `deadline`; says how much was left.
    pub async fn wait(&self, deadline: Duration) -> usize {
        let none_left = async {
            loop {
                let released = self.shared.released.notified();
                if self.left() == 0 {
                    return;
                }
                released.await;
            }
        };
        // Either way the count is the answer.
        let _ = tokio::time::timeout(deadline, none_left).await;
        self.left()
    }

    /// How much is held now.
    pub fn left(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }
}

/// The side that is asked to end.
#[derive(Clone, Debug)]
pub struct DrainWatch {
    shared: Arc<Shared>,
}

impl DrainWatch {
    /// Whether the drain has started. One relaxed load: fit for every request.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Completes when the drain starts. Pin it once per connection: polling it first takes a lock that all share.
    pub async fn draining(&self) {
        let started = self.shared.started.notified();
        if !self.shared.draining.load(Ordering::SeqCst) {
            started.await;
        }
    }

    /// Delays the end of the drain for as long as the guard is held.
    pub fn hold(&self) -> DrainGuard {
        self.shared.held.fetch_add(1, Ordering::SeqCst);
        DrainGuard { shared: Arc::clone(&self.shared) }
    }
}

/// Something the drain waits for.
#[derive(Debug)]
pub struct DrainGuard {
    shared: Arc<Shared>,
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if self.shared.held.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.released.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_what_is_held_and_no_longer_than_asked() {
        let drain = Drain::new();
        let watch = drain.watch();
        let (quick, stuck) = (watch.hold(), watch.hold());
        tokio::spawn({
            let watch = watch.clone();
            async move {
                watch.draining().await;
                drop(quick);
            }
        });
        assert!(!watch.is_draining());
        drain.start();
        assert_eq!(drain.wait(Duration::from_secs(1)).await, 1);
        assert!(watch.is_draining());
        watch.draining().await;
        drop(stuck);
        assert_eq!(drain.wait(Duration::from_secs(1)).await, 0);
    }
}
