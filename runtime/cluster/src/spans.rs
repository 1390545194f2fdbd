//! One span for each attempt of a request that is being traced. The upstream is told of it.

use outrigger_http::{RequestHead, Response};
use outrigger_telemetry::span::{Kind, Span};
use outrigger_telemetry::trace::{TRACEPARENT, TRACESTATE, TraceContext};

use crate::cluster::Cluster;
use crate::error::SendError;
use crate::send::Report;

impl Cluster {
    /// Begins the span of an attempt and writes it into the request, when the request is in a trace at all.
    pub(crate) fn span(
        &self,
        parent: Option<&TraceContext>,
        head: &mut RequestHead,
        report: &Report,
    ) -> Option<Span> {
        let mut span = self.metrics.tracer.child(Kind::Client, "send", parent)?;
        let context = span.context()?;
        head.headers.set(&TRACEPARENT, context.to_header_bytes()).ok()?;
        if let Some(state) = &context.state {
            head.headers.set(&TRACESTATE, state.as_bytes()).ok()?;
        }
        span.rename(head.method.to_string());
        span.set("http.request.method", head.method.to_string());
        span.set("outrigger.cluster", self.name.to_string());
        if let Some(endpoint) = &report.endpoint {
            span.set("server.address", endpoint.location().to_string());
        }
        if report.attempts > 1 {
            span.set("http.request.resend_count", i64::from(report.attempts - 1));
        }
        Some(span)
    }
}

/// Ends the span of an attempt: with the response head, as the body is not ours to watch.
pub(crate) fn end(mut span: Span, result: &Result<Response, SendError>) {
    match result {
        Ok(response) => {
            let status = response.head.status;
            span.set("http.response.status_code", i64::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                span.fail(status.as_str().to_owned());
            }
        }
        Err(error) => span.fail(error.kind.reason()),
    }
}
