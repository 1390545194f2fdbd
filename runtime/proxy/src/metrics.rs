//! What the proxy counts. Handles are made when a configuration is compiled, never per request.

use std::time::Duration;

use http::StatusCode;
use outrigger_telemetry::{Counter, Gauge, Histogram, Metrics};

/// Requests of one route.
#[derive(Clone)]
pub(crate) struct RouteMetrics {
    by_class: [Counter; 5],
    seconds: Histogram,
}

impl RouteMetrics {
    pub(crate) fn new(metrics: &Metrics, route: &str) -> Self {
        let requests = metrics.counter(
            "outrigger_http_requests_total",
            "Requests by route and class of the response status.",
            &["route", "class"],
        );
        let seconds = metrics.histogram(
            "outrigger_http_response_head_seconds",
            "Time from the request head to the response head.",
            &["route"],
        );
        let by_class = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| requests.with(&[route, class]));
        Self { by_class, seconds: seconds.with(&[route]) }
    }

    pub(crate) fn record(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.by_class.get(class) {
            counter.inc();
        }
        self.seconds.observe(took);
    }
}

/// Connections of one byte-stream listener.
#[derive(Clone)]
pub(crate) struct StreamMetrics {
    pub(crate) active: Gauge,
    pub(crate) finished: Counter,
    pub(crate) idle: Counter,
    pub(crate) downstream_failed: Counter,
    pub(crate) upstream_failed: Counter,
    pub(crate) not_connected: Counter,
    pub(crate) no_destination: Counter,
    pub(crate) refused: Counter,
    pub(crate) cut: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl StreamMetrics {
    pub(crate) fn new(metrics: &Metrics, listener: &str) -> Self {
        let ended = metrics.counter(
            "outrigger_stream_connections_total",
            "TCP and TLS passthrough connections by how they ended.",
            &["listener", "end"],
        );
        let bytes = metrics.counter(
            "outrigger_stream_bytes_total",
            "Bytes carried, seen from the client: received from it, sent to it.",
            &["listener", "direction"],
        );
        let active =
            metrics.gauge("outrigger_stream_connections_active", "Connections being carried.", &["listener"]);
        let ended = |end| ended.with(&[listener, end]);
        Self {
            active: active.with(&[listener]),
            finished: ended("finished"),
            idle: ended("idle"),
            downstream_failed: ended("downstream_failed"),
            upstream_failed: ended("upstream_failed"),
            not_connected: ended("not_connected"),
            no_destination: ended("no_destination"),
            refused: ended("refused"),
            cut: ended("cut"),
            received: bytes.with(&[listener, "received"]),
            sent: bytes.with(&[listener, "sent"]),
        }
    }
}
