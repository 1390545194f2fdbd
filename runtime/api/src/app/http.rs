//! Calls to an application that speaks HTTP: the events of input bindings, as Dapr's applications take them. It is asked
//! with OPTIONS whether it takes a binding's events, and each one is a POST. Events of topics are in `posted`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use outrigger_blocks::{AppInputs, Body, Deadline, Error, ErrorKind, InputComponent, InputEvent};
use outrigger_telemetry::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use tonic::async_trait;
use tonic::codegen::StdError as BoxedError;
use tower_service::Service;

use super::{ANSWER, LATE, Unreached, in_time};

/// How long an answer about bindings holds.
const ASKED_AGAIN: Duration = Duration::from_secs(60);
/// How much of a failed answer is told to the operator.
const TOLD: usize = 200;

/// The application, over a service that carries HTTP requests to it.
pub struct HttpApp<S> {
    service: S,
}

impl<S> HttpApp<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxedError> + Clone,
{
    pub fn new(service: S) -> Self {
        Self { service }
    }

    /// The status and body of its answer.
    pub(super) async fn call(
        &self,
        request: Request<Body>,
        deadline: Deadline,
    ) -> Result<(StatusCode, Bytes), Error> {
        let mut service = self.service.clone();
        let exchange = async {
            let (head, body) = service.call(request).await.map_err(failed)?.into_parts();
            let body = body
                .collect(ANSWER)
                .await
                .map_err(|error| Error::internal("the application's answer broke off").with_source(error))?;
            Ok((head.status, body))
        };
        let late = || Error::new(ErrorKind::Timeout, LATE);
        in_time(deadline, exchange).await.ok_or_else(late)?
    }
}

#[async_trait]
impl<S> AppInputs for HttpApp<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxedError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    async fn wants(&self, binding: &InputComponent, deadline: Deadline) -> Result<bool, Error> {
        let question = request(Method::OPTIONS, binding.route(), Bytes::new())?;
        let (status, body) = self.call(question, deadline).await?;
        match status {
            // A route that does not know OPTIONS is one.
            StatusCode::METHOD_NOT_ALLOWED => Ok(true),
            status if status.is_server_error() => Err(refused(status, &body)),
            status => Ok(status.is_success()),
        }
    }

    async fn deliver(&self, event: &InputEvent, deadline: Deadline) -> Result<(), Error> {
        let mut request = request(Method::POST, &event.route, event.data.clone())?;
        *request.headers_mut() = headers(event);
        match self.call(request, deadline).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// Nothing tells when it goes: a connection that only waits for its end would be all that a server sees which takes
    /// one connection at a time. So it is asked from time to time.
    async fn gone(&self) {
        tokio::time::sleep(ASKED_AGAIN).await;
    }
}

pub(super) fn request(method: Method, route: &str, data: Bytes) -> Result<Request<Body>, Error> {
    let request = Request::builder().method(method).uri(route).body(Body::full(data));
    request.map_err(|error| Error::invalid(format!("'{route}' is no path")).with_source(error))
}

/// The event's metadata, as far as headers can carry it, and what it always has.
fn headers(event: &InputEvent) -> HeaderMap {
    let pairs = event.metadata.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    let mut headers: HeaderMap = pairs.filter(|(name, _)| !FRAMING.contains(name)).collect();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    put_trace(&mut headers, event.trace.as_ref());
    headers
}

/// What the application does stands below this in the trace.
pub(super) fn put_trace(headers: &mut HeaderMap, trace: Option<&TraceContext>) {
    let Some(trace) = trace.map(TraceContext::child) else { return };
    let state = trace.state.as_deref().map(HeaderValue::try_from);
    headers.extend(HeaderValue::try_from(trace.to_header()).ok().map(|value| (TRACEPARENT, value)));
    headers.extend(state.and_then(Result::ok).map(|value| (TRACESTATE, value)));
}

/// How a body is framed is for the connection to say.
const FRAMING: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

fn failed(error: BoxedError) -> Error {
    match error.downcast_ref::<Unreached>() {
        Some(unreached) => Error::unavailable(unreached.to_string()),
        None => Error::internal("the application broke off").with_source(error),
    }
}

pub(super) fn refused(status: StatusCode, body: &[u8]) -> Error {
    let told = String::from_utf8_lossy(body.get(..TOLD).unwrap_or(body)).into_owned();
    let told = if told.is_empty() { told } else { format!(": {}", told.trim_end()) };
    Error::internal(format!("the application answered {}{told}", status.as_u16()))
}
