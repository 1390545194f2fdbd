//! A request on its way to a function. The route answers as it would without one, and the body of its answer is what
//! the function wrote: that is how Layotto does it, and why its routes answer 200 with nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use outrigger_http::chain::{Module, Step, Tap, Visit};
use outrigger_http::{Body, BodyError, Request, RequestHead, Response, reply};
use outrigger_net::ConnInfo;
use outrigger_resilience::Deadline;
use outrigger_telemetry::trace::{TRACEPARENT, TraceContext};

use super::Table;
use super::function::{Failed, Function};
use crate::filter::blocks::Asking;
use crate::filter::calls::collect;
use crate::instance::{Asked, Said};

/// Names the function a request is for.
const ID: HeaderName = HeaderName::from_static("id");

/// What the filter chain knows as `layotto`: the functions in force when a request comes.
pub(super) struct Functions(pub(super) Arc<ArcSwap<Table>>);

impl Module for Functions {
    fn visit(&self, route: &Arc<str>) -> Box<dyn Visit> {
        Box::new(Visiting { table: self.0.load_full(), route: Arc::clone(route), written: None })
    }

    /// Functions are for requests.
    fn tap(&self, _: &Arc<ConnInfo>) -> Option<Box<dyn Tap>> {
        tracing::warn!("a connection was closed: functions of Layotto's take requests");
        None
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Functions").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Visiting {
    table: Arc<Table>,
    route: Arc<str>,
    /// What the function wrote.
    written: Option<Bytes>,
}

impl Visit for Visiting {
    fn request<'a>(&'a mut self, request: &'a mut Request) -> Step<'a, Option<Response>> {
        Step::Later(Box::pin(async move {
            let is_grpc = request.head.is_grpc();
            match self.ask(request).await {
                Ok(Said::Body(body)) => {
                    self.written = Some(body);
                    None
                }
                Ok(Said::Local(local)) => Some(local.into_response(is_grpc)),
                Ok(Said::Paused) => {
                    Some(Refused::failed("the function held the request back").reply(is_grpc))
                }
                Err(refused) => Some(refused.reply(is_grpc)),
            }
        }))
    }

    fn response<'a>(&'a mut self, response: &'a mut Response) -> Step<'a, ()> {
        if let Some(body) = self.written.take() {
            let headers = &mut response.head.headers;
            headers.remove(&CONTENT_LENGTH);
            if !headers.contains(&CONTENT_TYPE) {
                headers.set_static(&CONTENT_TYPE, "text/plain; charset=utf-8");
            }
            response.body = Body::full(body);
        }
        Step::Done(())
    }
}

impl Visiting {
    async fn ask(&self, request: &mut Request) -> Result<Said, Refused> {
        let function = self.function(&request.head)?;
        let (body, trailers) = collect(std::mem::take(&mut request.body), function.max_body()).await?;
        // A route with backends sends it on.
        request.body = Body::full(body.clone());
        let until = function.deadline();
        let asked = Asked {
            conn: Arc::clone(&request.conn),
            route: Arc::clone(&self.route),
            head: request.head.clone(),
            body,
            trailers,
            asking: Asking { deadline: Deadline::at(until), trace: trace(request) },
        };
        Ok(function.answer(asked, until).await?)
    }

    fn function(&self, head: &RequestHead) -> Result<Arc<Function>, Refused> {
        let unknown = |text: String| Refused { status: StatusCode::NOT_FOUND, reason: "no_function", text };
        let id = head.headers.get_str(&ID);
        let id = id.ok_or_else(|| unknown("the header `id` names the function, and is missing".into()))?;
        self.table.pick(id).cloned().ok_or_else(|| unknown(format!("there is no function `{id}`")))
    }
}

/// Where in a trace the request is: below it is what the function asks for. Without one of our own, what the client says
/// is passed on.
fn trace(request: &Request) -> Option<TraceContext> {
    let sent_along = || TraceContext::parse(request.head.headers.get_str(&TRACEPARENT)?);
    request.ext.trace.as_deref().cloned().or_else(sent_along)
}

/// What is answered in place of a function.
struct Refused {
    status: StatusCode,
    reason: &'static str,
    text: String,
}

impl Refused {
    fn failed(text: &str) -> Self {
        let (status, text) = (StatusCode::INTERNAL_SERVER_ERROR, text.to_owned());
        Self { status, reason: "function_failed", text }
    }

    fn reply(&self, is_grpc: bool) -> Response {
        reply::local_for(is_grpc, self.status, self.reason, &self.text)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        let (status, reason) = match error {
            BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            _ => (StatusCode::BAD_REQUEST, "request_broke_off"),
        };
        Self { status, reason, text: error.to_string() }
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        let (status, reason, text) = match failed {
            Failed::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, "function_busy", "too many requests wait for the function")
            }
            Failed::Late => (StatusCode::GATEWAY_TIMEOUT, "function_late", "the function took too long"),
            Failed::Crashed => return Self::failed("the function failed"),
            Failed::Out => {
                (StatusCode::SERVICE_UNAVAILABLE, "function_out", "the function failed too often and is out")
            }
        };
        Self { status, reason, text: text.to_owned() }
    }
}
