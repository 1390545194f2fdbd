//! What metrics, the access log and the trace are told of a request. The line costs nothing on a listener without a
//! log, for a request that is not traced.

use std::sync::Arc;

use outrigger_cluster::{Cluster, Report};
use outrigger_http::{Record, Request, RequestHead, Response, unanswered};
use outrigger_telemetry::span::Span;
use outrigger_telemetry::trace::{self, TraceContext};
use tokio::time::Instant;

use crate::metrics::RouteMetrics;
use crate::serving::HttpListener;

/// The line in the making; the codec completes it when the response has left.
pub(super) type Log = Option<Box<Record>>;

impl HttpListener {
    /// Begins a line, while the request is still as the client sent it.
    fn log(&self, request: &Request, started: Instant) -> Log {
        let log = self.access_log.get();
        let span = self.tracer.server("request", || sent_along(&request.head));
        if log.is_none() && span.is_none() {
            return None;
        }
        let mut record = Record::new(Arc::clone(&request.conn), request.head.clone(), started.into_std());
        record.received = request.body.meter();
        record.log = log.cloned();
        record.span = span;
        Some(Box::new(record))
    }
}

/// The trace the client says it is in.
fn sent_along(head: &RequestHead) -> Option<TraceContext> {
    let trace = TraceContext::parse(head.headers.get_str(&trace::TRACEPARENT)?)?;
    match head.headers.joined(&trace::TRACESTATE) {
        Some(state) => Some(trace.with_state(std::str::from_utf8(&state).unwrap_or_default())),
        None => Some(trace),
    }
}

/// Where in a trace the request is, when it is being traced.
pub(super) fn trace(log: &Log) -> Option<Box<TraceContext>> {
    log.as_ref()?.span.as_ref().and_then(Span::context).cloned().map(Box::new)
}

/// A request being handled. Dropped before its answer, it is counted and logged as one whose client has left.
pub(super) struct Open<'l> {
    pub(super) log: Log,
    /// Those of its route, once it has one.
    pub(super) metrics: &'l RouteMetrics,
    started: Instant,
    answered: bool,
}

impl<'l> Open<'l> {
    pub(super) fn new(listener: &'l HttpListener, request: &Request, started: Instant) -> Self {
        let log = listener.log(request, started);
        Self { log, metrics: &listener.unrouted, started, answered: false }
    }

    /// Counts the answer, which takes the line along.
    pub(super) fn answered(mut self, response: &mut Response) {
        self.answered = true;
        self.metrics.record(response.head.status, self.started.elapsed());
        response.record = self.log.take();
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        self.metrics.record(unanswered().0, self.started.elapsed());
        if let Some(record) = self.log.take() {
            record.unanswered();
        }
    }
}

pub(super) fn routed(log: &mut Log, route: &Arc<str>) {
    if let Some(record) = log {
        record.route = Some(Arc::clone(route));
    }
}

/// What filters set from here on is told too.
pub(super) fn filtered(log: &mut Log, request: &Request) {
    if let Some(record) = log {
        record.state.clone_from(&request.ext.state);
    }
}

pub(super) fn sent(log: &mut Log, cluster: &Cluster, report: &Report) {
    if let Some(record) = log {
        record.cluster = Some(Arc::clone(cluster.name()));
        record.upstream = report.endpoint.as_ref().map(|endpoint| Arc::clone(endpoint.text()));
        record.attempts = report.attempts;
    }
}

pub(super) fn refused(log: &mut Log, reason: &'static str) {
    if let Some(record) = log {
        record.reason = Some(reason);
    }
}
