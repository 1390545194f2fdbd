//! Why a request or connection did not get through, and whose fault that was.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use outrigger_resilience::Attempt;

use crate::config::Location;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A request that brought no response head.
#[derive(Debug)]
pub struct SendError {
    /// What happened, of the last attempt.
    pub kind: SendErrorKind,
    /// Where, when an endpoint had been picked.
    pub endpoint: Option<Location>,
    /// When asking again may help; set when a breaker refused.
    pub retry_after: Option<Duration>,
    source: Option<Source>,
}

/// The closed list of reasons. [`SendErrorKind::reason`] is what clients and logs see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// The cluster has no endpoints (DNS has not answered yet, or with nothing).
    NoEndpoint,
    /// It has endpoints, and all of them are out.
    Unhealthy,
    /// One of the cluster's limits is reached.
    Overflow,
    /// The cluster's breaker is open.
    BreakerOpen,
    /// Connecting to the endpoint would lead back to the listener the bytes come from. A function: those that wait for the
    /// request are in its way, or too many.
    Loop,
    /// The endpoint is a function, to which there are no connections.
    NoConnection,
    /// The endpoint refused the connection or cannot be reached. A function: there is none of that name.
    ConnectFailed,
    /// The connection took longer than `connect_timeout`.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls,
    /// The endpoint said it did not process the request (`REFUSED_STREAM`, GOAWAY).
    Refused,
    /// The connection was lost before a byte of the request was written.
    ResetBeforeRequest,
    /// The connection was lost before a response head.
    Reset,
    /// The response was not well-formed HTTP, or beyond our limits.
    Protocol,
    /// The deadline of the request passed.
    Timeout,
    /// One attempt took longer than `per_try_timeout`, and it was the last one.
    TryTimeout,
    /// The client's request body failed on the way.
    RequestBody,
    /// The function failed without an answer.
    FunctionFailed,
}

/// Who was at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Our client.
    Downstream,
    /// The endpoint.
    Upstream,
    /// We refused, by configuration or for protection.
    Us,
}

impl SendErrorKind {
    /// A stable word for the `x-outrigger-reason` header, logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Unhealthy => "no_healthy_endpoint",
            Self::Overflow => "overflow",
            Self::BreakerOpen => "breaker_open",
            Self::Loop => "loop",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "upstream_tls",
            Self::Refused => "upstream_refused",
            Self::ResetBeforeRequest => "upstream_reset_before_request",
            Self::Reset => "upstream_reset",
            Self::Protocol => "upstream_protocol",
            Self::Timeout => "timeout",
            Self::TryTimeout => "per_try_timeout",
            Self::RequestBody => "request_body",
            Self::NoConnection => "no_connection",
            Self::FunctionFailed => "function_failed",
        }
    }

    /// The status a proxy answers with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Timeout | Self::TryTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Protocol => StatusCode::BAD_GATEWAY,
            Self::NoConnection => StatusCode::NOT_IMPLEMENTED,
            Self::FunctionFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::RequestBody => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Who was at fault.
    pub fn fault(self) -> Fault {
        match self {
            Self::RequestBody => Fault::Downstream,
            Self::Overflow | Self::BreakerOpen | Self::Loop | Self::NoConnection => Fault::Us,
            _ => Fault::Upstream,
        }
    }

    /// What a retry policy is asked about; `None` when another attempt could not end differently.
    pub(crate) fn attempt(self) -> Option<Attempt> {
        match self {
            Self::ConnectFailed | Self::ConnectTimeout | Self::Tls => Some(Attempt::ConnectFailure),
            Self::Refused => Some(Attempt::RefusedStream),
            Self::ResetBeforeRequest => Some(Attempt::ResetBeforeRequest),
            // Like a connection that is lost: what it did until then is done.
            Self::Reset | Self::TryTimeout | Self::FunctionFailed => Some(Attempt::Reset),
            _ => None,
        }
    }
}

impl SendError {
    /// For this reason alone.
    pub fn new(kind: SendErrorKind) -> Self {
        Self { kind, endpoint: None, retry_after: None, source: None }
    }

    /// With what is behind it.
    pub fn with_source(kind: SendErrorKind, source: impl Into<Source>) -> Self {
        Self { source: Some(source.into()), ..Self::new(kind) }
    }

    pub(crate) fn at(mut self, endpoint: &Location) -> Self {
        self.endpoint = Some(endpoint.clone());
        self
    }
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoEndpoint => "the cluster has no endpoints",
            Self::Unhealthy => "no endpoint of the cluster is healthy",
            Self::Overflow => "the cluster is at its limit",
            Self::BreakerOpen => "the cluster's breaker is open",
            Self::Loop => "it would lead back to where it comes from",
            Self::ConnectFailed => "connecting failed",
            Self::ConnectTimeout => "connecting took too long",
            Self::Tls => "the TLS handshake failed",
            Self::Refused => "the endpoint refused the request unprocessed",
            Self::ResetBeforeRequest => "the connection was lost before the request was sent",
            Self::Reset => "the connection was lost before a response",
            Self::Protocol => "the endpoint's response is not valid",
            Self::Timeout => "the deadline passed",
            Self::TryTimeout => "the last attempt took too long",
            Self::RequestBody => "the request body failed",
            Self::NoConnection => "the endpoint is a function: there are no connections to it",
            Self::FunctionFailed => "the function failed",
        })
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, " ({endpoint})")?;
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An L4 connection fails for a subset of the same reasons.
pub type ConnectError = SendError;
