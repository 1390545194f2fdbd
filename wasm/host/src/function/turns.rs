//! Who may run: so many calls at once, and so many that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use outrigger_blocks::{Deadline, Error, ErrorKind, Result};
use outrigger_telemetry::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of one version of a function.
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    shown: Gauge,
}

/// A place in the queue.
struct Place<'t>(&'t Turns);

impl Turns {
    pub(crate) fn new(concurrency: usize, queue: usize, shown: Gauge) -> Self {
        let free = Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        Self { free, waiting: AtomicUsize::new(0), queue, shown }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When too many wait, at once; when it does not come in time.
    pub(crate) async fn take(&self, function: &str, deadline: Deadline) -> Result<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(turn);
        }
        let Some(_place) = self.place() else {
            let message = format!("too many calls of function '{function}' run and wait");
            return Err(Error::new(ErrorKind::RateLimited, message));
        };
        let late = || {
            Error::new(ErrorKind::Timeout, format!("function '{function}' had no turn before the deadline"))
        };
        let turn = Arc::clone(&self.free).acquire_owned();
        let turn = match deadline.instant() {
            Some(at) => tokio::time::timeout_at(at.into(), turn).await.map_err(|_| late())?,
            None => turn.await,
        };
        turn.map_err(|_| Error::internal("the turns of a function are over"))
    }

    fn place(&self) -> Option<Place<'_>> {
        let taken = self
            .waiting
            .fetch_update(Relaxed, Relaxed, |waiting| (waiting < self.queue).then_some(waiting + 1));
        taken.ok().map(|_| {
            self.shown.add(1);
            Place(self)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.0.shown.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_telemetry::Metrics;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_run_some_wait_and_the_rest_is_refused() {
        let shown = Metrics::new().gauge("outrigger_waiting", "W.", &[]).with(&[]);
        let turns = Arc::new(Turns::new(1, 1, shown.clone()));
        let running = turns.take("f", Deadline::NEVER).await.unwrap();
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take("f", Deadline::NEVER).await.map(drop) }
        });
        while shown.value() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = turns.take("f", Deadline::NEVER).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::RateLimited);
        drop(running);
        waiting.await.unwrap().unwrap();
        assert_eq!(shown.value(), 0);
        let _running = turns.take("f", Deadline::NEVER).await.unwrap();
        let soon = Deadline::after(Instant::now(), Duration::from_millis(5));
        assert_eq!(turns.take("f", soon).await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(shown.value(), 0, "who gives up leaves the queue");
    }
}
