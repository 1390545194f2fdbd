//! One schedule of a function: calls it each time it is due, one run after the other. What came due in the meantime is
//! gone, but for the last time of a process that slept.
//!
//! With a lock store, the sidecars that share it agree on who calls: each time has a lock of its own, which is never given
//! back. It is held for so long that a sidecar whose clock is slow, or which wakes up late, still finds it taken.

mod claim;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_component_api::Result;
use outrigger_resilience::Backoff;
use outrigger_telemetry::Counter;
use outrigger_telemetry::span::{Kind, Span};
use outrigger_telemetry::trace::TraceContext;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::taker::never_ran;
use super::{ScheduleTrigger, Tick};
use crate::Blocks;
use crate::caller::Caller;
use claim::Claims;

/// When a schedule is due.
pub trait Times: Send + Sync + 'static {
    /// The first time after this one, the same whoever asks; `None` if there is none.
    fn next(&self, after: SystemTime) -> Option<SystemTime>;
}

/// What time it is.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Clocks are looked at this often while waiting for a time, as they may be set.
const LOOK: Duration = Duration::from_secs(60);
/// A time is still worth a call for so long: a process may have slept.
const LATE: Duration = Duration::from_secs(300);
/// A clock that shows this much less than it did has been set back.
const SET_BACK: Duration = Duration::from_secs(5);
/// How long a function that is busy, or a lock store that is away, is tried.
const TRYING: Duration = Duration::from_secs(30);
/// Between attempts.
const PAUSE: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };
/// Times that have passed are counted up to here, to find the last one.
const MOST_PASSED: usize = 10_000;

/// A schedule that runs.
pub(super) struct Schedule {
    pub(super) name: Arc<str>,
    pub(super) function: Arc<str>,
    pub(super) times: Arc<dyn Times>,
    pub(super) clock: Clock,
    pub(super) blocks: Arc<Blocks>,
    pub(super) claims: Option<Claims>,
    pub(super) counts: Counts,
    pub(super) stopped: watch::Receiver<bool>,
}

/// What became of its times.
pub(super) struct Counts {
    done: Counter,
    failed: Counter,
    elsewhere: Counter,
    missed: Counter,
}

impl Counts {
    pub(super) fn new(blocks: &Blocks, function: &str, schedule: &str) -> Self {
        let count = |outcome| blocks.meter().ticks(function, schedule, outcome);
        Self {
            done: count("done"),
            failed: count("failed"),
            elsewhere: count("elsewhere"),
            missed: count("missed"),
        }
    }
}

/// How waiting for a time ended.
enum Waited {
    Due,
    SetBack,
    Stopped,
}

impl Schedule {
    pub(super) fn claims(trigger: &ScheduleTrigger, function: &str, name: &str) -> Option<Claims> {
        trigger.lock.as_ref().map(|store| Claims::new(store, function, name))
    }

    /// Returns when told to stop, after the run under way, or when there is no further time.
    pub(super) async fn run(mut self) {
        let mut last = (self.clock)();
        loop {
            let Some(due) = self.times.next(last) else {
                let (function, schedule) = (&*self.function, &*self.name);
                return tracing::warn!(function, schedule, "the schedule has no further time");
            };
            match self.wait(last, due).await {
                Waited::Stopped => return,
                Waited::SetBack => last = (self.clock)(),
                Waited::Due => {
                    let due = self.latest(due);
                    self.keep(due).await;
                    // What came due in the meantime is gone.
                    last = due.max((self.clock)());
                }
            }
        }
    }

    async fn wait(&mut self, last: SystemTime, due: SystemTime) -> Waited {
        loop {
            let now = (self.clock)();
            if last.duration_since(now).is_ok_and(|back| back > SET_BACK) {
                return Waited::SetBack;
            }
            let Ok(left) = due.duration_since(now) else { return Waited::Due };
            if left.is_zero() {
                return Waited::Due;
            }
            tokio::select! {
                () = sleep(left.min(LOOK)) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return Waited::Stopped,
            }
        }
    }

    /// The last time that has come, where several have.
    fn latest(&self, due: SystemTime) -> SystemTime {
        let now = (self.clock)();
        let next = |time: &SystemTime| self.times.next(*time).filter(|next| *next <= now);
        std::iter::successors(Some(due), next).take(MOST_PASSED).last().unwrap_or(due)
    }

    /// Sees to it that the function is called for this time, by us or by somebody else.
    async fn keep(&mut self, due: SystemTime) {
        let (function, schedule) = (Arc::clone(&self.function), Arc::clone(&self.name));
        let (function, schedule) = (&*function, &*schedule);
        let missed =
            |why: &str| tracing::warn!(function, schedule, ?due, why, "a scheduled call is left out");
        if (self.clock)().duration_since(due).is_ok_and(|late| late > LATE) {
            self.counts.missed.inc();
            return missed("its time has passed");
        }
        // Another sidecar may have it.
        if !self.blocks.functions.has(function) {
            self.counts.missed.inc();
            return missed("the function is not there");
        }
        let until = Instant::now() + TRYING;
        match self.claimed(due, until).await {
            Ok(true) => {}
            Ok(false) => return self.counts.elsewhere.inc(),
            Err(error) => {
                self.counts.missed.inc();
                return missed(&format!("its lock cannot be had: {error}"));
            }
        }
        match self.call(due, until).await {
            Ok(()) => self.counts.done.inc(),
            Err(error) => {
                self.counts.failed.inc();
                tracing::warn!(function, schedule, %error, "a scheduled call failed");
            }
        }
    }

    /// Whether the call is ours to make.
    async fn claimed(&mut self, due: SystemTime, until: Instant) -> Result<bool> {
        let Some(claims) = &self.claims else { return Ok(true) };
        let mut attempt = 0;
        loop {
            let error = match claims.take(&self.blocks, due, attempt > 0).await {
                Err(error) if error.kind().is_transient() || error.kind().is_refusal() => error,
                settled => return settled,
            };
            attempt += 1;
            pause(&mut self.stopped, attempt, until).await.map_err(|()| error)?;
        }
    }

    async fn call(&mut self, due: SystemTime, until: Instant) -> Result<()> {
        let tick = Tick { name: Arc::clone(&self.name), due };
        let span = self.span();
        let trace = span.as_ref().and_then(Span::context).cloned();
        let trace = Some(trace.unwrap_or_else(|| TraceContext::root(false)));
        let blocks = Arc::clone(&self.blocks);
        let caller = &Caller { trace, ..Caller::new(blocks.app_id()) };
        let mut attempt = 0;
        let result = loop {
            match self.blocks.functions.schedule(&self.function, caller, &tick).await {
                Err(error) if never_ran(&error) => {
                    attempt += 1;
                    if pause(&mut self.stopped, attempt, until).await.is_err() {
                        break Err(error);
                    }
                }
                result => break result,
            }
        };
        if let (Some(mut span), Err(error)) = (span, &result) {
            span.fail(error.kind().as_str());
        }
        result
    }

    fn span(&self) -> Option<Span> {
        let mut span = self.blocks.meter().tracer().first(Kind::Consumer, "schedule")?;
        span.rename(format!("schedule {}/{}", self.function, self.name));
        span.set("outrigger.function", self.function.to_string());
        Some(span)
    }
}

/// `Err` when there is no more time to try again, or no wish to.
async fn pause(
    stopped: &mut watch::Receiver<bool>,
    attempt: u32,
    until: Instant,
) -> std::result::Result<(), ()> {
    let next = Instant::now() + PAUSE.delay(attempt, &mut fastrand::Rng::new());
    if next >= until {
        return Err(());
    }
    tokio::select! {
        () = sleep_until(next) => Ok(()),
        _ = stopped.wait_for(|stopped| *stopped) => Err(()),
    }
}

#[cfg(test)]
mod tests;
