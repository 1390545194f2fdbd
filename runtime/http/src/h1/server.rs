//! The server face: one connection, one request after another.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_util::FutureExt;
use http::{Method, StatusCode, Version};
use outrigger_net::{ConnInfo, DrainWatch};
use tokio::time::Instant;

use super::frame;
use super::parse::{self, Limits, ParsedRequest};
use super::pump::{Pump, PumpError};
use super::refuse::Refusal;
use super::scan::Scan;
use super::timer::Timer;
use super::write::{self, Persistence};
use crate::body::Body;
use crate::config::ServerConfig;
use crate::head::Scheme;
use crate::message::{Handler, Informational, Request, RequestExt, Response, Tunnel};
use crate::record::{Outcome, Sent};
use crate::reply;

mod end;
mod shared;

pub(crate) use shared::{Inbound, Shared};

/// A connection being served.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) info: Arc<ConnInfo>,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) drain: DrainWatch,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whom the start of the drain wakes: it need not be told again, which takes a lock that all connections share.
    drain_wakes: Option<Waker>,
    timer: Timer,
    scan: Scan,
    requests: u64,
}

/// What came next on the connection.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Next {
    /// With the generation of its body, if it has one.
    Request(ParsedRequest, Option<u64>),
    Refused(Refusal),
    Closed,
}

/// What is to happen to the connection after an exchange.
enum After {
    KeepAlive,
    Close,
    /// Nobody is there to read what is left to say.
    Drop,
    Tunnel(Tunnel),
}

/// What the connection must know of a request after its head has gone to the handler.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
    expects_continue: bool,
    grpc: bool,
    upgrading: bool,
}

/// Serves requests until either side ends the connection.
pub(crate) async fn run<H: Handler>(mut conn: Connection, handler: &H) {
    loop {
        let (parsed, body) = match conn.next().await {
            Next::Request(parsed, body) => (parsed, body),
            Next::Refused(refusal) => {
                // Boxed: the rare ends of a connection should not make every connection larger.
                Box::pin(conn.refuse(refusal)).await;
                return;
            }
            Next::Closed => return,
        };
        conn.requests += 1;
        // The one box of a request: an idle connection has no room set aside for a handler's state or a response.
        // Written in place: `Box::pin` would make it on the stack and copy all of it, though hardly any is filled yet.
        let exchange = Box::write(Box::new_uninit(), conn.exchange(parsed, body, handler));
        match Box::into_pin(exchange).await {
            After::KeepAlive => {}
            After::Close => {
                Box::pin(conn.linger()).await;
                return;
            }
            After::Drop => return,
            After::Tunnel(tunnel) => {
                Box::pin(conn.bridge(tunnel)).await;
                return;
            }
        }
    }
}

impl Connection {
    pub(crate) fn new(
        io: super::io::Io,
        info: Arc<ConnInfo>,
        drain: DrainWatch,
        config: Arc<ServerConfig>,
    ) -> Self {
        let watch = drain.clone();
        Self {
            shared: Arc::new(Shared::new(io)),
            info,
            config,
            draining: Box::pin(async move { watch.draining().await }),
            drain_wakes: None,
            drain,
            timer: Timer::default(),
            scan: Scan::default(),
            requests: 0,
        }
    }

    fn scheme(&self) -> Scheme {
        if self.info.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Waits for the next request head: idle first, then against the header timeout.
    async fn next(&mut self) -> Next {
        let limits = Limits::of(&self.config);
        let scheme = self.scheme();
        let (idle_since, mut started) = (Instant::now(), None);
        let mut leading = true;
        std::future::poll_fn(|cx| {
            let mut guard = self.shared.lock();
            loop {
                let state = &mut *guard;
                // RFC 9112 §2.2: one empty line before a request is forgiven.
                if leading && state.io.read.starts_with(b"\r\n") {
                    let _ = state.io.read.split_to(2);
                    leading = false;
                }
                if !state.io.read.is_empty() {
                    leading &= state.io.read.as_ref() == b"\r";
                    match parse::request(&mut state.io.read, &mut self.scan, &limits, scheme) {
                        Ok(Some(parsed)) => {
                            let idle_timeout = self.config.body_idle_timeout;
                            let body = state.begin(parsed.body, parsed.expects_continue, idle_timeout);
                            return Poll::Ready(Next::Request(parsed, body));
                        }
                        Ok(None) => {}
                        Err(refusal) => return Poll::Ready(Next::Refused(refusal)),
                    }
                }
                match state.io.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => continue,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Closed),
                    Poll::Pending => {}
                }
                let waiting = state.io.read.is_empty();
                drop(guard);
                if waiting {
                    if self.poll_draining(cx).is_ready() {
                        return Poll::Ready(Next::Closed);
                    }
                    ready!(self.timer.poll(cx, idle_since + self.config.idle_timeout));
                    return Poll::Ready(Next::Closed);
                }
                let started = *started.get_or_insert_with(Instant::now);
                ready!(self.timer.poll(cx, started + self.config.header_timeout));
                return Poll::Ready(Next::Refused(Refusal::HEADER_TIMEOUT));
            }
        })
        .await
    }

    /// Ready when the drain has started.
    fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.is_draining() {
            return Poll::Ready(());
        }
        if self.drain_wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        ready!(self.draining.as_mut().poll(cx));
        self.drain_wakes = Some(cx.waker().clone());
        Poll::Pending
    }

    async fn exchange<H: Handler>(&mut self, parsed: ParsedRequest, body: Option<u64>, handler: &H) -> After {
        let asked = Asked {
            method: parsed.head.method.clone(),
            version: parsed.head.version,
            keep_alive: parsed.keep_alive,
            expects_continue: parsed.expects_continue,
            grpc: parsed.head.is_grpc(),
            upgrading: parsed.head.upgrade().is_some() || parsed.head.method == Method::CONNECT,
        };
        let request = self.request(parsed, body);
        let response = {
            let mut answer = pin!(AssertUnwindSafe(handler.handle(request)).catch_unwind());
            std::future::poll_fn(|cx| {
                if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                self.poll_aside(cx).map(|()| None)
            })
            .await
        };
        let response = match response {
            Some(Ok(response)) => response,
            Some(Err(_)) => {
                tracing::error!(connection = self.info.id, "a request handler panicked");
                reply::local_for(asked.grpc, StatusCode::INTERNAL_SERVER_ERROR, "panic", "internal error")
            }
            None => return After::Drop,
        };
        self.respond(&asked, response).await
    }

    fn request(&mut self, parsed: ParsedRequest, body: Option<u64>) -> Request {
        let version = parsed.head.version;
        let body = match body {
            Some(generation) => Body::inbound(Inbound::new(Arc::clone(&self.shared), generation)),
            None => Body::empty(),
        };
        // HTTP/1.0 knows no 1xx.
        let informational = (version == Version::HTTP_11).then(|| Informational(Arc::clone(&self.shared)));
        Request {
            head: parsed.head,
            body,
            conn: Arc::clone(&self.info),
            ext: RequestExt { informational, ..RequestExt::default() },
        }
    }

    /// What goes on beside a handler: 1xx responses are written, a silent request body is given up, and a client
    /// that has gone is noticed. Ready when it has gone.
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut deadline = None;
        if self.shared.poll_aside(cx, &mut deadline).is_ready() {
            return Poll::Ready(());
        }
        if let Some(deadline) = deadline
            && self.timer.poll(cx, deadline).is_ready()
        {
            self.shared.fail_body();
        }
        Poll::Pending
    }

    async fn respond(&mut self, asked: &Asked, mut response: Response) -> After {
        let mut tunnel = response.tunnel.take();
        if tunnel.is_some() && !(asked.upgrading && is_tunnel_status(&asked.method, response.head.status)) {
            tracing::warn!(status = %response.head.status, "a tunnel was offered to a request that did not ask for one");
            tunnel = None;
        }
        if tunnel.is_none()
            && (response.head.status.is_informational()
                || (asked.method == Method::CONNECT && response.head.status.is_success()))
        {
            let record = response.record.take();
            response = reply::local_for(
                asked.grpc,
                StatusCode::BAD_GATEWAY,
                "unexpected_status",
                "no final response",
            );
            response.record = record;
        }
        let exact = http_body::Body::size_hint(&response.body).exact();
        let framing = frame::of_response(&asked.method, asked.version, response.head.status, exact);
        // Interim responses still queued go out ahead of the final head, in the same write.
        let (mut queue, can_go_on) = self.shared.begin_response(asked.expects_continue);
        let keep = tunnel.is_none()
            && asked.keep_alive
            && framing != frame::Outgoing::UntilClose
            && can_go_on
            && self.may_stay_open();
        let persistence = match (&tunnel, keep) {
            (Some(_), _) if asked.method == Method::CONNECT => Persistence::Implied,
            (Some(_), _) => Persistence::Upgrade,
            (None, false) => Persistence::Close,
            (None, true) if asked.version == Version::HTTP_10 => Persistence::KeepAlive,
            (None, true) => Persistence::Implied,
        };
        write::response(queue.head(), &response.head, framing, persistence);
        let mut pump = Pump::new(queue, std::mem::take(&mut response.body), framing);
        let outcome = self.write_out(&mut pump).await;
        if let Some(record) = response.record.take() {
            record.finish(&Sent {
                status: response.head.status,
                body_bytes: pump.sent,
                received_bytes: self.shared.received(),
                outcome,
            });
        }
        match outcome {
            Outcome::Complete => {}
            // Closing without the end of the body is how HTTP/1 says that there is no more to come.
            Outcome::ClientGone | Outcome::Stalled | Outcome::BodyFailed => return After::Drop,
        }
        if let Some(tunnel) = tunnel {
            return After::Tunnel(tunnel);
        }
        if keep && self.finish_request_body().await { After::KeepAlive } else { After::Close }
    }

    /// Whether the connection can go on after this response, as far as is known before it is written.
    fn may_stay_open(&self) -> bool {
        let spent = self.config.max_requests_per_connection.is_some_and(|most| self.requests >= most);
        !spent && !self.drain.is_draining()
    }

    async fn write_out(&mut self, pump: &mut Pump) -> Outcome {
        let mut stalled_since = None;
        let mut progress = 0;
        std::future::poll_fn(|cx| {
            let mut sink = &*self.shared;
            match pump.poll(cx, &mut sink) {
                Poll::Ready(Ok(())) => return Poll::Ready(Outcome::Complete),
                Poll::Ready(Err(PumpError::Io(_))) => return Poll::Ready(Outcome::ClientGone),
                Poll::Ready(Err(PumpError::Body(error))) => {
                    tracing::debug!(%error, "response body failed");
                    return Poll::Ready(Outcome::BodyFailed);
                }
                Poll::Pending => {}
            }
            if self.poll_aside(cx).is_ready() {
                return Poll::Ready(Outcome::ClientGone);
            }
            if !pump.is_stalled() {
                stalled_since = None;
                return Poll::Pending;
            }
            let written = self.shared.written();
            if written != progress || stalled_since.is_none() {
                progress = written;
                stalled_since = Some(Instant::now());
            }
            let since = stalled_since.unwrap_or_else(Instant::now);
            self.timer.poll(cx, since + self.config.write_stall_timeout).map(|()| Outcome::Stalled)
        })
        .await
    }
}

/// The statuses after which bytes are the tunnel's.
fn is_tunnel_status(method: &Method, status: StatusCode) -> bool {
    if *method == Method::CONNECT { status.is_success() } else { status == StatusCode::SWITCHING_PROTOCOLS }
}

/// Reading ahead is bounded: at most one buffer of pipelined requests waits while one is being answered.
const READ_AHEAD: usize = crate::buffer::SIZE;
