//! An attempt on a service of this process.

mod feed;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, header};
use http_body::{Body as _, Frame, SizeHint};
use outrigger_http::forward::strip_hop_by_hop;
use outrigger_http::{Body, BodyError, Headers, RequestHead, Response, ResponseHead};
use outrigger_telemetry::span::Span;

use super::exchange::{Exchange, body_spent};
use super::via::Via;
use crate::error::{SendError, SendErrorKind};
use crate::local::{LocalCall, nobody, wants_connection};
use crate::replay::Replay;
use crate::usage::InFlight;
use feed::Feed;

impl Exchange<'_> {
    pub(super) async fn locally(&self, name: &str, replay: &mut Replay) -> Result<Response, SendError> {
        let guard = self.in_flight()?;
        if wants_connection(self.head) {
            return Err(SendError::new(SendErrorKind::NoConnection));
        }
        let service = self.cluster.services.find(name);
        let service =
            service.ok_or_else(|| SendError::with_source(SendErrorKind::ConnectFailed, nobody(name)))?;
        let (mut feed, body) = Feed::of(replay.next().ok_or_else(body_spent)?);
        let deadline = self.attempt.earlier(self.total);
        let trace = self.span.and_then(Span::context).or(self.ext.trace.as_deref()).cloned();
        let mut request = request(self.head, body)?;
        request.extensions_mut().clone_from(&self.ext.told);
        let call = LocalCall { request, deadline, trace };
        let mut answering = service.call(call);
        let answer = poll_fn(|cx| {
            feed.poll(cx);
            answering.as_mut().poll(cx)
        });
        match answer.await {
            Ok(answer) => {
                let response = response(answer, &self.head.method, feed, guard)?;
                Ok(self.told(response, Via::default()))
            }
            // What it made of half a request says nothing about it.
            Err(error) if feed.has_failed() => Err(SendError::with_source(SendErrorKind::RequestBody, error)),
            Err(error) => Err(error),
        }
    }
}

fn request(head: &RequestHead, body: Body) -> Result<http::Request<Body>, SendError> {
    let mut headers = head.headers.clone();
    strip_hop_by_hop(&mut headers, false);
    let mut request = http::Request::new(body);
    *request.uri_mut() =
        uri(head).map_err(|error| SendError::with_source(SendErrorKind::RequestBody, error))?;
    request.method_mut().clone_from(&head.method);
    *request.headers_mut() = headers.into_map();
    Ok(request)
}

/// With scheme and authority, as far as the request has one.
fn uri(head: &RequestHead) -> Result<Uri, http::Error> {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(PathAndQuery::try_from(head.path_and_query())?);
    if !head.authority.is_empty() {
        parts.scheme = Some(Scheme::try_from(head.scheme.as_str())?);
        parts.authority = Some(Authority::try_from(head.authority())?);
    }
    Uri::from_parts(parts).map_err(Into::into)
}

fn response(
    answer: http::Response<Body>,
    method: &Method,
    feed: Feed,
    guard: InFlight,
) -> Result<Response, SendError> {
    let (parts, body) = answer.into_parts();
    if parts.status.is_informational() {
        let why = format!("{} is no final answer", parts.status);
        return Err(SendError::with_source(SendErrorKind::Protocol, why));
    }
    let mut headers = Headers::from(parts.headers);
    strip_hop_by_hop(&mut headers, false);
    if *method != Method::HEAD && !is_length_of(&headers, &body) {
        headers.remove(&header::CONTENT_LENGTH);
    }
    let head = ResponseHead { status: parts.status, version: http::Version::HTTP_11, headers, reason: None };
    // What is in memory has nothing more to wait for.
    let under_way = body.as_full().is_none();
    let body = if under_way { Body::wrap(Answer { body, rest: Some((feed, guard)) }) } else { body };
    Ok(Response::new(head, body))
}

/// Whether the length in the head is that of the body: whoever frames it must be able to rely on that.
fn is_length_of(headers: &Headers, body: &Body) -> bool {
    let named = headers.get_str(&header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    named.is_some() && body.size_hint().exact() == named
}

/// The body of a response. What is left of the request's is read as this one is.
struct Answer {
    body: Body,
    rest: Option<(Feed, InFlight)>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some((feed, _)) = &mut self.rest {
            feed.poll(cx);
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(&frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.rest = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
