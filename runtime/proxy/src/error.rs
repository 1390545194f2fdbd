//! Why a request did not reach a backend, or came back without an answer: whose fault, which status, which word.

use http::StatusCode;
use outrigger_cluster::{Fault, SendError};

use crate::path::PathProblem;

/// A request the proxy answers itself, for want of a backend's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("{0}")]
    Path(#[from] PathProblem),
    #[error("the path holds an escaped slash, which this host's routes cannot see through")]
    EscapedSlash,
    #[error("this proxy does not open tunnels for CONNECT")]
    Connect,
    #[error("the request came by too many times: a backend sends it back here")]
    Loop,
    #[error("no route matches the request")]
    NoRoute,
    #[error("the rewritten path is not valid")]
    Rewrite,
    #[error("the backend accepted a WebSocket without proving that it speaks it")]
    WebSocket,
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Send(#[from] SendError),
}

impl ProxyError {
    /// What the client is told.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Path(_) | Self::EscapedSlash | Self::Rewrite => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WebSocket => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Send(error) => error.kind.status(),
        }
    }

    /// A stable word for the `x-outrigger-reason` header, logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Path(_) => "bad_path",
            Self::EscapedSlash => "escaped_slash",
            Self::Connect => "connect_not_supported",
            Self::Loop => "loop",
            Self::NoRoute => "no_route",
            Self::Rewrite => "rewrite",
            Self::WebSocket => "upstream_websocket",
            Self::Timeout => "timeout",
            Self::Send(error) => error.kind.reason(),
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Path(_) | Self::EscapedSlash | Self::Connect => Fault::Downstream,
            Self::Loop | Self::NoRoute | Self::Rewrite => Fault::Us,
            Self::WebSocket | Self::Timeout => Fault::Upstream,
            Self::Send(error) => error.kind.fault(),
        }
    }
}
