//! Counting calls: handles are taken when a component is made, so that a call only adds to them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use outrigger_component_api::{ErrorKind, Result};
use outrigger_telemetry::span::{Kind, Span, Tracer};
use outrigger_telemetry::trace::TraceContext;
use outrigger_telemetry::{Counter, Family, Gauge, Histogram, Metrics};
use tokio::time::Instant;

use super::limits::{Limits, Pass};

/// The metric families of all blocks.
#[derive(Clone)]
pub struct Meter {
    calls: Family<Counter>,
    seconds: Family<Histogram>,
    retries: Family<Counter>,
    tracer: Tracer,
    events: Family<Counter>,
    in_flight: Family<Gauge>,
    input_events: Family<Counter>,
    input_seconds: Family<Histogram>,
    ticks: Family<Counter>,
    limits: Limits,
}

impl Meter {
    /// Registers the families.
    pub fn new(metrics: &Metrics) -> Self {
        const SERIES: &[&str] = &["block", "component", "op"];
        Self {
            calls: metrics.counter(
                "outrigger_block_calls_total",
                "Calls to components by how they ended",
                &["block", "component", "op", "outcome"],
            ),
            seconds: metrics.histogram(
                "outrigger_block_call_seconds",
                "How long calls to components took",
                SERIES,
            ),
            retries: metrics.counter("outrigger_block_retries_total", "Attempts after the first one", SERIES),
            tracer: metrics.tracer().clone(),
            events: metrics.counter(
                "outrigger_pubsub_events_total",
                "Events of brokers by what became of them",
                &["component", "outcome"],
            ),
            in_flight: metrics.gauge(
                "outrigger_pubsub_in_flight",
                "Events given to subscribers that have not answered yet",
                &["component"],
            ),
            input_events: metrics.counter(
                "outrigger_input_events_total",
                "Events of input bindings by what became of them",
                &["component", "outcome"],
            ),
            input_seconds: metrics.histogram(
                "outrigger_input_event_seconds",
                "How long the application took for events of input bindings",
                &["component"],
            ),
            ticks: metrics.counter(
                "outrigger_function_ticks_total",
                "Times of functions' schedules by what became of them: done, failed, elsewhere (another sidecar called \
                 it) or missed",
                &["function", "schedule", "outcome"],
            ),
            limits: Limits::new(metrics),
        }
    }

    /// What begins the spans of events.
    pub(crate) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Events of one broker that end in one way.
    pub(crate) fn events(&self, component: &str, outcome: &str) -> Counter {
        self.events.with(&[component, outcome])
    }

    /// Events of one broker under way.
    pub(crate) fn events_in_flight(&self, component: &str) -> Gauge {
        self.in_flight.with(&[component])
    }

    /// Events of one input binding that end in one way.
    pub(crate) fn input_events(&self, component: &str, outcome: &str) -> Counter {
        self.input_events.with(&[component, outcome])
    }

    /// How long events of one input binding took.
    pub(crate) fn input_seconds(&self, component: &str) -> Histogram {
        self.input_seconds.with(&[component])
    }

    /// Times of one schedule of a function that end in one way.
    pub(crate) fn ticks(&self, function: &str, schedule: &str, outcome: &str) -> Counter {
        self.ticks.with(&[function, schedule, outcome])
    }

    /// What calls are held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The handles of one operation of one component.
    pub fn op(&self, block: &'static str, component: &str, name: &'static str) -> Op {
        Op {
            block,
            component: component.into(),
            name,
            ok: self.calls.with(&[block, component, name, "ok"]),
            seconds: self.seconds.with(&[block, component, name]),
            retries: self.retries.with(&[block, component, name]),
            failed: std::array::from_fn(|_| OnceLock::new()),
            calls: self.calls.clone(),
            tracer: self.tracer.clone(),
            limits: self.limits.clone(),
        }
    }
}

/// One operation of one component, and what is counted about it.
pub struct Op {
    block: &'static str,
    component: Arc<str>,
    name: &'static str,
    ok: Counter,
    seconds: Histogram,
    retries: Counter,
    /// By kind; a series exists from its first failure on.
    failed: [OnceLock<Counter>; ErrorKind::ALL.len()],
    calls: Family<Counter>,
    tracer: Tracer,
    limits: Limits,
}

impl Op {
    /// The block: `state`.
    pub fn block(&self) -> &'static str {
        self.block
    }

    /// The component's name.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// The operation: `get`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Lets a call of this application in, unless a limit is reached.
    pub(super) fn admit(&self, app: &str) -> Result<Pass> {
        self.limits.admit(app, self.block, self.name)
    }

    /// A span below the caller's, when the caller is being traced.
    pub(super) fn span(&self, parent: Option<&TraceContext>) -> Option<Span> {
        let mut span = self.tracer.child(Kind::Client, "call", parent)?;
        span.rename(format!("{}.{} {}", self.block, self.name, self.component));
        span.set("outrigger.block", self.block);
        span.set("outrigger.component", self.component.to_string());
        span.set("outrigger.operation", self.name);
        Some(span)
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    /// Starts counting one call. Dropped without an end it counts as cancelled: the caller went away.
    pub(super) fn begin(&self, started: Instant) -> Record<'_> {
        Record { op: self, started, ended: false }
    }

    fn count(&self, outcome: Result<(), ErrorKind>, took: Duration) {
        self.seconds.observe(took);
        let Err(kind) = outcome else { return self.ok.inc() };
        let labels = [self.block, &self.component, self.name, kind.as_str()];
        match self.failed.get(kind as usize) {
            Some(handle) => handle.get_or_init(|| self.calls.with(&labels)).inc(),
            None => self.calls.with(&labels).inc(),
        }
    }
}

/// One call being counted.
pub(super) struct Record<'a> {
    op: &'a Op,
    started: Instant,
    ended: bool,
}

impl Record<'_> {
    pub(super) fn end<R>(mut self, result: &Result<R>) {
        self.ended = true;
        self.op.count(result.as_ref().map(|_| ()).map_err(|error| error.kind()), self.started.elapsed());
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.op.count(Err(ErrorKind::Cancelled), self.started.elapsed());
        }
    }
}
