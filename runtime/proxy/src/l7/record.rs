//! What the access log and the trace are told of a request. Costs nothing on a listener without a log, for a request
//! that is not traced.

use std::sync::Arc;

use outrigger_cluster::{Cluster, Report};
use outrigger_http::{Record, Request, RequestHead};
use outrigger_telemetry::span::Span;
use outrigger_telemetry::trace::{self, TraceContext};
use tokio::time::Instant;

use crate::serving::HttpListener;

/// The line in the making; the codec completes it when the response has left.
pub(super) type Log = Option<Box<Record>>;

impl HttpListener {
    /// Begins a line, while the request is still as the client sent it.
    pub(super) fn log(&self, request: &Request, started: Instant) -> Log {
        let log = self.access_log.get();
        let span = self.tracer.server("request", || sent_along(&request.head));
        if log.is_none() && span.is_none() {
            return None;
        }
        let mut record = Record::new(Arc::clone(&request.conn), request.head.clone(), started.into_std());
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

pub(super) fn routed(log: &mut Log, route: &Arc<str>) {
    if let Some(record) = log {
        record.route = Some(Arc::clone(route));
    }
}

pub(super) fn sent(log: &mut Log, cluster: &Cluster, report: &Report) {
    if let Some(record) = log {
        record.cluster = Some(Arc::clone(cluster.name()));
        record.upstream = report.endpoint.as_ref().map(|endpoint| endpoint.address().to_string().into());
        record.attempts = report.attempts;
    }
}

pub(super) fn refused(log: &mut Log, reason: &'static str) {
    if let Some(record) = log {
        record.reason = Some(reason);
    }
}
