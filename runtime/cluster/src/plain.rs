//! Requests made in this process or taken over from another server, as the `http` crate writes them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Version, header};
use outrigger_http::forward::strip_hop_by_hop;
use outrigger_http::{Authority, Body, Request, RequestExt, RequestHead};
use outrigger_net::{Address, ConnInfo, Peer};
use outrigger_telemetry::trace::TraceContext;

use crate::cluster::Cluster;
use crate::error::SendError;
use crate::send::SendOptions;

/// Where such a request comes from: nobody's connection.
static HERE: LazyLock<Arc<ConnInfo>> = LazyLock::new(|| {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (local, peer) = (Address::Tcp(here), Peer::Tcp(here));
    Arc::new(ConnInfo { id: 0, local, peer, tls: None, listener: "outrigger".into() })
});

impl Cluster {
    /// [`send`](Self::send) for a request as the `http` crate has it. Its authority is the URI's, or its `Host`'s;
    /// fields that concern one connection only are left out. Each attempt gets a span below `trace`. Its extensions reach
    /// services of this process.
    ///
    /// # Errors
    /// As for `send`.
    pub async fn call(
        &self,
        request: http::Request<Body>,
        trace: Option<&TraceContext>,
        how: &SendOptions<'_>,
    ) -> Result<http::Response<Body>, SendError> {
        let mut request = ours(request);
        request.ext.trace = trace.cloned().map(Box::new);
        let response = self.send(request, how).await?;
        let mut answer = http::Response::new(response.body);
        (*answer.status_mut(), *answer.version_mut()) = (response.head.status, response.head.version);
        let mut headers = response.head.headers;
        strip_hop_by_hop(&mut headers, false);
        *answer.headers_mut() = headers.into_map();
        Ok(answer)
    }
}

fn ours(request: http::Request<Body>) -> Request {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove(header::HOST);
    let named = parts.uri.authority().map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes()));
    let named = named.or_else(|| host.as_ref().map(HeaderValue::as_bytes).map(Bytes::copy_from_slice));
    let authority = named.and_then(|name| Authority::parse(name).ok()).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut head = RequestHead::new(parts.method, authority, Bytes::copy_from_slice(path.as_bytes()));
    head.version = if parts.version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
    head.headers = parts.headers.into();
    strip_hop_by_hop(&mut head.headers, false);
    let ext = RequestExt { told: parts.extensions, ..RequestExt::default() };
    Request { head, body, conn: Arc::clone(&HERE), ext }
}
