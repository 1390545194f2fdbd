//! Message bodies: pulled, never pushed, so that a slow reader slows its writer and nobody buffers between them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::h1;

/// The body of a request or a response.
///
/// It holds at most one read buffer. Dropping one that has not been read to its end tells the connection it came
/// from, which then drains a little, or closes.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// A request's body, read from the client's HTTP/1 connection.
    Inbound(h1::server::Inbound),
    /// A response's body, read from the upstream HTTP/1 connection it owns until its end.
    Reply(h1::client::Reply),
    /// Either, over HTTP/2.
    H2(crate::h2::Stream),
    Channel(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>),
    Boxed(BoxedBody),
}

type BoxedBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;
type Source = Box<dyn std::error::Error + Send + Sync>;

/// How much of a request's body has come.
#[derive(Debug, Clone, Default)]
pub struct Meter(Metered);

#[derive(Debug, Clone, Default)]
enum Metered {
    #[default]
    Nothing,
    H1(Arc<h1::server::Shared>),
    H2(Arc<crate::h2::Progress>),
}

impl Meter {
    /// Bytes of data so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        match &self.0 {
            Metered::Nothing => 0,
            Metered::H1(shared) => shared.received(),
            Metered::H2(progress) => progress.received(),
        }
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the peer closed the connection in the middle of the body")]
    Disconnected,
    #[error("the peer sent nothing for too long")]
    Idle,
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The side producing the body gave up.
    #[error("the body was abandoned by its sender")]
    Aborted,
    #[error("reading the body failed: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Other(Source),
}

impl Body {
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }

    /// Any other body. One box, so for bodies made in this process rather than for proxied ones.
    #[must_use]
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Source>,
    {
        Self(Kind::Boxed(Box::pin(Adapted { body })))
    }

    /// A body fed by a sender, with room for `bound` frames. A sender that is dropped ends the body; to make it fail
    /// instead, send the error.
    #[must_use]
    pub fn channel(bound: usize) -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Self) {
        let (sender, receiver) = mpsc::channel(bound);
        (sender, Self(Kind::Channel(receiver)))
    }

    pub(crate) fn inbound(body: h1::server::Inbound) -> Self {
        Self(Kind::Inbound(body))
    }

    pub(crate) fn reply(body: h1::client::Reply) -> Self {
        Self(Kind::Reply(body))
    }

    pub(crate) fn h2(body: crate::h2::Stream) -> Self {
        Self(Kind::H2(body))
    }

    /// Counts what comes of it, also for somebody who has passed the body on.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter(match &self.0 {
            Kind::Inbound(body) => Metered::H1(Arc::clone(body.shared())),
            Kind::H2(body) => {
                body.progress().map_or(Metered::Nothing, |progress| Metered::H2(Arc::clone(progress)))
            }
            _ => Metered::Nothing,
        })
    }

    /// All of it, if it is in memory already (an empty body is).
    #[must_use]
    pub fn as_full(&self) -> Option<&Bytes> {
        static NOTHING: Bytes = Bytes::new();
        match &self.0 {
            Kind::Empty => Some(&NOTHING),
            Kind::Full(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Known to carry neither data nor trailers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    /// A second body with the same content, possible while all of it is in memory: what a retry needs.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        self.as_full().map(|bytes| Self::full(bytes.clone()))
    }

    /// Reads everything into one piece, or fails with [`BodyError::TooLarge`] past `limit` bytes. Trailers are dropped.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        if let Some(bytes) = self.as_full() {
            return if bytes.len() > limit { Err(BodyError::TooLarge) } else { Ok(bytes.clone()) };
        }
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                if all.len() + data.len() > limit {
                    return Err(BodyError::TooLarge);
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all.into())
    }

    /// The next piece of data, or the trailers, or `None` at the end.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *self), cx)).await
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Inbound(body) => body.poll_frame(cx),
            Kind::Reply(body) => {
                let frame = ready!(body.poll_frame(cx));
                if body.is_finished() {
                    this.0 = Kind::Empty;
                }
                Poll::Ready(frame)
            }
            Kind::H2(body) => body.poll_frame(cx),
            Kind::Channel(receiver) => receiver.poll_recv(cx),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) | Kind::Channel(_) => false,
            Kind::Inbound(body) => body.is_finished(),
            Kind::Reply(body) => body.is_finished(),
            Kind::H2(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Inbound(body) => body.size_hint(),
            Kind::Reply(body) => body.size_hint(),
            Kind::H2(body) => body.size_hint(),
            Kind::Channel(_) => SizeHint::default(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Empty => "empty",
            Kind::Full(bytes) => return write!(f, "Body(full, {} bytes)", bytes.len()),
            Kind::Inbound(_) | Kind::Reply(_) => "http/1",
            Kind::H2(_) => "http/2",
            Kind::Channel(_) => "channel",
            Kind::Boxed(_) => "boxed",
        };
        write!(f, "Body({kind})")
    }
}

pin_project_lite::pin_project! {
    /// Maps a foreign body's data and errors to ours.
    struct Adapted<B> {
        #[pin]
        body: B,
    }
}

impl<B> http_body::Body for Adapted<B>
where
    B: http_body::Body,
    B::Error: Into<Source>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
            Err(error) => Err(BodyError::from_source(error.into())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl BodyError {
    /// Unwraps one of ours that travelled through somebody else's error type.
    fn from_source(source: Source) -> Self {
        match source.downcast::<Self>() {
            Ok(ours) => *ours,
            Err(other) => Self::Other(other),
        }
    }
}

/// Trailers as HTTP/1 may carry them: fields that would change framing, routing or authentication are left out
/// (RFC 9110 §6.5.1).
pub(crate) fn is_allowed_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: &[&str] = &[
        "transfer-encoding",
        "content-length",
        "trailer",
        "host",
        "connection",
        "keep-alive",
        "te",
        "upgrade",
        "proxy-connection",
        "content-encoding",
        "content-type",
        "content-range",
        "authorization",
        "proxy-authorization",
        "proxy-authenticate",
        "set-cookie",
        "cookie",
        "cache-control",
        "expect",
        "max-forwards",
        "range",
    ];
    !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn collect_keeps_to_its_limit() {
        run(async {
            assert_eq!(Body::full("abc").collect(3).await.unwrap(), "abc");
            assert!(matches!(Body::full("abcd").collect(3).await, Err(BodyError::TooLarge)));
            let (sender, body) = Body::channel(4);
            for _ in 0..3 {
                sender.send(Ok(Frame::data(Bytes::from_static(b"xx")))).await.unwrap();
            }
            drop(sender);
            assert!(matches!(body.collect(5).await, Err(BodyError::TooLarge)));
        });
    }

    #[test]
    fn a_failed_sender_is_seen_by_the_reader() {
        run(async {
            let (sender, mut body) = Body::channel(1);
            sender.send(Err(BodyError::Aborted)).await.unwrap();
            assert!(matches!(body.frame().await, Some(Err(BodyError::Aborted))));
        });
    }

    #[test]
    fn our_errors_survive_a_foreign_wrapper() {
        run(async {
            let (sender, body) = Body::channel(1);
            sender.send(Err(BodyError::Idle)).await.unwrap();
            let mut wrapped = Body::wrap(body);
            assert!(matches!(wrapped.frame().await, Some(Err(BodyError::Idle))));
        });
    }
}
