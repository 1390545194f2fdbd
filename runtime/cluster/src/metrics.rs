//! The counters of a cluster, taken once when it is compiled.

use http::StatusCode;
use outrigger_telemetry::span::Tracer;
use outrigger_telemetry::{Counter, Gauge, Metrics};

use crate::gate::Change;

#[derive(Clone)]
pub(crate) struct ClusterMetrics {
    /// By the first digit of the status, 1 to 5.
    classes: [Counter; 5],
    pub(crate) errors: Counter,
    pub(crate) active: Gauge,
    pub(crate) retries: Counter,
    pub(crate) retries_over_budget: Counter,
    pub(crate) overflows: Counter,
    pub(crate) opened: Counter,
    pub(crate) reused: Counter,
    pub(crate) connect_failures: Counter,
    ejected: Counter,
    unreachable: Counter,
    pub(crate) usable: Gauge,
    pub(crate) tracer: Tracer,
}

impl ClusterMetrics {
    pub(crate) fn new(metrics: &Metrics, cluster: &str) -> Self {
        let requests = metrics.counter(
            "outrigger_cluster_requests_total",
            "Attempts by the class of their answer; error means none came.",
            &["cluster", "class"],
        );
        let class = |class: &str| requests.with(&[cluster, class]);
        let counter = |name, help| metrics.counter(name, help, &["cluster"]).with(&[cluster]);
        let gauge = |name, help| metrics.gauge(name, help, &["cluster"]).with(&[cluster]);
        let ejections = metrics.counter(
            "outrigger_cluster_ejections_total",
            "Endpoints taken out because of what they answered, or because nobody accepted a connection.",
            &["cluster", "reason"],
        );
        Self {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            errors: class("error"),
            active: gauge("outrigger_cluster_active_requests", "Requests in progress."),
            retries: counter("outrigger_cluster_retries_total", "Attempts after the first."),
            retries_over_budget: counter(
                "outrigger_cluster_retries_over_budget_total",
                "Retries left out because the budget was spent.",
            ),
            overflows: counter("outrigger_cluster_overflows_total", "Requests refused at one of the limits."),
            opened: counter("outrigger_cluster_connections_opened_total", "Connections made."),
            reused: counter("outrigger_cluster_connections_reused_total", "Requests on a pooled connection."),
            connect_failures: counter("outrigger_cluster_connect_failures_total", "Connections that failed."),
            ejected: ejections.with(&[cluster, "answers"]),
            unreachable: ejections.with(&[cluster, "unreachable"]),
            usable: gauge("outrigger_cluster_usable_endpoints", "Endpoints that may be picked."),
            tracer: metrics.tracer().clone(),
        }
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        if let Some(counter) = self.classes.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.inc();
        }
    }

    pub(crate) fn changed(&self, change: Change) {
        match change {
            Change::Ejected => self.ejected.inc(),
            Change::Unreachable => self.unreachable.inc(),
            Change::Back | Change::None => {}
        }
    }
}
