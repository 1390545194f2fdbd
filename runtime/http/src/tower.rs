//! Runs tower services (tonic routes, axum routers) as handlers.

use std::future::poll_fn;

use bytes::Buf;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use tower_service::Service;

use crate::body::Body;
use crate::head::{RequestHead, ResponseHead, Target};
use crate::message::{Handler, Request, Response};
use crate::reply;

/// A service as a [`Handler`]. It is cloned for each request, as such services are made to be.
#[derive(Debug, Clone)]
pub struct Adapter<S>(S);

impl<S> Adapter<S> {
    pub const fn new(service: S) -> Self {
        Self(service)
    }
}

impl<S, B> Handler for Adapter<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: std::fmt::Display + Send,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn handle(&self, request: Request) -> Response {
        let grpc = request.head.is_grpc();
        let mut service = self.0.clone();
        let Ok(request) = into_http(request) else {
            return reply::local_for(
                grpc,
                http::StatusCode::BAD_REQUEST,
                "target",
                "the request target is not a URI",
            );
        };
        let answer = match poll_fn(|cx| service.poll_ready(cx)).await {
            Ok(()) => service.call(request).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(response) => from_http(response),
            Err(error) => {
                tracing::error!(%error, "a service failed");
                reply::local_for(
                    grpc,
                    http::StatusCode::INTERNAL_SERVER_ERROR,
                    "service_failed",
                    "internal error",
                )
            }
        }
    }
}

/// As the `http` crate has it. The connection is in the extensions as `Arc<ConnInfo>`.
pub fn into_http(request: Request) -> Result<http::Request<Body>, http::Error> {
    let Request { head, body, conn, .. } = request;
    let mut converted = http::Request::new(body);
    *converted.uri_mut() = uri(&head, head.version)?;
    *converted.method_mut() = head.method;
    *converted.version_mut() = head.version;
    *converted.headers_mut() = head.headers.into_map();
    converted.extensions_mut().insert(conn);
    Ok(converted)
}

/// Origin form for HTTP/1 and absolute for HTTP/2, as hyper would have it.
pub(crate) fn uri(head: &RequestHead, version: http::Version) -> Result<Uri, http::Error> {
    let mut parts = http::uri::Parts::default();
    if head.target != Target::Authority {
        parts.path_and_query = Some(PathAndQuery::try_from(head.path_and_query())?);
    }
    if (version == http::Version::HTTP_2 || head.target == Target::Authority) && !head.authority.is_empty() {
        parts.authority = Some(Authority::try_from(head.authority())?);
        if parts.path_and_query.is_some() {
            parts.scheme = Some(Scheme::try_from(head.scheme.as_str())?);
        }
    }
    Uri::from_parts(parts).map_err(Into::into)
}

/// A response whose body may be any.
pub fn from_http<B>(response: http::Response<B>) -> Response
where
    B: http_body::Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = response.into_parts();
    let body = if body.is_end_stream() { Body::empty() } else { Body::wrap(body) };
    let head = ResponseHead {
        status: parts.status,
        version: parts.version,
        headers: parts.headers.into(),
        reason: None,
    };
    Response::new(head, body)
}
