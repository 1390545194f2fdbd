//! HTTP/2 to upstreams: one connection, many requests at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outrigger_net::Stream as Socket;

use super::convert;
use super::stream::{Outbound, Stream};
use crate::body::Body;
use crate::h1::client::Answer;
use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;
use crate::message::Tunnel;

/// Windows and limits of an upstream connection.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Bytes a response may send before we have read them. Default 64 KiB.
    pub stream_window_bytes: u32,
    /// The same for the whole connection. Default 1 MiB.
    pub connection_window_bytes: u32,
    /// Request bytes buffered for one stream. Default 256 KiB.
    pub max_send_buffer_bytes: usize,
    /// Largest response head in bytes. Default 48 KiB.
    pub max_header_bytes: u32,
    /// While streams are open and nothing has come for this long, a PING asks whether the upstream lives; without an
    /// answer within as long again, at most 20 s, the connection is given up. Default: none.
    pub ping_interval: Option<Duration>,
}

/// How long the answer to a PING may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 1024 * 1024,
            max_send_buffer_bytes: 256 * 1024,
            max_header_bytes: 48 * 1024,
            ping_interval: None,
        }
    }
}

/// Sends requests on a connection; clones share it.
#[derive(Debug, Clone)]
pub struct SendRequest {
    inner: http2::SendRequest<Outbound>,
    settings: Arc<Settings>,
}

/// What the upstream's SETTINGS say, noted by the driver whenever it takes a request: hyper reads them on a task of its
/// own, so the first request goes out before they are known.
#[derive(Debug)]
struct Settings {
    max_streams: AtomicUsize,
    extended_connect: AtomicBool,
}

/// Runs the connection. It must be polled (spawned on the connection's worker) for anything to happen, and ends when
/// the last [`SendRequest`] and the last stream are gone.
pub struct Driver {
    connection: http2::Connection<TokioIo<Socket>, Outbound, TokioExecutor>,
    settings: Arc<Settings>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The upstream certainly did not process the request: REFUSED_STREAM, beyond its GOAWAY, or never sent. Any
    /// request may be sent again, its body permitting.
    #[error("the upstream refused the stream: {0}")]
    Refused(#[source] hyper::Error),
    #[error("the upstream reset the stream: {0}")]
    Reset(#[source] hyper::Error),
    #[error("the request cannot be sent as HTTP/2: {0}")]
    Request(#[from] http::Error),
}

/// Opens HTTP/2 on `stream` (prior knowledge, or after ALPN has agreed on it).
pub async fn handshake(stream: Socket, config: &ClientConfig) -> Result<(SendRequest, Driver), hyper::Error> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_send_buf_size(config.max_send_buffer_bytes)
        .max_header_list_size(config.max_header_bytes)
        .keep_alive_interval(config.ping_interval)
        .keep_alive_timeout(config.ping_interval.unwrap_or(PING_TIMEOUT).min(PING_TIMEOUT))
        .keep_alive_while_idle(false)
        .handshake(TokioIo::new(stream))
        .await?;
    let settings = Arc::new(Settings {
        max_streams: AtomicUsize::new(connection.current_max_send_streams()),
        extended_connect: AtomicBool::new(connection.is_extended_connect_protocol_enabled()),
    });
    Ok((SendRequest { inner: sender, settings: Arc::clone(&settings) }, Driver { connection, settings }))
}

impl Future for Driver {
    type Output = Result<(), hyper::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = Pin::new(&mut self.connection).poll(cx);
        self.settings.max_streams.store(self.connection.current_max_send_streams(), Ordering::Relaxed);
        let extended = self.connection.is_extended_connect_protocol_enabled();
        self.settings.extended_connect.store(extended, Ordering::Relaxed);
        done
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}

impl SendRequest {
    /// Whether the connection has ended, or is about to (GOAWAY).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Streams the upstream lets us have in flight.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.settings.max_streams.load(Ordering::Relaxed)
    }

    /// Whether the upstream takes extended CONNECT (RFC 8441), as known when the latest request
    /// was taken (false before the second one).
    #[must_use]
    pub fn takes_extended_connect(&self) -> bool {
        self.settings.extended_connect.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for the head of its response. A body in memory stays in `body` for a retry. Dropping
    /// the future resets the stream.
    pub async fn send(&mut self, head: &RequestHead, body: &mut Body) -> Result<Answer, ClientError> {
        let body = body.try_clone().unwrap_or_else(|| std::mem::take(body));
        let connect = head.method == Method::CONNECT;
        let request = request(head, Outbound::request(body))?;
        let mut response = self.inner.send_request(request).await.map_err(sort)?;
        let tunnel = (connect && response.status().is_success()).then(|| hyper::upgrade::on(&mut response));
        let tunnel = match tunnel {
            Some(upgrade) => Some(Tunnel::new(TokioIo::new(upgrade.await.map_err(ClientError::Reset)?))),
            None => None,
        };
        let (parts, incoming) = response.into_parts();
        let empty = tunnel.is_some() || http_body::Body::is_end_stream(&incoming);
        let body = if empty { Body::empty() } else { Body::h2(Stream::response(incoming)) };
        let head = ResponseHead {
            status: parts.status,
            version: Version::HTTP_2,
            headers: Headers::Map(parts.headers),
            reason: None,
        };
        Ok(Answer { head, body, tunnel })
    }
}

fn request(head: &RequestHead, body: Outbound) -> Result<http::Request<Outbound>, http::Error> {
    let mut headers = head.headers.clone().into_map();
    convert::strip_connection(&mut headers);
    headers.remove(http::header::HOST);
    // The only value of `te` HTTP/2 knows.
    if headers.get(http::header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(http::header::TE);
    }
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    *request.uri_mut() = crate::tower::uri(head, Version::HTTP_2)?;
    if let Some(protocol) = &head.protocol {
        request.extensions_mut().insert(hyper::ext::Protocol::from_static(known_protocol(protocol)));
    }
    Ok(request)
}

/// hyper takes protocol names as literals; these are the registered ones.
fn known_protocol(name: &str) -> &'static str {
    match name {
        "connect-udp" => "connect-udp",
        "connect-ip" => "connect-ip",
        "connect-tcp" => "connect-tcp",
        "webtransport" => "webtransport",
        _ => "websocket",
    }
}

fn sort(error: hyper::Error) -> ClientError {
    let refused = error.is_canceled() || reason(&error) == Some(h2::Reason::REFUSED_STREAM);
    if refused { ClientError::Refused(error) } else { ClientError::Reset(error) }
}

fn reason(error: &hyper::Error) -> Option<h2::Reason> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.reason();
        }
        source = error.source();
    }
    None
}
