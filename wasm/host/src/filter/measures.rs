//! What is counted, timed and traced of filters.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outrigger_telemetry::span::{Kind, Span, Tracer};
use outrigger_telemetry::trace::TraceContext;
use outrigger_telemetry::{Counter, Family, Gauge, Histogram, Metrics};

use crate::instance::Crash;

/// One stream in sixteen is timed, by so many bits: two readings of the clock for each callback are too dear for all.
const TIMED: u32 = 4;

/// The series of all filters.
pub(crate) struct Families {
    tracer: Tracer,
    streams: Family<Counter>,
    seconds: Family<Histogram>,
    crashes: Family<Counter>,
    instances: Family<Gauge>,
    replaced: Family<Counter>,
    holds: Family<Counter>,
    held: Family<Gauge>,
}

/// Those of one plugin.
pub(crate) struct Measures {
    name: Arc<str>,
    tracer: Tracer,
    streams: Counter,
    seconds: Histogram,
    pub(crate) crashes: Crashes,
    pub(crate) instances: Gauge,
    pub(crate) replaced: Counter,
    holds: Counter,
    held: Gauge,
}

/// Ends of instances nobody wanted, by what brought them about.
pub(crate) struct Crashes {
    trap: Counter,
    timeout: Counter,
    panic: Counter,
    start: Counter,
}

/// What is remembered of a stream that is traced or timed, until it is over.
#[derive(Debug)]
pub(crate) struct Observed {
    span: Option<Span>,
    /// What it was held back by, in order, each once.
    held_by: Vec<&'static str>,
    /// In the guest so far, when it is timed.
    spent: Option<(Duration, Histogram)>,
}

/// A message is being held back.
#[derive(Debug)]
pub(crate) struct Hold(Gauge);

/// Whether the stream of this number is timed. Plugins that share an instance take numbers in turn, perhaps each of them
/// those with the same remainder: so they are mixed first, by the golden ratio, which spreads any such row evenly.
pub(crate) fn is_timed(context: u32) -> bool {
    context.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TIMED) == 0
}

impl Families {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &["plugin"]);
        let gauge = |name, help| metrics.gauge(name, help, &["plugin"]);
        Self {
            tracer: metrics.tracer().clone(),
            streams: counter("outrigger_wasm_streams_total", "Requests and connections shown to a filter."),
            seconds: metrics.histogram(
                "outrigger_wasm_stream_seconds",
                "How long a filter computed for one stream, over all its callbacks. One stream in sixteen is timed.",
                &["plugin"],
            ),
            crashes: metrics.counter(
                "outrigger_wasm_crashes_total",
                "Instances of a filter that trapped, took too long or could not start.",
                &["plugin", "reason"],
            ),
            instances: gauge(
                "outrigger_wasm_instances",
                "Instances of a filter that are there to be called, over all workers.",
            ),
            replaced: counter(
                "outrigger_wasm_replaced_total",
                "Instances of a filter that took the place of one that had failed.",
            ),
            holds: counter("outrigger_wasm_holds_total", "Times a filter held a message back."),
            held: gauge("outrigger_wasm_held", "Messages a filter holds back."),
        }
    }

    pub(crate) fn of(&self, name: &str) -> Measures {
        Measures {
            name: name.into(),
            tracer: self.tracer.clone(),
            streams: self.streams.with(&[name]),
            seconds: self.seconds.with(&[name]),
            crashes: self.crashes(name),
            instances: self.instances.with(&[name]),
            replaced: self.replaced.with(&[name]),
            holds: self.holds.with(&[name]),
            held: self.held.with(&[name]),
        }
    }

    pub(crate) fn crashes(&self, name: &str) -> Crashes {
        let counter = |reason| self.crashes.with(&[name, reason]);
        Crashes {
            trap: counter("trap"),
            timeout: counter("timeout"),
            panic: counter("panic"),
            start: counter("start"),
        }
    }
}

impl Measures {
    /// A stream begins. `None` for most, of which nothing more is remembered.
    pub(crate) fn begin(&self, context: u32, trace: Option<&TraceContext>) -> Option<Box<Observed>> {
        self.streams.inc();
        let timed = is_timed(context);
        if trace.is_none() && !timed {
            return None;
        }
        let span = self.span(trace);
        let spent = timed.then(|| (Duration::ZERO, self.seconds.clone()));
        Some(Box::new(Observed { span, held_by: Vec::new(), spent }))
    }

    /// A stream has come that there is no instance for: of that its trace alone says something.
    pub(crate) fn miss(&self, trace: Option<&TraceContext>) {
        if let Some(mut span) = self.span(trace) {
            span.fail("there is no instance of it");
        }
    }

    fn span(&self, trace: Option<&TraceContext>) -> Option<Span> {
        let trace = trace?;
        self.tracer.child(Kind::Internal, format!("filter {}", self.name), Some(trace))
    }

    pub(crate) fn hold(&self) -> Hold {
        self.holds.inc();
        self.held.inc();
        Hold(self.held.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Crashes {
    pub(crate) fn count(&self, crash: &Crash) {
        match crash {
            Crash::Late(_) => &self.timeout,
            Crash::Trapped(_) => &self.trap,
            Crash::Panicked => &self.panic,
            Crash::Refused(_) | Crash::Unstartable(_) => &self.start,
        }
        .inc();
    }
}

impl Observed {
    /// What is done for the stream is below this.
    pub(crate) fn context(&self) -> Option<&TraceContext> {
        self.span.as_ref()?.context()
    }

    pub(crate) fn spend(&mut self, more: Duration) {
        if let Some((spent, _)) = &mut self.spent {
            *spent += more;
        }
    }

    pub(crate) fn held_by(&mut self, callback: &'static str) {
        if self.span.is_some() && !self.held_by.contains(&callback) {
            self.held_by.push(callback);
        }
    }

    /// The filter has answered itself.
    pub(crate) fn answers(&mut self, status: StatusCode) {
        if let Some(span) = &mut self.span {
            span.set("http.response.status_code", i64::from(status.as_u16()));
        }
    }

    pub(crate) fn fail(&mut self, why: &impl ToString) {
        if let Some(span) = &mut self.span {
            span.fail(why.to_string());
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some((spent, seconds)) = &self.spent {
            seconds.observe(*spent);
        }
        if let Some(span) = self.span.as_mut().filter(|_| !self.held_by.is_empty()) {
            span.set("wasm.held_by", self.held_by.join(","));
        }
    }
}
