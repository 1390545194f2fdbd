//! Requests that are not for us but for an application: any HTTP request, and calls of gRPC services that are not ours,
//! that name it in `dapr-app-id`. They are passed on as they are, streams and all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use outrigger_blocks::invoke::APP;
use outrigger_blocks::{Blocks, Body as Passed, Deadline, Error, ErrorKind};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, StdError};
use tonic::metadata::MetadataMap;

use crate::meter::Meter;
use crate::status::{self, Block};
use crate::wire;

/// What an application may take to begin its answer to an HTTP request. gRPC callers bring their own deadlines.
const HEAD: Duration = Duration::from_secs(60);

/// The application a request names.
pub(crate) fn target(headers: &HeaderMap) -> Option<&str> {
    headers.get(APP).map(|value| value.to_str().unwrap_or_default())
}

/// Passes it on. What goes wrong on the way is told in the caller's protocol.
pub(crate) fn pass<B>(
    blocks: &Arc<Blocks>,
    meter: &Meter,
    request: Request<B>,
) -> BoxFuture<Response<Body>, std::convert::Infallible>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let (blocks, meter) = (Arc::clone(blocks), meter.clone());
    let request = request.map(Passed::wrap);
    Box::pin(async move {
        let grpc = outrigger_blocks::invoke::is_grpc(request.headers());
        let answer = match sent(&blocks, request, grpc).await {
            Ok(response) => response.map(Body::new),
            Err(status) => {
                meter.error("proxy", "invoke", status.code());
                if grpc { status.into_http() } else { plain(&status) }
            }
        };
        Ok(answer)
    })
}

async fn sent(
    blocks: &Blocks,
    request: Request<Passed>,
    grpc: bool,
) -> Result<Response<Passed>, tonic::Status> {
    let app = target(request.headers()).unwrap_or_default().to_owned();
    let mut caller = wire::caller(blocks.app_id(), &MetadataMap::from_headers(request.headers().clone()))?;
    if !grpc {
        caller.deadline = caller.deadline.earlier(Deadline::after(Instant::now(), HEAD));
    }
    blocks.invoke.call(&caller, &app, request).await.map_err(error)
}

fn error(error: Error) -> tonic::Status {
    status::layotto::status(Block::Invoke, &error)
}

fn plain(status: &tonic::Status) -> Response<Body> {
    let text = Bytes::copy_from_slice(status.message().as_bytes());
    let mut response = Response::new(Body::new(http_body_util::Full::new(text)));
    *response.status_mut() = http_status(status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    let reason = status.metadata().get(status::layotto::REASON);
    let reason = reason.and_then(|reason| http::HeaderValue::from_bytes(reason.as_encoded_bytes()).ok());
    headers.extend(reason.map(|reason| (http::HeaderName::from_static(status::layotto::REASON), reason)));
    response
}

fn http_status(status: &tonic::Status) -> StatusCode {
    let kind = status.metadata().get(status::layotto::REASON).and_then(|reason| reason.to_str().ok());
    let is = |known: ErrorKind| kind == Some(known.as_str());
    match () {
        () if is(ErrorKind::InvalidArgument) => StatusCode::BAD_REQUEST,
        () if is(ErrorKind::NotConfigured) => StatusCode::NOT_FOUND,
        () if is(ErrorKind::PermissionDenied) => StatusCode::FORBIDDEN,
        () if is(ErrorKind::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
        () if is(ErrorKind::Unsupported) => StatusCode::NOT_IMPLEMENTED,
        () if is(ErrorKind::Unavailable) || is(ErrorKind::FailedPrecondition) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        () if is(ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        () => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
