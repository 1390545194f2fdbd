//! Requests and responses as handlers see them, whatever the protocol on either side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outrigger_net::ConnInfo;
use outrigger_telemetry::trace::TraceContext;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Body;
use crate::filter_state::FilterState;
use crate::h1;
use crate::head::{RequestHead, ResponseHead};
use crate::record::Record;

/// A request, with what the connection it came on adds to it.
#[derive(Debug)]
pub struct Request {
    pub head: RequestHead,
    pub body: Body,
    pub conn: Arc<ConnInfo>,
    pub ext: RequestExt,
}

/// What only some requests have.
#[derive(Debug, Default)]
pub struct RequestExt {
    /// Where 1xx responses may be sent; `None` when the client cannot take them (HTTP/1.0, HTTP/2).
    pub informational: Option<Informational>,
    /// The span that each attempt to send it has one of its own below. `None`: what it says of traces is passed on.
    pub trace: Option<Box<TraceContext>>,
    /// The endpoint a filter has chosen for it.
    pub chosen: Option<Box<Chosen>>,
    /// What its filters set and read, where there are any that do.
    pub state: Option<Arc<FilterState>>,
    /// A filter that sees the response may ask who answered: whoever sends the request notes it on the response.
    pub is_watched: bool,
    /// What whoever made it in this process tells one that takes it in this process.
    pub told: http::Extensions,
}

/// An endpoint chosen for a request, out of those of the cluster it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// As the cluster's configuration writes it.
    pub endpoint: String,
    /// No other one will do, not even where this one is out or has failed.
    pub strict: bool,
}

/// Who answered a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub cluster: Arc<str>,
    /// The endpoint, as the cluster's configuration writes it.
    pub endpoint: Arc<str>,
    /// Our end of the connection, where it has an address.
    pub local: Option<SocketAddr>,
    /// Where the connection is encrypted: `TLSv1.3` or `TLSv1.2`.
    pub tls_version: Option<&'static str>,
}

/// A response, and what is to happen once it has left.
#[derive(Debug)]
pub struct Response {
    pub head: ResponseHead,
    pub body: Body,
    /// With 101, or 2xx to CONNECT: the client's bytes are bridged to it after the head.
    pub tunnel: Option<Tunnel>,
    /// Told when the response has been written to its end, or could not be.
    pub record: Option<Box<Record>>,
    /// Who answered, where a filter may ask.
    pub upstream: Option<Arc<Upstream>>,
}

impl Response {
    #[must_use]
    pub fn new(head: ResponseHead, body: Body) -> Self {
        Self { head, body, tunnel: None, record: None, upstream: None }
    }

    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self::new(ResponseHead::new(status), Body::empty())
    }
}

/// Answers requests. Static dispatch: one future per request and no box of its own.
pub trait Handler: Send + Sync + 'static {
    /// A panic inside costs this one request (a 500). Dropping the future means the client has gone.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;
}

/// Sends 1xx responses ahead of the final one.
#[derive(Debug, Clone)]
pub struct Informational(pub(crate) Arc<h1::server::Shared>);

impl Informational {
    /// Queues an informational response (100 to 199, but not 101). Ignored once the final response has begun.
    pub fn send(&self, head: &ResponseHead) {
        self.0.send_informational(head);
    }
}

/// The far end of a tunnel: an upgraded upstream connection, or a plain one for CONNECT.
pub struct Tunnel {
    pub(crate) io: Box<dyn Duplex>,
    /// Both directions silent for this long end the tunnel.
    pub idle_timeout: Duration,
}

/// A byte stream both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

impl Tunnel {
    /// Idle timeout one hour.
    pub fn new(io: impl Duplex) -> Self {
        Self { io: Box::new(io), idle_timeout: Duration::from_secs(3600) }
    }

    #[must_use]
    pub fn into_inner(self) -> Box<dyn Duplex> {
        self.io
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("idle_timeout", &self.idle_timeout).finish_non_exhaustive()
    }
}
