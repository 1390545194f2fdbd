//! Adapters between peers that do not know each other.

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use outrigger_api::app::{Gone, Unreached};
use outrigger_cluster::{Cluster, SendError, SendErrorKind, SendOptions};
use outrigger_http::{Authority, Body, Request, RequestExt, RequestHead, Scheme};
use outrigger_net::{Address, ConnInfo, Peer};
use outrigger_resilience::Deadline;
use tokio::io::AsyncReadExt as _;
use tower_service::Service;

use crate::config::native::{AppConfig, AppProtocol};

/// A tower service that is whatever the cell holds at the moment of the call.
pub struct Current<S>(pub Arc<ArcSwap<S>>);

impl<S> Clone for Current<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, R> Service<R> for Current<S>
where
    S: Service<R, Error = Infallible> + Clone,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        S::clone(&self.0.load()).call(request)
    }
}

/// Calls to the application, carried by its cluster.
#[derive(Clone)]
pub struct ToApp {
    cluster: Arc<Cluster>,
    authority: Authority,
    version: http::Version,
    /// Where the calls come from: this process.
    conn: Arc<ConnInfo>,
}

type CallError = Box<dyn std::error::Error + Send + Sync>;

impl ToApp {
    pub fn new(cluster: Arc<Cluster>, app: &AppConfig) -> Self {
        let authority = format!("{}:{}", app.host, app.port.unwrap_or_default());
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let conn = ConnInfo {
            id: 0,
            local: Address::Tcp(here),
            peer: Peer::Tcp(here),
            tls: None,
            listener: crate::callbacks::APP.into(),
        };
        let version = match app.protocol {
            AppProtocol::Http => http::Version::HTTP_11,
            AppProtocol::Grpc => http::Version::HTTP_2,
        };
        Self {
            cluster,
            version,
            authority: Authority::parse(Bytes::from(authority)).unwrap_or_default(),
            conn: Arc::new(conn),
        }
    }

    fn request<B>(&self, request: http::Request<B>) -> Request
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<CallError>,
    {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut head =
            RequestHead::new(parts.method, self.authority.clone(), Bytes::copy_from_slice(path.as_bytes()));
        (head.version, head.scheme) = (self.version, Scheme::Http);
        head.headers = parts.headers.into();
        Request { head, body: Body::wrap(body), conn: Arc::clone(&self.conn), ext: RequestExt::default() }
    }
}

impl<B> Service<http::Request<B>> for ToApp
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<CallError>,
{
    type Response = http::Response<Body>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (request, cluster, version) = (self.request(request), Arc::clone(&self.cluster), self.version);
        Box::pin(async move {
            // Whoever calls watches the deadline: it covers the answer's body too.
            let response = cluster.send(request, &SendOptions::default()).await.map_err(unreached)?;
            let mut answer = http::Response::new(response.body);
            (*answer.status_mut(), *answer.version_mut()) = (response.head.status, version);
            *answer.headers_mut() = response.head.headers.into_map();
            Ok(answer)
        })
    }
}

/// Whether the application can have seen the request is what the blocks want to know.
fn unreached(error: SendError) -> CallError {
    match error.kind {
        SendErrorKind::NoEndpoint
        | SendErrorKind::Unhealthy
        | SendErrorKind::Overflow
        | SendErrorKind::BreakerOpen
        | SendErrorKind::ConnectFailed
        | SendErrorKind::ConnectTimeout
        | SendErrorKind::Tls
        | SendErrorKind::Loop
        | SendErrorKind::NoConnection
        | SendErrorKind::Refused
        | SendErrorKind::ResetBeforeRequest => Box::new(Unreached(error.to_string())),
        SendErrorKind::Reset
        | SendErrorKind::Protocol
        | SendErrorKind::Timeout
        | SendErrorKind::TryTimeout
        | SendErrorKind::RequestBody
        | SendErrorKind::FunctionFailed => Box::new(error),
    }
}

/// A connection on which nothing is said: it ends when the application does. For servers of gRPC, which serve many at
/// a time.
pub fn gone(cluster: Arc<Cluster>) -> Gone {
    const CONNECT: Duration = Duration::from_secs(5);
    Box::new(move || {
        let cluster = Arc::clone(&cluster);
        Box::pin(async move {
            let Ok(mut connected) =
                cluster.connect(Deadline::after(Instant::now(), CONNECT), |_| false).await
            else {
                return;
            };
            let mut said = [0; 256];
            // A server may greet; what it says does not matter.
            while connected.stream.read(&mut said).await.is_ok_and(|read| read > 0) {}
        })
    })
}
