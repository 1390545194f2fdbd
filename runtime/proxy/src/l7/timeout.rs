//! How long a request may take.
//!
//! A route's timeout runs from the last byte of the request body to the response head, so that neither a large upload
//! nor a long download needs one of its own: their silence is bounded by the servers' idle timeouts. A gRPC call says
//! itself how long it may take, from its first byte to its last.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use outrigger_http::{Body, BodyError, RequestHead, Response};
use outrigger_resilience::Deadline;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

const DEFAULT: Duration = Duration::from_secs(15);
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What bounds one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    None,
    /// To the response head, once the request body has been sent.
    Head(Duration),
    /// From beginning to end, as gRPC means it.
    Call(Duration),
}

impl Limit {
    /// `configured` is the route's timeout: `None` for the default, zero for none.
    pub(super) fn of(head: &RequestHead, configured: Option<Duration>) -> Self {
        let route = match configured {
            Some(Duration::ZERO) => None,
            Some(timeout) => Some(timeout),
            None => Some(DEFAULT),
        };
        if !head.is_grpc() {
            return route.map_or(Self::None, Self::Head);
        }
        // A stream may be silent for hours before its first message, so there is no default.
        let route = route.filter(|_| configured.is_some());
        match (head.headers.get(&GRPC_TIMEOUT).and_then(grpc_timeout), route) {
            (Some(call), Some(route)) => Self::Call(call.min(route)),
            (Some(call), None) => Self::Call(call),
            (None, Some(route)) => Self::Head(route),
            (None, None) => Self::None,
        }
    }

    /// The deadline when it is known from the start.
    pub(super) fn deadline(self, body: &Body, started: Instant) -> Deadline {
        match self {
            Self::None => Deadline::NEVER,
            Self::Head(timeout) if body.as_full().is_some() => Deadline::after(started.into_std(), timeout),
            Self::Head(_) => Deadline::NEVER,
            Self::Call(timeout) => Deadline::after(started.into_std(), timeout),
        }
    }

    /// Watches a body that is still to be read, when the limit begins with its end.
    pub(super) fn watch(self, body: &mut Body) -> Option<Upload> {
        let Self::Head(timeout) = self else { return None };
        if body.as_full().is_some() {
            return None;
        }
        let waiting_since = Arc::new(Mutex::new(Some(Instant::now())));
        let watched = Watched { body: std::mem::take(body), waiting_since: Arc::clone(&waiting_since) };
        *body = Body::wrap(watched);
        Some(Upload { timeout, waiting_since })
    }

    /// Ends the response body of a gRPC call when its time is up.
    pub(super) fn expire(self, response: &mut Response, started: Instant) {
        if let Self::Call(timeout) = self
            && !response.body.is_end_stream()
            && let Some(at) = started.checked_add(timeout)
        {
            let body = Some(std::mem::take(&mut response.body));
            response.body = Body::wrap(Expiring { body, sleep: Box::pin(sleep_until(at)) });
        }
    }
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Since when the backend has been the one to wait for; `None` while it is the client.
type WaitingSince = Arc<Mutex<Option<Instant>>>;

pub(super) struct Upload {
    timeout: Duration,
    waiting_since: WaitingSince,
}

impl Upload {
    /// The result, unless the backend kept us waiting for longer than the timeout.
    pub(super) async fn limit<F: Future>(self, mut sending: Pin<&mut F>) -> Option<F::Output> {
        loop {
            let since = *self.waiting_since.lock();
            let until = since.unwrap_or_else(Instant::now) + self.timeout;
            match timeout_at(until, sending.as_mut()).await {
                Ok(result) => return Some(result),
                // The same wait as before, so nothing has moved since.
                Err(_) if since.is_some() && *self.waiting_since.lock() == since => return None,
                Err(_) => {}
            }
        }
    }
}

/// A request body that tells who is being waited for.
struct Watched {
    body: Body,
    waiting_since: WaitingSince,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        *this.waiting_since.lock() = frame.is_ready().then(Instant::now);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A gRPC response body that ends with DEADLINE_EXCEEDED when time is up.
struct Expiring {
    body: Option<Body>,
    sleep: Pin<Box<Sleep>>,
}

impl http_body::Body for Expiring {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(this.sleep.as_mut().poll(cx));
        // Dropping it cancels the call upstream.
        this.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(deadline_exceeded()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }
}

fn deadline_exceeded() -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static("grpc-status"), HeaderValue::from_static("4")),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static("deadline exceeded")),
    ])
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::action::authority;

    #[test]
    fn limits_follow_route_and_call() {
        let ms = Duration::from_millis;
        let check = |grpc: Option<&str>, configured: Option<Duration>, expected: Limit| {
            let mut head = RequestHead::new(http::Method::POST, authority("a").unwrap(), "/s/M");
            if let Some(timeout) = grpc {
                head.headers.set(&http::header::CONTENT_TYPE, "application/grpc").unwrap();
                head.headers.set(&GRPC_TIMEOUT, timeout).unwrap();
            }
            assert_eq!(Limit::of(&head, configured), expected, "{grpc:?} {configured:?}");
        };
        check(None, None, Limit::Head(DEFAULT));
        check(None, Some(ms(5)), Limit::Head(ms(5)));
        check(None, Some(Duration::ZERO), Limit::None);
        check(Some("x"), None, Limit::None);
        check(Some("x"), Some(ms(5)), Limit::Head(ms(5)));
        check(Some("20m"), None, Limit::Call(ms(20)));
        check(Some("20m"), Some(ms(5)), Limit::Call(ms(5)));
        check(Some("20m"), Some(Duration::ZERO), Limit::Call(ms(20)));
    }

    #[test]
    fn grpc_timeouts_are_read_strictly() {
        let check = |text: &str, expected: Option<Duration>| {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}")
        };
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("4m", Some(Duration::from_millis(4)));
        check("5u", Some(Duration::from_micros(5)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "1", "1s", "+1S", "-1S", "123456789S", "1.5S", "1 S"] {
            check(bad, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_backend_is_waited_for() {
        let timeout = Duration::from_secs(1);
        let (sender, mut body) = Body::channel(1);
        let upload = Limit::Head(timeout).watch(&mut body).unwrap();
        // The client takes ten times the timeout over its body, the backend half of it over the answer.
        let client = async move {
            for _ in 0..10 {
                tokio::time::sleep(timeout).await;
                sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.unwrap();
            }
        };
        let backend = |delay: Duration| async move {
            while body.frame().await.is_some() {}
            tokio::time::sleep(delay).await;
        };
        let backend = pin!(backend(timeout / 2));
        let (result, ()) = tokio::join!(upload.limit(backend), client);
        assert_eq!(result, Some(()));

        let (sender, mut body) = Body::channel(1);
        let upload = Limit::Head(timeout).watch(&mut body).unwrap();
        drop(sender);
        let slow = async move {
            while body.frame().await.is_some() {}
            tokio::time::sleep(timeout * 3).await;
        };
        assert_eq!(upload.limit(pin!(slow)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_with_its_deadline() {
        let (_held, body) = Body::channel(1);
        let mut response = Response::new(outrigger_http::ResponseHead::new(http::StatusCode::OK), body);
        let now = Instant::now();
        Limit::Call(Duration::from_secs(1)).expire(&mut response, now);
        let trailers = response.body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
        assert!(response.body.frame().await.is_none());
    }
}
