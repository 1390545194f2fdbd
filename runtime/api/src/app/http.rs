//! Calls to an application that speaks HTTP: the events of input bindings, as Dapr's applications take them. It is asked
//! with OPTIONS whether it takes a binding's events, and each one is a POST. Events of topics are in `posted`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use outrigger_blocks::{AppInputs, Body, Deadline, Error, ErrorKind, InputComponent, InputEvent};
use outrigger_telemetry::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::async_trait;
use tonic::codegen::StdError as BoxedError;
use tower_service::Service;

use super::{ANSWER, LATE, Unreached, in_time};

/// How much of a failed answer is told to the operator.
const TOLD: usize = 200;
/// An application may have been replaced by one that wants something else, and nobody has noticed.
const STALE: Duration = Duration::from_secs(60);

/// The application, over a service that carries HTTP requests to it.
pub struct HttpApp<S> {
    service: S,
    /// Told when an event did not reach it.
    unreached: Notify,
}

impl<S> HttpApp<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxedError> + Clone,
{
    pub fn new(service: S) -> Self {
        Self { service, unreached: Notify::new() }
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
            // A route that does not know OPTIONS is one, and a server that knows it nowhere may have it.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(true),
            status if status.is_server_error() => Err(refused(status, &body)),
            status => Ok(status.is_success()),
        }
    }

    async fn deliver(&self, event: &InputEvent, deadline: Deadline) -> Result<(), Error> {
        let mut request = request(Method::POST, &event.route, event.data.clone())?;
        *request.headers_mut() = headers(event);
        let answer = self.call(request, deadline).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
            self.unreached.notify_waiters();
        }
        match answer? {
            (status, _) if status.is_success() => Ok(()),
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// No connection tells: a server that takes one at a time would wait on it for a request, and take nothing else.
    async fn gone(&self) {
        // Either way it is worth asking.
        let _unreached = timeout(STALE, self.unreached.notified()).await;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};
    use std::time::Instant;

    use super::*;

    /// Nobody is there.
    #[derive(Clone)]
    struct Absent;

    impl Service<Request<Body>> for Absent {
        type Response = Response<Body>;
        type Error = BoxedError;
        type Future = Ready<Result<Response<Body>, BoxedError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxedError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Err(Box::new(Unreached("nobody listens".to_owned()))))
        }
    }

    #[tokio::test]
    async fn an_application_may_be_gone_when_an_event_does_not_reach_it() {
        let (app, begun) = (HttpApp::new(Absent), Instant::now());
        let event = InputEvent {
            binding: "tick".to_owned(),
            route: "/tick".to_owned(),
            data: Bytes::new(),
            metadata: BTreeMap::new(),
            trace: None,
        };
        let deadline = Deadline::after(begun, STALE);
        let delivery = AppInputs::deliver(&app, &event, deadline);
        let ((), delivered) = tokio::join!(AppInputs::gone(&app), delivery);
        assert_eq!(delivered.map_err(|error| error.kind()), Err(ErrorKind::Unavailable));
        assert!(begun.elapsed() < STALE / 2, "told at once");
    }
}
