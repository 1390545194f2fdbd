//! What is counted and traced of calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_blocks::{Error, ErrorKind};
use outrigger_telemetry::span::{Kind, Span, Tracer};
use outrigger_telemetry::trace::TraceContext;
use outrigger_telemetry::{Counter, Family, Gauge, Histogram, Metrics};
use parking_lot::Mutex;

/// What a function is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trigger {
    Http,
    Event,
    Schedule,
    Binding,
    Invoke,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Ok,
    /// The function said so.
    Error,
    Crashed,
    Timeout,
    /// Too many ran and waited.
    RateLimited,
    /// It is kept from running.
    Unavailable,
    /// Nobody waits for the answer any more.
    Cancelled,
}

/// The series of all functions.
pub(crate) struct Families {
    calls: Family<Counter>,
    seconds: Family<Histogram>,
    crashes: Family<Counter>,
    instances: Family<Gauge>,
    waiting: Family<Gauge>,
    tracer: Tracer,
    /// How often a version is there: the same module may be deployed again with other settings.
    versions: Mutex<HashMap<[Arc<str>; 2], usize>>,
}

/// Those of one version.
pub(crate) struct Measures {
    families: Arc<Families>,
    name: Arc<str>,
    version: Arc<str>,
    calls: Mutex<HashMap<(Trigger, Outcome), (Counter, Histogram)>>,
    pub(crate) crashes: Counter,
    pub(crate) instances: Gauge,
    pub(crate) waiting: Gauge,
}

/// A call under way. Dropped before its end is known, nobody waited for it.
pub(crate) struct Record {
    measures: Arc<Measures>,
    trigger: Trigger,
    outcome: Outcome,
    since: Instant,
    span: Option<Span>,
}

/// An instance that is there.
pub(crate) struct Live(Gauge);

impl Trigger {
    const ALL: [Self; 5] = [Self::Http, Self::Event, Self::Schedule, Self::Binding, Self::Invoke];

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Event => "event",
            Self::Schedule => "schedule",
            Self::Binding => "binding",
            Self::Invoke => "invoke",
        }
    }
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Ok,
        Self::Error,
        Self::Crashed,
        Self::Timeout,
        Self::RateLimited,
        Self::Unavailable,
        Self::Cancelled,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Crashed => "crashed",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
        }
    }

    /// Of an error that kept the function from answering.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::RateLimited => Self::RateLimited,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Error,
        }
    }
}

impl Families {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            calls: metrics.counter(
                "outrigger_function_calls_total",
                "Calls of functions.",
                &["function", "version", "trigger", "result"],
            ),
            seconds: metrics.histogram(
                "outrigger_function_seconds",
                "How long calls of functions took, waiting for a turn included.",
                &["function", "trigger"],
            ),
            crashes: metrics.counter(
                "outrigger_function_crashes_total",
                "Calls that ended in a trap, or computed for too long.",
                &["function"],
            ),
            instances: metrics.gauge(
                "outrigger_function_instances",
                "Instances that run or are kept for the next call.",
                &["function"],
            ),
            waiting: metrics.gauge(
                "outrigger_function_waiting",
                "Calls that wait for their turn.",
                &["function"],
            ),
            tracer: metrics.tracer().clone(),
            versions: Mutex::default(),
        }
    }
}

impl Measures {
    pub(crate) fn new(families: Arc<Families>, name: Arc<str>, version: Arc<str>) -> Arc<Self> {
        *families.versions.lock().entry([Arc::clone(&name), Arc::clone(&version)]).or_default() += 1;
        Arc::new(Self {
            calls: Mutex::default(),
            crashes: families.crashes.with(&[&name]),
            instances: families.instances.with(&[&name]),
            waiting: families.waiting.with(&[&name]),
            families,
            name,
            version,
        })
    }

    /// A call comes in.
    pub(crate) fn begin(self: &Arc<Self>, trigger: Trigger, trace: Option<&TraceContext>) -> Record {
        let trace = trace.filter(|trace| trace.is_sampled());
        let span = trace.and_then(|trace| self.span(trigger, trace));
        Record {
            measures: Arc::clone(self),
            trigger,
            outcome: Outcome::Cancelled,
            since: Instant::now(),
            span,
        }
    }

    fn span(&self, trigger: Trigger, trace: &TraceContext) -> Option<Span> {
        let name = format!("function {}", self.name);
        let mut span = self.families.tracer.child(Kind::Server, name, Some(trace))?;
        span.set("faas.name", self.name.to_string());
        span.set("faas.version", self.version.to_string());
        span.set("faas.trigger", trigger.name());
        Some(span)
    }

    pub(crate) fn live(&self) -> Live {
        self.instances.add(1);
        Live(self.instances.clone())
    }

    fn count(&self, trigger: Trigger, outcome: Outcome, took: Duration) {
        let mut calls = self.calls.lock();
        let (counter, seconds) = calls.entry((trigger, outcome)).or_insert_with(|| {
            let labels = [&*self.name, &*self.version, trigger.name(), outcome.name()];
            (self.families.calls.with(&labels), self.families.seconds.with(&[&self.name, trigger.name()]))
        });
        counter.inc();
        seconds.observe(took);
    }
}

/// Versions come and go; the series of one that is gone go too.
impl Drop for Measures {
    fn drop(&mut self) {
        let mut versions = self.families.versions.lock();
        let key = [Arc::clone(&self.name), Arc::clone(&self.version)];
        let left = versions.get(&key).map_or(0, |there| there.saturating_sub(1));
        if left > 0 {
            versions.insert(key, left);
            return;
        }
        versions.remove(&key);
        for trigger in Trigger::ALL {
            for outcome in Outcome::ALL {
                let labels = [&*self.name, &*self.version, trigger.name(), outcome.name()];
                self.families.calls.remove(&labels);
            }
        }
    }
}

impl Record {
    /// The call's own span.
    pub(crate) fn trace(&self) -> Option<&TraceContext> {
        self.span.as_ref()?.context()
    }

    /// In the function's own words.
    pub(crate) fn ends(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        if let Some(span) = self.span.as_mut().filter(|_| outcome != Outcome::Ok) {
            span.fail("the function said so");
        }
    }

    pub(crate) fn fails(&mut self, outcome: Outcome, why: &impl std::fmt::Display) {
        self.outcome = outcome;
        if let Some(span) = &mut self.span {
            span.fail(why.to_string());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.measures.count(self.trigger, self.outcome, self.since.elapsed());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_gone_leaves_no_series() {
        let metrics = Metrics::new();
        let families = Arc::new(Families::new(&metrics));
        let version = |version: &str| Measures::new(Arc::clone(&families), "f".into(), version.into());
        let shown = |version: &str| {
            let start = format!("outrigger_function_calls_total{{function=\"f\",version=\"{version}\"");
            metrics.render().lines().filter(|line| line.starts_with(&start)).count()
        };
        let (first, again, other) = (version("a"), version("a"), version("b"));
        for measures in [&first, &again, &other] {
            let mut record = measures.begin(Trigger::Event, None);
            record.ends(Outcome::Ok);
        }
        drop(other.begin(Trigger::Http, None));
        drop(first);
        assert_eq!((shown("a"), shown("b")), (1, 2), "it is there twice");
        drop(again);
        assert_eq!((shown("a"), shown("b")), (0, 2));
    }
}
