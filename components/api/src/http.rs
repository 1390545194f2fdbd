//! HTTP for components. None brings a client of its own: the runtime's clusters carry their requests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// Makes ways to servers.
pub trait HttpClients: Send + Sync + 'static {
    /// The way to the server of a URL, for one component. Nothing is connected before the first request.
    fn server(&self, component: &str, server: &HttpServer) -> Result<Arc<dyn HttpClient>>;
}

impl fmt::Debug for dyn HttpClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClients")
    }
}

/// A server, and how it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// `https` rather than `http`.
    pub tls: bool,
    /// A name or an address.
    pub host: String,
    pub port: u16,
    /// PEM file with the authorities that are trusted. `None`: the system's.
    pub ca: Option<PathBuf>,
}

/// Sends requests to one server.
#[async_trait]
pub trait HttpClient: Send + Sync + 'static {
    /// Sends a request and waits for the whole answer, of whatever status. One that is larger than `limit` bytes is
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition), one that takes longer than `timeout`
    /// [`Timeout`](crate::ErrorKind::Timeout).
    async fn send(&self, request: HttpRequest, timeout: Duration, limit: usize) -> Result<HttpResponse>;
}

/// A request as a component writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    /// What the status is called.
    pub reason: String,
    /// By name in lower case; several of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}
