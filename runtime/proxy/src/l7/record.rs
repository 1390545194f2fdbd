//! What the access log is told of a request. Costs nothing on a listener without one.

use std::sync::Arc;

use outrigger_cluster::{Cluster, Report};
use outrigger_http::{Record, Request};
use tokio::time::Instant;

use crate::serving::HttpListener;

/// The line in the making; the codec completes it when the response has left.
pub(super) type Log = Option<Box<Record>>;

impl HttpListener {
    /// Begins a line, while the request is still as the client sent it.
    pub(super) fn log(&self, request: &Request, started: Instant) -> Log {
        let log = self.access_log.get()?;
        let mut record = Record::new(Arc::clone(&request.conn), request.head.clone(), started.into_std());
        record.log = Some(Arc::clone(log));
        Some(Box::new(record))
    }
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
