//! What is known of an exchange once it is over, for metrics and the access log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use outrigger_net::ConnInfo;
use outrigger_telemetry::span::Span;

use crate::access_log::AccessLog;
use crate::body::Meter;
use crate::filter_state::FilterState;
use crate::head::RequestHead;

/// Travels with a response to the codec, which completes it. Boxed: it holds the whole request head, and moving that
/// through every layer would cost more than the box.
#[derive(Debug)]
pub struct Record {
    pub started: Instant,
    pub conn: Arc<ConnInfo>,
    pub request: RequestHead,
    /// Path and query as the client sent them, where they were rewritten.
    pub original_path: Option<Bytes>,
    /// Of the request's body.
    pub received: Meter,
    pub route: Option<Arc<str>>,
    pub cluster: Option<Arc<str>>,
    pub upstream: Option<Arc<str>>,
    pub attempts: u32,
    /// Why we answered ourselves, when we did.
    pub reason: Option<&'static str>,
    /// What filters have set.
    pub state: Option<Arc<FilterState>>,
    pub log: Option<Arc<AccessLog>>,
    pub observer: Option<Arc<dyn Observer>>,
    /// Ends with the record.
    pub span: Option<Span>,
}

/// What became of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub status: StatusCode,
    pub body_bytes: u64,
    pub received_bytes: u64,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written to its end.
    Complete,
    /// The client closed, or its connection failed.
    ClientGone,
    /// The client stopped taking bytes.
    Stalled,
    /// The body could not be had to its end: the upstream's fault.
    BodyFailed,
}

impl Outcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::Stalled => "stalled",
            Self::BodyFailed => "body_failed",
        }
    }
}

/// Learns of finished exchanges: histograms, counters of requests in flight.
pub trait Observer: Send + Sync + std::fmt::Debug + 'static {
    fn finished(&self, record: &Record, sent: &Sent, took: Duration);
}

impl Record {
    #[must_use]
    pub fn new(conn: Arc<ConnInfo>, request: RequestHead, started: Instant) -> Self {
        Self {
            started,
            conn,
            request,
            original_path: None,
            received: Meter::default(),
            route: None,
            cluster: None,
            upstream: None,
            attempts: 0,
            reason: None,
            state: None,
            log: None,
            observer: None,
            span: None,
        }
    }

    /// Path and query as the client sent them.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        match &self.original_path {
            Some(path) => std::str::from_utf8(path).unwrap_or_default(),
            None => self.request.path_and_query(),
        }
    }

    /// The request ends without an answer from its handler, see [`unanswered`]. It is logged all the same.
    pub fn unanswered(mut self) {
        let outcome = if std::thread::panicking() { Outcome::Complete } else { Outcome::ClientGone };
        let (status, reason) = unanswered();
        self.reason = Some(reason);
        let received_bytes = self.received.received();
        self.finish(&Sent { status, body_bytes: 0, received_bytes, outcome });
    }

    pub(crate) fn finish(self, sent: &Sent) {
        let took = self.started.elapsed();
        if let Some(log) = &self.log {
            log.write(&self, sent, took);
        }
        if let Some(observer) = &self.observer {
            observer.finished(&self, sent, took);
        }
        self.trace(sent);
    }

    /// In the words of OpenTelemetry's conventions for HTTP where they have one. No query and no header: both may
    /// hold secrets.
    fn trace(mut self, sent: &Sent) {
        let Some(mut span) = self.span.take() else { return };
        let method = &self.request.method;
        span.rename(match &self.route {
            Some(route) => format!("{method} {route}"),
            None => method.to_string(),
        });
        span.set("http.request.method", method.to_string());
        span.set("http.response.status_code", i64::from(sent.status.as_u16()));
        let path = self.path_and_query().split('?').next().unwrap_or_default();
        span.set("url.path", path.to_owned());
        let texts = [
            ("outrigger.route", &self.route),
            ("outrigger.cluster", &self.cluster),
            ("outrigger.upstream", &self.upstream),
        ];
        for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
            span.set(key, text.to_string());
        }
        if let Some(reason) = self.reason {
            span.set("error.type", reason);
        }
        if sent.status.is_server_error() {
            span.fail(self.reason.unwrap_or_default());
        } else if sent.outcome != Outcome::Complete {
            span.fail(sent.outcome.as_str());
        }
    }
}

/// What a request counts as whose handler is dropped before it has answered: the client has left, for which nginx has
/// a status of its own, or the handler panicked.
#[must_use]
pub fn unanswered() -> (StatusCode, &'static str) {
    match StatusCode::from_u16(499) {
        Ok(client_closed_request) if !std::thread::panicking() => {
            (client_closed_request, "client_closed_request")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "panic"),
    }
}
