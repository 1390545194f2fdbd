//! How much HTTP/2 lets wait on either side is what the settings say.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use http::StatusCode;
use http_body::Frame;
use outrigger_http::{Body, Handler, Request, Response, ResponseHead, ServerConfig};
use support::{Server, start};
use tokio::net::TcpStream;

/// Nothing moves any more once it has not moved for this long.
const STILL: Duration = Duration::from_secs(1);

/// Holds the request and reads nothing of it.
struct Hold;

impl Handler for Hold {
    async fn handle(&self, _: Request) -> Response {
        std::future::pending().await
    }
}

async fn client(server: &Server, builder: &h2::client::Builder) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

async fn post(sender: &SendRequest<Bytes>) -> SendStream<Bytes> {
    let mut sender = sender.clone().ready().await.unwrap();
    let request = http::Request::post("http://a.example/").body(()).unwrap();
    // The answer is not waited for; the stream lives as long as its sending half.
    sender.send_request(request, false).unwrap().1
}

/// Sends until the windows are shut, and says how much that was.
async fn sent(stream: &mut SendStream<Bytes>) -> usize {
    let mut sent = 0;
    stream.reserve_capacity(1 << 20);
    let capacity = |stream: &mut SendStream<Bytes>, cx: &mut Context<'_>| stream.poll_capacity(cx);
    while let Ok(Some(Ok(room))) =
        tokio::time::timeout(STILL, std::future::poll_fn(|cx| capacity(stream, cx))).await
    {
        stream.send_data(Bytes::from(vec![0; room]), false).unwrap();
        sent += room;
    }
    sent
}

#[tokio::test]
async fn windows_are_as_configured() {
    let mut config = ServerConfig::default();
    config.http2.stream_window_bytes = 60_000;
    config.http2.connection_window_bytes = 100_000;
    let server = start(Hold, config).await;
    let sender = client(&server, &h2::client::Builder::new()).await;
    // The server's settings have to arrive first.
    let mut first = post(&sender).await;
    tokio::time::sleep(STILL).await;
    assert_eq!(sent(&mut first).await, 60_000, "the stream's");
    let mut second = post(&sender).await;
    assert_eq!(sent(&mut second).await, 40_000, "what the first has left of the connection's");
}

/// Answers with a body that never ends.
struct Pour(Arc<AtomicUsize>);

impl Handler for Pour {
    async fn handle(&self, _: Request) -> Response {
        let body = Body::wrap(Endless(Arc::clone(&self.0)));
        Response::new(ResponseHead::new(StatusCode::OK), body)
    }
}

/// Counts the bytes taken from it.
struct Endless(Arc<AtomicUsize>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        const PIECE: &[u8] = &[b'x'; 16 * 1024];
        self.0.fetch_add(PIECE.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}

/// What is taken of an answer nobody reads although all windows are open: what the sockets hold, and the buffer.
async fn taken(max_send_buffer_bytes: usize) -> usize {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut config = ServerConfig::default();
    config.http2.max_send_buffer_bytes = max_send_buffer_bytes;
    let server = start(Pour(Arc::clone(&taken)), config).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut sender, mut connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    let request = http::Request::get("http://a.example/").body(()).unwrap();
    let _answer = sender.send_request(request, true).unwrap();
    // Writes the request, and from then on nobody reads the socket.
    while taken.load(Ordering::SeqCst) == 0 {
        let _still_open = tokio::time::timeout(Duration::from_millis(1), &mut connection).await;
    }
    let mut before = 0;
    loop {
        tokio::time::sleep(STILL).await;
        let now = taken.load(Ordering::SeqCst);
        if now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn answers_nobody_reads_wait_in_a_buffer_as_large_as_configured() {
    const LARGE: usize = 32 << 20;
    let (small, large) = (taken(64 * 1024).await, taken(LARGE).await);
    assert!(large > LARGE, "{large}");
    assert!(small < LARGE / 2, "{small}: what the sockets hold");
}
