//! How long a call computes, and how it is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use outrigger_blocks::{Deadline, Error, ErrorKind};

use crate::engine::Engine;
use crate::filter::state::processor_time;
use crate::ticker::TICK;

/// A guest that computes lets others have their turn after so many ticks.
const TURN: u64 = 10;

/// The processor time of one call, on whatever threads it runs. Waiting is not computing.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    allowed: AtomicU64,
    spent: AtomicU64,
    /// Of the thread that runs it now, when that began to.
    since: AtomicU64,
}

/// Why an instance is no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Crash {
    #[error("it took longer than its deadline")]
    Late,
    #[error("there was no room for an instance before its deadline")]
    NoRoom,
    #[error("there is no room for an instance, and those that wait for it take some of that")]
    Crowded,
    #[error("it computed for longer than {0:?} (`cpu`)")]
    Overrun(Duration),
    #[error("it trapped: {0}")]
    Trapped(String),
    #[error("the host panicked in a call of it")]
    Panicked,
}

/// The guest went on although its time was over.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
pub(crate) struct Overrun;

impl Crash {
    /// Whether it was the function's doing: what it waited for may have been slow.
    pub(crate) fn is_its_own(&self) -> bool {
        !matches!(self, Self::Late | Self::NoRoom | Self::Crowded)
    }

    pub(crate) fn error(&self, function: &str) -> Error {
        let kind = match self {
            Self::Late => ErrorKind::Timeout,
            Self::NoRoom => ErrorKind::Unavailable,
            Self::Crowded => ErrorKind::FailedPrecondition,
            Self::Overrun(_) | Self::Trapped(_) | Self::Panicked => ErrorKind::Internal,
        };
        Error::new(kind, format!("function '{function}' failed: {self}"))
    }
}

impl Clock {
    /// Another call begins, which may compute for so long.
    pub(crate) fn start(&self, allowed: Duration) {
        self.allowed.store(nanoseconds(allowed), Relaxed);
        self.spent.store(0, Relaxed);
    }

    /// The ticks until somebody has to look again; none when the time is over. Asked while it runs.
    pub(crate) fn turn(&self) -> Option<u64> {
        let now = nanoseconds(processor_time()).saturating_sub(self.since.load(Relaxed));
        let spent = self.spent.load(Relaxed).saturating_add(now);
        let left = self.allowed.load(Relaxed).checked_sub(spent).filter(|left| *left > 0)?;
        Some((left / nanoseconds(TICK) + 1).min(TURN))
    }

    fn allowed(&self) -> Duration {
        Duration::from_nanos(self.allowed.load(Relaxed))
    }

    fn run<R>(&self, run: impl FnOnce() -> R) -> R {
        let since = nanoseconds(processor_time());
        self.since.store(since, Relaxed);
        let result = run();
        self.spent.fetch_add(nanoseconds(processor_time()).saturating_sub(since), Relaxed);
        result
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs the guest under its deadlines. What goes wrong in it, or in us on its behalf, is the guest's end and nobody
/// else's.
pub(crate) async fn guarded<R>(
    engine: &Engine,
    clock: &Clock,
    deadline: Deadline,
    work: impl Future<Output = wasmtime::Result<R>>,
) -> Result<R, Crash> {
    let mut work = pin!(work);
    let work = std::future::poll_fn(|cx| {
        // The epoch's clock ticks while somebody computes, and only then.
        let _ticking = engine.begin();
        match catch_unwind(AssertUnwindSafe(|| clock.run(|| work.as_mut().poll(cx)))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(|error| crash(&error, clock))),
            Err(_) => Poll::Ready(Err(Crash::Panicked)),
        }
    });
    match deadline.instant() {
        Some(at) => tokio::time::timeout_at(at.into(), work).await.unwrap_or(Err(Crash::Late)),
        None => work.await,
    }
}

/// The cause, without the addresses of the guest's stack before it.
fn crash(error: &wasmtime::Error, clock: &Clock) -> Crash {
    if error.is::<Overrun>() {
        return Crash::Overrun(clock.allowed());
    }
    match error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        Some(exit) => Crash::Trapped(format!("it exited with {}", exit.0)),
        None => Crash::Trapped(error.root_cause().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn compute(clock: &Clock, time: Duration) {
        clock.run(|| {
            let since = processor_time();
            while processor_time() - since < time {}
        });
    }

    #[test]
    fn turns_get_shorter_towards_the_end() {
        let clock = Clock::default();
        clock.start(Duration::from_secs(1));
        assert_eq!(clock.run(|| clock.turn()), Some(TURN));
        clock.start(Duration::from_micros(4_500));
        assert!(clock.run(|| clock.turn()).unwrap() <= 5);
        compute(&clock, Duration::from_millis(5));
        assert_eq!(clock.run(|| clock.turn()), None);
        clock.start(Duration::from_millis(5));
        assert!(clock.run(|| clock.turn()).is_some(), "another call has time of its own");
    }

    #[tokio::test]
    async fn waiting_is_not_computing() {
        let (engine, clock) = (Engine::new().unwrap(), Clock::default());
        clock.start(Duration::from_millis(20));
        let wait = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok(clock.turn().is_some())
        };
        assert!(guarded(&engine, &clock, Deadline::NEVER, wait).await.unwrap());
    }

    #[tokio::test]
    async fn each_end_has_its_name() {
        let (engine, clock) = (Engine::new().unwrap(), Clock::default());
        clock.start(Duration::from_millis(20));
        let soon = Deadline::after(Instant::now(), Duration::from_millis(10));
        let forever = std::future::pending::<wasmtime::Result<()>>();
        let late = guarded(&engine, &clock, soon, forever).await.unwrap_err();
        assert!(matches!(late, Crash::Late) && late.error("f").kind() == ErrorKind::Timeout);
        let check = async |error: wasmtime::Error, expected: &str| {
            let work = async { Err::<(), _>(error) };
            let crash = guarded(&engine, &clock, Deadline::NEVER, work).await.unwrap_err();
            assert_eq!(
                (crash.to_string().as_str(), crash.error("f").kind()),
                (expected, ErrorKind::Internal)
            );
        };
        check(Overrun.into(), "it computed for longer than 20ms (`cpu`)").await;
        check(wasmtime_wasi::I32Exit(3).into(), "it trapped: it exited with 3").await;
        check(wasmtime::Error::msg("boom").context("somewhere"), "it trapped: boom").await;
        let panics = async { panic!("as it does") };
        let crash = guarded::<()>(&engine, &clock, Deadline::NEVER, panics).await.unwrap_err();
        assert!(matches!(crash, Crash::Panicked));
    }
}
