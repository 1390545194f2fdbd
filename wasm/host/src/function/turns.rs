//! Who may run: so many calls at once, and so many that wait.

use std::sync::Arc;

use outrigger_blocks::function::Chain;
use outrigger_blocks::{Deadline, Error, ErrorKind, Result};
use outrigger_telemetry::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::waits::{Supply, Waits};

/// The turns of one version of a function.
pub(crate) struct Turns {
    /// For those that run and those that wait.
    places: Arc<Semaphore>,
    free: Arc<Semaphore>,
    /// How many there are, all in all.
    all: usize,
    waiting: Gauge,
}

/// A call that is in, if only to wait.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A call that may run.
pub(crate) struct Turn {
    _place: Place,
    _turn: OwnedSemaphorePermit,
}

/// Shown as one that waits.
struct Waiting<'t>(&'t Gauge);

impl Turns {
    pub(crate) fn new(concurrency: usize, queue: usize, waiting: Gauge) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        let places = semaphore(concurrency.saturating_add(queue));
        Self { places, free: semaphore(concurrency), all: concurrency.max(1), waiting }
    }

    /// # Errors
    /// When too many run and wait.
    pub(crate) fn enter(&self, function: &str) -> Result<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map(|permit| Place { _permit: permit }).map_err(|_| {
            let message = format!("too many calls of function '{function}' run and wait");
            Error::new(ErrorKind::RateLimited, message)
        })
    }

    /// Waits until it may run.
    ///
    /// # Errors
    /// When that does not come in time, or never would: those who have the turns wait for its callers.
    pub(crate) async fn take(
        &self,
        place: Place,
        function: &Arc<str>,
        deadline: Deadline,
        (callers, waits): (&Chain, &Waits),
    ) -> Result<Turn> {
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Turn { _place: place, _turn: turn });
        }
        let enter = || waits.enter(callers, Supply::turns(function, self.all));
        let wait = (!callers.is_empty()).then(enter).transpose();
        let _wait = wait.map_err(|_| stuck(function, callers))?;
        self.waiting.add(1);
        let _waiting = Waiting(&self.waiting);
        let turn = Arc::clone(&self.free).acquire_owned();
        let turn = match deadline.instant() {
            Some(at) => tokio::time::timeout_at(at.into(), turn).await.map_err(|_| late(function))?,
            None => turn.await,
        };
        let turn = turn.map_err(|_| Error::internal("the turns of a function are over"))?;
        Ok(Turn { _place: place, _turn: turn })
    }
}

fn late(function: &str) -> Error {
    // Unlike a call that took too long, it can be brought again without a thought.
    Error::unavailable(format!("function '{function}' had no turn before the deadline"))
}

fn stuck(function: &str, callers: &Chain) -> Error {
    let chain = callers.to(function);
    let message =
        format!("'{function}' has no turn left, and those who have them wait for its callers: {chain}");
    Error::new(ErrorKind::FailedPrecondition, message)
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_telemetry::Metrics;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_of_its_own_waits_like_any_other() {
        let shown = Metrics::new().gauge("outrigger_waiting", "W.", &[]).with(&[]);
        let turns = Turns::new(2, 2, shown);
        let (f, waits) = (Arc::<str>::from("f"), Waits::default());
        let (nobody, itself) = (Chain::default(), Chain::default().with(&f));
        let take = async |callers: &Chain, deadline| {
            turns.take(turns.enter("f")?, &f, deadline, (callers, &waits)).await
        };
        let _outer = take(&nobody, Deadline::NEVER).await.unwrap();
        let other = take(&nobody, Deadline::NEVER).await.unwrap();
        let soon = Deadline::after(Instant::now(), Duration::from_millis(5));
        let late = take(&itself, soon).await.map(drop).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Unavailable, "{}", late.message());
        let (inner, ()) = tokio::join!(take(&itself, Deadline::NEVER), async { drop(other) });
        inner.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn some_run_some_wait_and_the_rest_is_refused() {
        let shown = Metrics::new().gauge("outrigger_waiting", "W.", &[]).with(&[]);
        let turns = Arc::new(Turns::new(1, 1, shown.clone()));
        let (f, waits) = (Arc::<str>::from("f"), Arc::new(Waits::default()));
        let take = async |turns: &Turns, deadline, callers: &Chain| {
            turns.take(turns.enter("f")?, &f, deadline, (callers, &waits)).await
        };
        let (nobody, itself) = (Chain::default(), Chain::default().with(&f));
        let running = take(&turns, Deadline::NEVER, &nobody).await.unwrap();
        let stuck = take(&turns, Deadline::NEVER, &itself).await.map(drop).unwrap_err();
        assert_eq!(stuck.kind(), ErrorKind::FailedPrecondition);
        let expected = "'f' has no turn left, and those who have them wait for its callers: f → f";
        assert_eq!(stuck.message(), expected);
        let waiting = tokio::spawn({
            let (turns, f, waits) = (Arc::clone(&turns), Arc::clone(&f), Arc::clone(&waits));
            async move {
                let callers = &Chain::default();
                turns.take(turns.enter("f")?, &f, Deadline::NEVER, (callers, &waits)).await.map(drop)
            }
        });
        while shown.value() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.enter("f").map(drop).unwrap_err().kind(), ErrorKind::RateLimited);
        drop(running);
        waiting.await.unwrap().unwrap();
        assert_eq!(shown.value(), 0);
        let _running = take(&turns, Deadline::NEVER, &itself).await.unwrap();
        let soon = Deadline::after(Instant::now(), Duration::from_millis(5));
        let late = take(&turns, soon, &nobody).await.map(drop).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Unavailable);
        assert_eq!(shown.value(), 0);
        assert!(turns.enter("f").is_ok(), "who gives up leaves the queue");
    }
}
