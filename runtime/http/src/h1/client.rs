//! The client face: one upstream connection, one exchange at a time.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use outrigger_net::{Rewind, Stream};
use tokio::time::Instant;

use super::chunk::Decoder;
use super::frame::{self, Incoming};
use super::io::{Io, Queue};
use super::parse::{self, Limits, ParsedResponse};
use super::pump::{Pump, PumpError};
use super::refuse::Refusal;
use super::scan::Scan;
use super::timer::Timer;
use super::write::{self, Persistence};
use crate::body::{Body, BodyError};
use crate::config::{ServerConfig, Underscores};
use crate::head::{RequestHead, ResponseHead};
use crate::message::{Informational, Tunnel};

mod reply;

pub use reply::Reply;

/// Limits and waits of an upstream connection.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Largest response head in bytes. Default 48 KiB.
    pub max_header_bytes: usize,
    /// Most fields in a response head. Default 100.
    pub max_headers: usize,
    /// Longest silence in the middle of a response body, while we are waiting for more. Default 30 s; zero means
    /// no limit.
    pub body_idle_timeout: Duration,
    /// How long a body is held back for a `100 Continue` its client asked for. Default 1 s.
    pub continue_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            max_header_bytes: 48 * 1024,
            max_headers: 100,
            body_idle_timeout: Duration::from_secs(30),
            continue_timeout: Duration::from_secs(1),
        }
    }
}

/// Whoever lent the connection: told exactly once per exchange when it is over.
pub trait Recycle: Send + Sync + 'static {
    /// `conn` is there when it can carry another request. Called from `send` itself when the whole response was at
    /// hand, otherwise when the response's body ends or is dropped, or its tunnel closes.
    fn finished(self: Arc<Self>, conn: Option<Conn>);
}

/// An open HTTP/1.1 connection to an upstream, between exchanges.
///
/// One allocation for its whole life; a response body owns it until it has been read.
#[derive(Debug)]
pub struct Conn(Box<Inner>);

#[derive(Debug)]
struct Inner {
    io: Io,
    config: Arc<ClientConfig>,
    timer: Timer,
    requests: u64,
    scan: Scan,
    decoder: Decoder,
    /// The request, while it is still being written.
    pump: Option<Pump>,
    reusable: bool,
    idle_since: Option<Instant>,
    lender: Lender,
}

/// Tells the lender that the exchange is over, also when everything is dropped half-way.
#[derive(Default)]
struct Lender(Option<Arc<dyn Recycle>>);

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Lender(waiting)" } else { "Lender(none)" })
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        if let Some(lender) = self.0.take() {
            lender.finished(None);
        }
    }
}

/// What else a request brings along.
pub struct SendOptions<'a> {
    /// Gets the connection back.
    pub recycle: Arc<dyn Recycle>,
    /// Where the upstream's 1xx responses go.
    pub informational: Option<&'a Informational>,
}

/// A response, and the tunnel behind it when the upstream agreed to one.
#[derive(Debug)]
pub struct Answer {
    pub head: ResponseHead,
    pub body: Body,
    pub tunnel: Option<Tunnel>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ClientError {
    pub kind: ClientErrorKind,
    /// Whether any byte of the request reached the socket. When none did, any request may be sent again.
    pub request_sent: bool,
    /// Whether the request's body was taken from its `&mut Body`; when not, it is still there for a retry.
    pub body_taken: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientErrorKind {
    /// A connection that had carried requests before was closed by the upstream before a byte of this response: most
    /// likely it timed out just as it was picked.
    #[error("the upstream closed the idle connection")]
    ReusedClosed,
    /// Closed or reset before the end of the response head.
    #[error("the upstream closed the connection without a response")]
    Closed,
    #[error("the upstream connection failed: {0}")]
    Io(#[source] io::Error),
    /// The response cannot be trusted: 502.
    #[error("malformed response: {0}")]
    Protocol(&'static str),
    /// The request's body could not be had from the client: its fault, not the upstream's.
    #[error("reading the request body failed: {0}")]
    RequestBody(#[source] BodyError),
}

impl Conn {
    #[must_use]
    pub fn new(stream: Stream, config: Arc<ClientConfig>) -> Self {
        Self(Box::new(Inner {
            io: Io::new(stream, Bytes::new()),
            config,
            timer: Timer::default(),
            requests: 0,
            scan: Scan::default(),
            decoder: Decoder::Done,
            pump: None,
            reusable: true,
            idle_since: None,
            lender: Lender::default(),
        }))
    }

    /// Requests begun on this connection.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests
    }

    /// Since when it has been idle, if it has carried a request.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.0.idle_since
    }

    /// Whether an idle connection has become useless: closed by the upstream, or holding bytes nobody asked for.
    /// Costs no system call while nothing has arrived.
    fn is_stale(&mut self) -> bool {
        let io = &mut self.0.io;
        if !io.read.is_empty() {
            return true;
        }
        io.stream.may_be_readable() && io.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// A body in memory is left in `body`, so that it can be sent again elsewhere; any other is taken out of it once
    /// the connection has been seen to be alive. The body goes on being written while the response is read. When the
    /// future is dropped, so is the connection.
    pub async fn send(
        mut self,
        head: &RequestHead,
        body: &mut Body,
        options: SendOptions<'_>,
    ) -> Result<Answer, ClientError> {
        let reused = self.0.requests > 0;
        if reused && self.is_stale() {
            // Not lent yet: nothing was sent, and the caller is told by the error alone.
            options.recycle.finished(None);
            return Err(ClientError {
                kind: ClientErrorKind::ReusedClosed,
                request_sent: false,
                body_taken: false,
            });
        }
        let inner = &mut *self.0;
        inner.lender = Lender(Some(options.recycle));
        inner.requests += 1;
        let persistence = write::request_persistence(head);
        let body_taken = inner.begin(head, body, persistence);
        let mut hold = hold_until(head, body_taken, &inner.config);
        loop {
            let parsed = std::future::poll_fn(|cx| inner.poll_head(cx, &mut hold)).await;
            let parsed = parsed.map_err(|kind| inner.failed(kind, reused, body_taken))?;
            match parsed.head.status {
                StatusCode::SWITCHING_PROTOCOLS => {
                    if persistence != Persistence::Upgrade {
                        return Err(inner.failed(
                            ClientErrorKind::Protocol("unasked_101"),
                            reused,
                            body_taken,
                        ));
                    }
                    return Ok(self.into_tunnel(parsed.head));
                }
                StatusCode::CONTINUE => {
                    hold = None;
                    // The client has had its 100 from us by the time its body is read.
                }
                status if status.is_informational() => {
                    if let Some(informational) = options.informational {
                        informational.send(&parsed.head);
                    }
                }
                status if head.method == Method::CONNECT && status.is_success() => {
                    return Ok(self.into_tunnel(parsed.head));
                }
                _ => {
                    if hold.is_some() {
                        // Refused without its body: the client need not send it, and we never will.
                        inner.pump = None;
                        inner.reusable = false;
                    }
                    return Ok(self.answer(parsed, &head.method));
                }
            }
        }
    }

    fn answer(mut self, parsed: ParsedResponse, method: &Method) -> Answer {
        let inner = &mut *self.0;
        let framing = frame::response_body(&parsed, method);
        inner.reusable &=
            parsed.keep_alive && framing != Incoming::UntilClose && frame::is_consistent(&parsed);
        inner.decoder = Decoder::from(framing);
        let head = parsed.head;
        // Small and all here, the request written: no body to lend the connection to.
        let body = match framing {
            Incoming::None if inner.pump.is_none() => {
                self.recycle();
                Body::empty()
            }
            Incoming::Length(_) if inner.pump.is_none() => {
                match inner.decoder.take_rest(&mut inner.io.read) {
                    Some(data) => {
                        self.recycle();
                        Body::full(data)
                    }
                    None => Body::reply(Reply::new(self)),
                }
            }
            _ => Body::reply(Reply::new(self)),
        };
        Answer { head, body, tunnel: None }
    }

    fn into_tunnel(self, head: ResponseHead) -> Answer {
        let Inner { io, lender, .. } = *self.0;
        let Io { stream, read, .. } = io;
        let tunnel = Tunnel::new(Lent { stream: Rewind::new(read.freeze(), stream), _lender: lender });
        Answer { head, body: Body::empty(), tunnel: Some(tunnel) }
    }

    /// The exchange is over: back to the lender if another can follow.
    fn recycle(mut self) {
        let inner = &mut *self.0;
        let Some(lender) = inner.lender.0.take() else { return };
        // Bytes after the response are an answer to nothing; the next request would take them for its own.
        let clean =
            inner.reusable && inner.pump.is_none() && inner.decoder.is_done() && inner.io.read.is_empty();
        if clean {
            inner.io.rest();
            inner.idle_since = Some(Instant::now());
            lender.finished(Some(self));
        } else {
            lender.finished(None);
        }
    }
}

impl Inner {
    /// Queues the request; says whether the body was taken.
    fn begin(&mut self, head: &RequestHead, body: &mut Body, persistence: Persistence) -> bool {
        let framing = frame::of_request(&head.method, body.size_hint().exact());
        let mut queue = Queue::default();
        write::request(queue.head(), head, framing, persistence);
        let (body, taken) = match body.try_clone() {
            Some(copy) => (copy, false),
            None => (std::mem::take(body), true),
        };
        self.pump = Some(Pump::new(queue, body, framing));
        taken
    }

    /// Writes what there is to write and reads until a head is complete.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        hold: &mut Option<Instant>,
    ) -> Poll<Result<ParsedResponse, ClientErrorKind>> {
        if let Some(until) = *hold
            && self.timer.poll(cx, until).is_ready()
        {
            *hold = None;
        }
        let mut write_error = None;
        if let Poll::Ready(Err(error)) = self.poll_pump(cx, hold.is_some()) {
            match error {
                PumpError::Body(error) => return Poll::Ready(Err(ClientErrorKind::RequestBody(error))),
                // The upstream may have answered and closed without reading on: look before giving up.
                PumpError::Io(error) => write_error = Some(error),
            }
        }
        let limits = Limits {
            head_bytes: self.config.max_header_bytes,
            headers: self.config.max_headers.min(parse::MAX_HEADERS),
            uri: ServerConfig::default().max_uri_bytes,
            underscores: Underscores::Allow,
        };
        loop {
            if !self.io.read.is_empty()
                && let Some(parsed) =
                    parse::response(&mut self.io.read, &mut self.scan, &limits).map_err(protocol)?
            {
                return Poll::Ready(Ok(parsed));
            }
            match self.io.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(
                        Err(write_error.map_or(ClientErrorKind::Closed, ClientErrorKind::Io)),
                    );
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ClientErrorKind::Io(error))),
                Poll::Pending if write_error.is_some() => {
                    return Poll::Ready(
                        Err(write_error.map_or(ClientErrorKind::Closed, ClientErrorKind::Io)),
                    );
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Goes on writing the request; afterwards `pump` is `None`. A failed write leaves the connection unusable.
    fn poll_pump(&mut self, cx: &mut Context<'_>, head_only: bool) -> Poll<Result<(), PumpError>> {
        let Some(pump) = &mut self.pump else { return Poll::Ready(Ok(())) };
        if head_only {
            return pump.poll_head(cx, &mut self.io.stream);
        }
        let done = ready!(pump.poll(cx, &mut self.io.stream));
        self.reusable &= done.is_ok();
        self.pump = None;
        Poll::Ready(done)
    }

    fn failed(&self, kind: ClientErrorKind, reused: bool, body_taken: bool) -> ClientError {
        let request_sent = self.pump.as_ref().is_none_or(|pump| pump.started);
        let untouched = self.io.read.is_empty();
        let kind = match kind {
            ClientErrorKind::Closed if reused && untouched => ClientErrorKind::ReusedClosed,
            ClientErrorKind::Io(error) if reused && untouched && is_closed(&error) => {
                ClientErrorKind::ReusedClosed
            }
            kind => kind,
        };
        ClientError { kind, request_sent, body_taken }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
    )
}

fn protocol(refusal: Refusal) -> ClientErrorKind {
    ClientErrorKind::Protocol(refusal.reason)
}

/// A streamed body whose client waits for a 100 is not pulled until the upstream has said so.
fn hold_until(head: &RequestHead, streamed: bool, config: &ClientConfig) -> Option<Instant> {
    let expects =
        streamed && head.version == Version::HTTP_11 && head.headers.contains(&http::header::EXPECT);
    expects.then(|| Instant::now() + config.continue_timeout)
}

/// An upgraded stream that keeps its lender informed.
struct Lent {
    stream: Rewind<Stream>,
    _lender: Lender,
}

mod lent {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Lent;

    impl AsyncRead for Lent {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Lent {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
