//! How long a call computes, and how it is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use outrigger_blocks::{Deadline, Error, ErrorKind};
use parking_lot::Mutex;

use super::threads;
use crate::engine::Engine;
use crate::filter::state::processor_time;
use crate::ticker::TICK;

/// A guest that computes lets others have their turn after so many ticks.
const TURN: u64 = 10;
/// A call that computes for so long without waiting for anything is a long one.
const LONG: Duration = Duration::from_millis(10);
/// Who computes is stopped with his next turn, and so are those who wait for him, if there is none for so long.
const GRACE: Duration = Duration::from_millis(20);

/// The processor time of one call, on whatever threads it runs: waiting is not computing. And its deadline, which one that
/// computes does not see by itself.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    until: Mutex<Deadline>,
    allowed: AtomicU64,
    spent: AtomicU64,
    /// A tick has passed while it ran: from then on the time is taken exactly. Asking the processor for it is a system
    /// call, two of which take a tenth of a short call.
    watched: AtomicBool,
    /// Of the thread that runs it now, when that began to, or when somebody first looked.
    since: AtomicU64,
    /// What it had spent when it last waited for something.
    waited: AtomicU64,
    /// It was told to let others have their turn, which is not waiting.
    interrupted: AtomicBool,
    is_long: AtomicBool,
}

/// Why an instance is no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Crash {
    #[error("it took longer than its deadline")]
    Late,
    #[error("there was no room for an instance before its deadline")]
    NoRoom,
    #[error("there is no room for an instance, and all of it is held by calls that wait for each other")]
    Crowded,
    #[error("it computed for longer than {0:?} (`cpu`)")]
    Overrun(Duration),
    #[error("it trapped: {0}")]
    Trapped(String),
    #[error("the host panicked in a call of it")]
    Panicked,
}

/// Why a guest that computes may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("its deadline is over")]
    Late,
    #[error("it has computed for long enough")]
    Overrun,
}

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
    /// Another call begins, which may compute for so long, and no longer than until then.
    pub(crate) fn start(&self, allowed: Duration, until: Deadline) {
        *self.until.lock() = until;
        self.allowed.store(nanoseconds(allowed), Relaxed);
        self.spent.store(0, Relaxed);
        self.watched.store(false, Relaxed);
        self.waited.store(0, Relaxed);
        self.interrupted.store(false, Relaxed);
        self.is_long.store(false, Relaxed);
    }

    /// The ticks until somebody has to look again. Asked while it runs, when a tick has passed.
    pub(crate) fn turn(&self) -> Result<u64, Stop> {
        let left = Duration::from_nanos(self.allowed.load(Relaxed).saturating_sub(self.look()));
        self.interrupted.store(true, Relaxed);
        let due = self.until.lock().remaining(Instant::now()).unwrap_or(Duration::MAX);
        match (left, due) {
            (Duration::ZERO, _) => Err(Stop::Overrun),
            (_, Duration::ZERO) => Err(Stop::Late),
            (left, due) => Ok((nanoseconds(left.min(due)) / nanoseconds(TICK) + 1).min(TURN)),
        }
    }

    /// Whether the call has computed for so long in one go that nobody should wait beside it.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long.load(Relaxed)
    }

    /// It does not run for now. Says whether it would go on computing, and has for long.
    fn pauses(&self) -> bool {
        let spent = self.spent.load(Relaxed);
        if !self.interrupted.swap(false, Relaxed) {
            self.waited.store(spent, Relaxed);
            return false;
        }
        let is_long = spent.saturating_sub(self.waited.load(Relaxed)) >= nanoseconds(LONG);
        self.is_long.fetch_or(is_long, Relaxed);
        is_long
    }

    /// What it has spent by now.
    fn look(&self) -> u64 {
        let now = nanoseconds(processor_time());
        if !self.watched.swap(true, Relaxed) {
            // Up to here, it took the tick that has passed.
            self.since.store(now, Relaxed);
            self.spent.fetch_add(nanoseconds(TICK), Relaxed);
        }
        self.spent.load(Relaxed).saturating_add(now.saturating_sub(self.since.load(Relaxed)))
    }

    fn allowed(&self) -> Duration {
        Duration::from_nanos(self.allowed.load(Relaxed))
    }

    /// What is over before anybody looked took as long as the wall's clock says, and no longer than a tick.
    fn run<R>(&self, begun: Instant, run: impl FnOnce() -> R) -> R {
        if self.watched.load(Relaxed) {
            self.since.store(nanoseconds(processor_time()), Relaxed);
        }
        let result = run();
        let spent = if self.watched.load(Relaxed) {
            nanoseconds(processor_time()).saturating_sub(self.since.load(Relaxed))
        } else {
            nanoseconds(begun.elapsed().min(TICK))
        };
        self.spent.fetch_add(spent, Relaxed);
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
        let now = Instant::now();
        // It may have waited for its turn beyond that.
        if deadline.is_past(now) {
            return Poll::Ready(Err(Crash::Late));
        }
        // The epoch's clock ticks while somebody computes, and only then.
        let _ticking = engine.begin();
        match catch_unwind(AssertUnwindSafe(|| clock.run(now, || work.as_mut().poll(cx)))) {
            Ok(Poll::Pending) => {
                if clock.pauses() {
                    threads::computes();
                }
                Poll::Pending
            }
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(|error| crash(&error, clock))),
            Err(_) => Poll::Ready(Err(Crash::Panicked)),
        }
    });
    match deadline.instant() {
        Some(at) => tokio::time::timeout_at(at.into(), work).await.unwrap_or(Err(Crash::Late)),
        None => work.await,
    }
}

/// What comes of a call for those who wait for it: they are told in time, whatever thread there is for it.
pub(crate) async fn in_time<T>(deadline: Deadline, answer: impl Future<Output = T>) -> Result<T, Crash> {
    match deadline.instant() {
        Some(at) => tokio::time::timeout_at((at + GRACE).into(), answer).await.map_err(|_| Crash::Late),
        None => Ok(answer.await),
    }
}

/// The cause, without the addresses of the guest's stack before it.
fn crash(error: &wasmtime::Error, clock: &Clock) -> Crash {
    match (error.downcast_ref::<Stop>(), error.downcast_ref::<wasmtime_wasi::I32Exit>()) {
        (Some(Stop::Late), _) => Crash::Late,
        (Some(Stop::Overrun), _) => Crash::Overrun(clock.allowed()),
        (_, Some(exit)) => Crash::Trapped(format!("it exited with {}", exit.0)),
        _ => Crash::Trapped(error.root_cause().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn compute(time: Duration) {
        let since = processor_time();
        while processor_time() - since < time {}
    }

    fn turn(clock: &Clock) -> Result<u64, Stop> {
        clock.run(Instant::now(), || clock.turn())
    }

    #[test]
    fn turns_get_shorter_towards_the_end() {
        let clock = Clock::default();
        let start = |allowed| clock.start(allowed, Deadline::NEVER);
        start(Duration::from_secs(1));
        assert_eq!(turn(&clock), Ok(TURN));
        start(Duration::from_millis(45));
        let next = clock.run(Instant::now(), || {
            assert_eq!(clock.turn(), Ok(TURN));
            compute(Duration::from_millis(39));
            clock.turn()
        });
        // The machine may take some of it for itself.
        assert!(matches!(next, Ok(1..=6)), "{next:?}");
        // As after each turn it was given: what it computes before it is looked at again counts in full.
        let end = clock.run(Instant::now(), || {
            compute(Duration::from_millis(30));
            clock.turn()
        });
        assert_eq!(end, Err(Stop::Overrun));
        start(Duration::from_millis(5));
        assert!(turn(&clock).is_ok(), "another call has time of its own");
    }

    #[test]
    fn what_computes_for_a_whole_turn_in_one_go_is_long() {
        let clock = Clock::default();
        clock.start(Duration::from_secs(1), Deadline::NEVER);
        let compute = |time| {
            clock.run(Instant::now(), || {
                clock.turn().unwrap();
                compute(time);
            });
            clock.pauses()
        };
        assert!(!compute(LONG / 4));
        // It waits, and is at the beginning again.
        clock.run(Instant::now(), || {});
        assert!(!clock.pauses());
        assert!(!compute(LONG / 4) && !clock.is_long());
        assert!(compute(LONG * 3 / 4) && clock.is_long());
        clock.run(Instant::now(), || {});
        assert!(!clock.pauses() && clock.is_long(), "it was, and may be again");
        clock.start(Duration::from_secs(1), Deadline::NEVER);
        assert!(!clock.is_long(), "another call may not be");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_in_time() {
        let now = || tokio::time::Instant::now().into_std();
        let soon = || Deadline::after(now(), Duration::from_secs(1));
        let late = in_time(soon(), std::future::pending::<()>()).await;
        assert!(matches!(late, Err(Crash::Late)));
        let on_the_way = tokio::time::sleep(Duration::from_secs(1) + GRACE / 2);
        assert!(in_time(soon(), on_the_way).await.is_ok(), "the call itself says more of it");
    }

    #[test]
    fn what_nobody_looked_at_is_counted_up_to_a_tick() {
        let clock = Clock::default();
        clock.start(Duration::from_secs(1), Deadline::NEVER);
        for _ in 0..10 {
            clock.run(Instant::now(), || compute(TICK / 4));
        }
        let spent = Duration::from_nanos(clock.spent.load(Relaxed));
        assert!((TICK * 5 / 2..=TICK * 10).contains(&spent), "{spent:?}");
        let before = spent;
        clock.run(Instant::now(), || compute(TICK * 3));
        assert_eq!(Duration::from_nanos(clock.spent.load(Relaxed)), before + TICK);
        assert!(turn(&clock).is_ok());
        clock.run(Instant::now(), || compute(TICK * 3));
        let watched = Duration::from_nanos(clock.spent.load(Relaxed));
        assert!(watched >= before + TICK * 5, "{watched:?}: from then on it is taken exactly");
    }

    #[test]
    fn turns_end_with_the_deadline() {
        let clock = Clock::default();
        clock.start(Duration::from_secs(1), Deadline::NEVER);
        let turn = |left| {
            *clock.until.lock() = Deadline::after(Instant::now(), left);
            turn(&clock)
        };
        assert_eq!(turn(Duration::from_secs(9)), Ok(TURN));
        assert!(matches!(turn(Duration::from_micros(4_500)), Ok(..=5) | Err(Stop::Late)));
        assert_eq!(turn(Duration::ZERO), Err(Stop::Late));
    }

    #[tokio::test]
    async fn waiting_is_not_computing() {
        let (engine, clock) = (Engine::new().unwrap(), Clock::default());
        clock.start(Duration::from_millis(20), Deadline::NEVER);
        let wait = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok(clock.turn().is_ok())
        };
        assert!(guarded(&engine, &clock, Deadline::NEVER, wait).await.unwrap());
    }

    #[tokio::test]
    async fn each_end_has_its_name() {
        let (engine, clock) = (Engine::new().unwrap(), Clock::default());
        clock.start(Duration::from_millis(20), Deadline::NEVER);
        let soon = Deadline::after(Instant::now(), Duration::from_millis(10));
        let forever = std::future::pending::<wasmtime::Result<()>>();
        let late = guarded(&engine, &clock, soon, forever).await.unwrap_err();
        assert!(matches!(late, Crash::Late) && late.error("f").kind() == ErrorKind::Timeout);
        let never = async { unreachable!("it has no turn any more") };
        let past = guarded::<()>(&engine, &clock, soon, never).await.unwrap_err();
        assert!(matches!(past, Crash::Late) && matches!(crash(&Stop::Late.into(), &clock), Crash::Late));
        let check = async |error: wasmtime::Error, expected: &str| {
            let work = async { Err::<(), _>(error) };
            let crash = guarded(&engine, &clock, Deadline::NEVER, work).await.unwrap_err();
            assert_eq!(
                (crash.to_string().as_str(), crash.error("f").kind()),
                (expected, ErrorKind::Internal)
            );
        };
        check(Stop::Overrun.into(), "it computed for longer than 20ms (`cpu`)").await;
        check(wasmtime_wasi::I32Exit(3).into(), "it trapped: it exited with 3").await;
        check(wasmtime::Error::msg("boom").context("somewhere"), "it trapped: boom").await;
        let panics = async { panic!("as it does") };
        let crash = guarded::<()>(&engine, &clock, Deadline::NEVER, panics).await.unwrap_err();
        assert!(matches!(crash, Crash::Panicked));
    }
}
