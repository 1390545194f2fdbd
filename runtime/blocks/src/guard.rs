//! What happens around every call to a component, once: limits, deadline, retries, breaker, metrics, span, log.

mod limits;
mod meter;
mod policy;

use std::error::Error as _;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Result};
use outrigger_resilience::{Breaker, Outcome, Permit};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span};

pub use limits::{LimitConfig, Limits};
pub use meter::{Meter, Op};
pub use policy::Policy;

use crate::caller::Caller;

/// What repeating an operation would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Doing it twice is doing it once. Only these are retried.
    Idempotent,
    /// It depends on what is there: a write over an etag that did succeed, repeated, would look like a conflict.
    Conditional,
    /// Each time counts.
    Once,
    /// It lasts as long as something moves. The policy's timeout holds for its beginning; what moves is watched by its
    /// block.
    Stream,
}

/// One call to a component.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Which operation of which component of which block.
    pub op: &'a Op,
    /// Whether it may be repeated.
    pub class: Class,
    /// For whom, until when and in which trace.
    pub caller: &'a Caller<'a>,
}

/// The guard of one component. Its breaker remembers, so it lives as long as the component.
pub struct Guard {
    policy: Policy,
    breaker: Breaker,
    complaints: Complaints,
}

impl Guard {
    /// A guard with a closed breaker.
    pub fn new(policy: Policy) -> Self {
        let breaker = Breaker::new(policy.breaker(), Instant::now().into_std());
        Self { policy, breaker, complaints: Complaints::new() }
    }

    /// Waits for the backend with `acquire`, then runs `attempt` once, or more often where the class and the error
    /// allow it. `acquire` is given the moment at which the caller will have been told that time is up; what it
    /// reports says nothing about the backend's health, so the breaker does not hear of it.
    pub async fn run<B: Clone, R, A, F>(
        &self,
        call: Call<'_>,
        acquire: impl FnOnce(Instant) -> A,
        attempt: impl Fn(B) -> F,
    ) -> Result<R>
    where
        A: Future<Output = Result<B>>,
        F: Future<Output = Result<R>>,
    {
        let started = Instant::now();
        let record = call.op.begin(started);
        let traced = call.op.span(call.caller.trace.as_ref());
        let (deadline, whose) = self.deadline(call, started);
        let acquired = acquire(deadline.min(started + self.policy.timeout));
        let work = async {
            let _pass = call.op.admit(call.caller.app_id)?;
            self.attempts(call, acquired.await?, attempt).await
        };
        let span = span(call);
        let result = match timeout_at(deadline, work.instrument(span.clone())).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out(call.op, started, whose)),
        };
        record.end(&result);
        if let (Some(mut span), Err(error)) = (traced, &result) {
            span.set("error.type", error.kind().as_str());
            span.fail(error.kind().as_str());
        }
        if let Err(error) = &result
            && is_news(error, whose)
        {
            span.in_scope(|| self.complaints.report(call.op, error, started));
        }
        result
    }

    /// The caller's deadline or the policy's, whichever comes first.
    fn deadline(&self, call: Call<'_>, now: Instant) -> (Instant, Whose) {
        let own = match call.class {
            Class::Stream => now + LONGEST_STREAM,
            Class::Idempotent | Class::Conditional | Class::Once => now + self.policy.timeout,
        };
        match call.caller.deadline.instant().map(Instant::from_std) {
            Some(theirs) if theirs < own => (theirs, Whose::Caller),
            _ => (own, Whose::Policy),
        }
    }

    async fn attempts<B: Clone, R, F: Future<Output = Result<R>>>(
        &self,
        call: Call<'_>,
        backend: B,
        attempt: impl Fn(B) -> F,
    ) -> Result<R> {
        let mut retry = 0;
        loop {
            let permit = self.admit(call.op)?;
            // When time is up this future is dropped, and the permit with it: `timed_out` tells the breaker.
            let result = attempt(backend.clone()).await;
            permit.record(outcome(&result), Instant::now().into_std());
            let Err(error) = &result else { return result };
            if call.class != Class::Idempotent || !error.is_retryable() || retry == self.policy.retries {
                return result;
            }
            retry += 1;
            call.op.retried();
            tokio::time::sleep(self.policy.backoff.delay(retry, &mut fastrand::Rng::new())).await;
        }
    }

    fn admit(&self, op: &Op) -> Result<Permit<'_>> {
        self.breaker.admit(Instant::now().into_std()).map_err(|refused| {
            let message = format!("component '{}' keeps failing and is given a rest", op.component());
            Error::unavailable(message).retry_in(refused.retry_in).permanent()
        })
    }

    fn timed_out(&self, op: &Op, started: Instant, whose: Whose) -> Error {
        let now = Instant::now().into_std();
        if whose == Whose::Policy
            && let Ok(permit) = self.breaker.admit(now)
        {
            permit.record(Outcome::Failure, now);
        }
        let message = format!("component '{}' did not answer in time", op.component());
        let waited = started.elapsed();
        Error::new(ErrorKind::Timeout, message)
            .with("waited", format_args!("{waited:?}"))
            .with("limit", whose.as_str())
    }
}

/// A stream ends some day, even one that always moves.
const LONGEST_STREAM: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Whose deadline is the earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Caller,
    Policy,
}

impl Whose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "the caller's deadline",
            Self::Policy => "the component's timeout",
        }
    }
}

/// What the result says about the component's health: refusing a wrong request is a success.
fn outcome<R>(result: &Result<R>) -> Outcome {
    match result.as_ref().map_err(Error::kind) {
        Err(ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Internal | ErrorKind::DataLoss) => {
            Outcome::Failure
        }
        Err(ErrorKind::RateLimited) => Outcome::Throttled,
        _ => Outcome::Success,
    }
}

/// Whether the operator should hear of it: callers' mistakes and impatience are not news.
fn is_news(error: &Error, whose: Whose) -> bool {
    match error.kind() {
        ErrorKind::Timeout => whose == Whose::Policy,
        kind => matches!(kind, ErrorKind::Unavailable | ErrorKind::Internal | ErrorKind::DataLoss),
    }
}

/// A span where the caller is traced, or where somebody debugs; otherwise nothing is built.
fn span(call: Call<'_>) -> Span {
    let op = call.op;
    match &call.caller.trace {
        Some(trace) if trace.is_sampled() => tracing::info_span!(
            "call", block = op.block(), component = op.component(), op = op.name(), app = call.caller.app_id,
            trace_id = %trace.trace_id, parent_id = %trace.span_id,
        ),
        _ => tracing::debug_span!("call", block = op.block(), component = op.component(), op = op.name()),
    }
}

/// Failures in the log: the first at once, then one line a second that says how many there were.
struct Complaints {
    origin: Instant,
    /// Milliseconds after `origin` before which nothing more is said.
    quiet_until: AtomicU64,
    unsaid: AtomicU64,
}

impl Complaints {
    const PAUSE: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { origin: Instant::now(), quiet_until: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    fn report(&self, op: &Op, error: &Error, started: Instant) {
        let Some(unsaid) = self.may_speak(Instant::now()) else { return };
        let source = error.source().map(ToString::to_string);
        let (block, component, op) = (op.block(), op.component(), op.name());
        let took = started.elapsed();
        tracing::warn!(block, component, op, ?took, %error, source, unsaid, "call failed");
    }

    /// How many were left unsaid before this one, unless this one is to be left unsaid too.
    fn may_speak(&self, now: Instant) -> Option<u64> {
        let now = now.duration_since(self.origin).as_millis() as u64;
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let next = now + Self::PAUSE.as_millis() as u64;
        let mine = now >= quiet_until
            && self
                .quiet_until
                .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests;
