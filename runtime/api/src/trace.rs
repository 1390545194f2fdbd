//! The span of a call: below the caller's, above everything the call does. Where nobody traces, nothing is built.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use outrigger_telemetry::span::{Span, Tracer};
use outrigger_telemetry::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use tonic::body::Body;
use tonic::{Code, Status};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Where in a trace the caller says it is.
pub(crate) fn sent_along(headers: &HeaderMap) -> Option<TraceContext> {
    let trace = TraceContext::parse(headers.get(TRACEPARENT)?.to_str().ok()?)?;
    match headers.get(TRACESTATE).and_then(|state| state.to_str().ok()) {
        Some(state) => Some(trace.with_state(state)),
        None => Some(trace),
    }
}

/// Begins the span of a gRPC call and puts it into the request: whoever reads its headers from now on stands below it.
pub(crate) fn begin<B>(tracer: &Tracer, request: &mut Request<B>) -> Option<Span> {
    let mut span = tracer.server("call", || sent_along(request.headers()))?;
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let parent = HeaderValue::from_bytes(&span.context()?.to_header_bytes()).ok()?;
    request.headers_mut().insert(TRACEPARENT, parent);
    span.set("rpc.system", "grpc");
    if let Some((service, method)) = name.split_once('/') {
        span.set("rpc.service", service.to_owned());
        span.set("rpc.method", method.to_owned());
    }
    span.rename(name);
    Some(span)
}

/// The same response, which ends the span where it ends.
pub(crate) fn end(mut span: Span, response: Response<Body>) -> Response<Body> {
    if response.headers().contains_key(GRPC_STATUS) {
        judge(&mut span, response.headers());
        return response;
    }
    response.map(|body| Body::new(Watched { body, span: Some(span) }))
}

/// What went wrong goes by its code alone: messages may repeat what the caller sent.
fn judge(span: &mut Span, trailers: &HeaderMap) {
    let Some(code) = Status::from_header_map(trailers).map(|status| status.code()) else { return };
    span.set("rpc.grpc.status_code", i64::from(i32::from(code)));
    let ours = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if ours {
        span.fail(crate::meter::code_name(code));
    }
}

struct Watched {
    body: Body,
    span: Option<Span>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(span) = &mut this.span
                {
                    judge(span, trailers);
                }
            }
            Some(Err(_)) | None => this.span = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use outrigger_telemetry::Counter;
    use outrigger_telemetry::span::{Attribute, Recording, SpanData};

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    async fn traced(parent: &str, response: Response<Body>) -> (Option<String>, Vec<SpanData>) {
        let tracer = Tracer::default();
        let mut spans = tracer.record(Recording { sample: 0.0, queue: 8, dropped: Counter::detached() });
        let mut request = Request::builder().uri("/p.S/M").header(TRACEPARENT, parent).body(()).unwrap();
        let span = begin(&tracer, &mut request);
        let inside = span.is_some().then(|| request.headers()[TRACEPARENT].to_str().unwrap().to_owned());
        if let Some(span) = span {
            drop(end(span, response).into_body().collect().await);
        }
        tracer.stop();
        let batch = spans.batch(8, std::future::ready(())).await;
        (inside, batch.into_iter().map(|span| *span).collect())
    }

    #[tokio::test]
    async fn a_span_stands_between_the_caller_and_what_it_asked_for() {
        let (inside, spans) = traced(PARENT, Status::unavailable("secret").into_http()).await;
        let [span] = spans.try_into().unwrap();
        assert_eq!(inside, Some(span.context.to_header()));
        assert!(PARENT.contains(&span.context.trace_id.to_string()));
        assert_eq!(span.parent.to_string(), "b7ad6b7169203331");
        assert_eq!((&*span.name, span.error.as_deref()), ("p.S/M", Some("UNAVAILABLE")));
        assert!(span.attributes.contains(&("rpc.grpc.status_code", Attribute::Number(14))));
        assert!(span.attributes.contains(&("rpc.method", Attribute::Text("M".into()))));
    }

    #[tokio::test]
    async fn trailers_are_judged_as_well() {
        let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("5"))]);
        let frames = futures_util::stream::iter([
            Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))),
            Ok(Frame::trailers(trailers)),
        ]);
        let response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
        let (_, spans) = traced(PARENT, response).await;
        let [span] = spans.try_into().unwrap();
        assert!(span.attributes.contains(&("rpc.grpc.status_code", Attribute::Number(5))));
        assert_eq!(span.error, None, "the caller asked for what is not there");
    }

    #[tokio::test]
    async fn who_is_not_sampled_is_left_alone() {
        let parent = PARENT.replace("-01", "-00");
        let (inside, spans) = traced(&parent, Response::new(Body::empty())).await;
        assert_eq!((inside, spans.len()), (None, 0));
    }
}
