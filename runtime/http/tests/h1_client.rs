//! The HTTP/1 client face against upstreams that misbehave in every way we know.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use outrigger_http::h1::client::{
    Answer, ClientConfig, ClientError, ClientErrorKind, Conn, Recycle, SendOptions,
};
use outrigger_http::{Body, BodyError, RequestHead};
use outrigger_net::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Keeps what comes back.
#[derive(Default)]
struct Pool(Mutex<Vec<Option<Conn>>>);

impl Recycle for Pool {
    fn finished(self: Arc<Self>, conn: Option<Conn>) {
        self.0.lock().push(conn);
    }
}

impl Pool {
    /// The connection that came back, after exactly one exchange.
    fn take(&self) -> Option<Conn> {
        let mut returned = std::mem::take(&mut *self.0.lock());
        assert_eq!(returned.len(), 1, "told once per exchange");
        returned.pop().flatten()
    }

    fn options(self: &Arc<Self>) -> SendOptions<'static> {
        SendOptions { recycle: Arc::clone(self) as Arc<dyn Recycle>, informational: None }
    }
}

/// A connection, and the upstream's end of it.
async fn pair() -> (Conn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (upstream, _) = listener.accept().await.unwrap();
    let config = ClientConfig { body_idle_timeout: Duration::from_millis(200), ..ClientConfig::default() };
    (Conn::new(Stream::Tcp(client), Arc::new(config)), upstream)
}

fn head(method: Method) -> RequestHead {
    RequestHead::new(method, "up.example".parse().unwrap(), "/p?q")
}

async fn read_until(upstream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_ne!(
            tokio::time::timeout(Duration::from_secs(5), upstream.read(&mut byte)).await.unwrap().unwrap(),
            0,
            "{text:?}"
        );
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// One GET answered with `response`; the upstream then closes if asked.
async fn get(response: &str, close: bool) -> (Result<Answer, ClientError>, Arc<Pool>, Option<TcpStream>) {
    let (conn, mut upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let answering = async {
        read_until(&mut upstream, "\r\n\r\n").await;
        upstream.write_all(response.as_bytes()).await.unwrap();
        (!close).then_some(upstream)
    };
    let (head, mut body) = (head(Method::GET), Body::empty());
    let (answer, upstream) = tokio::join!(conn.send(&head, &mut body, pool.options()), answering);
    (answer, pool, upstream)
}

#[tokio::test]
async fn a_small_response_returns_the_connection_at_once() {
    let (conn, mut upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let mut conn = Some(conn);
    for round in 0..3 {
        let head = head(Method::GET);
        let mut body = Body::empty();
        let sending = conn.take().unwrap().send(&head, &mut body, pool.options());
        let answering = async {
            let text = read_until(&mut upstream, "\r\n\r\n").await;
            assert_eq!(text, "GET /p?q HTTP/1.1\r\nhost: up.example\r\n\r\n");
            upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        };
        let (answer, ()) = tokio::join!(sending, answering);
        assert_eq!(answer.unwrap().body.as_full().unwrap(), "ok");
        conn = pool.take();
        assert_eq!(conn.as_ref().unwrap().requests(), round + 1);
    }
}

#[tokio::test]
async fn reuse_follows_the_response() {
    let check = async |response: &str, close: bool, body: Result<&str, ()>, reused: bool| {
        let (answer, pool, _upstream) = get(response, close).await;
        let read = answer.unwrap().body.collect(1 << 20).await;
        assert_eq!(
            read.map_err(drop),
            body.map(|body| Bytes::copy_from_slice(body.as_bytes())),
            "{response:?}"
        );
        assert_eq!(pool.take().is_some(), reused, "{response:?}");
    };
    check("HTTP/1.1 204 No Content\r\n\r\n", false, Ok(""), true).await;
    check("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false, Ok(""), false).await;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, Ok("ok"), true)
        .await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false, Ok("ok"), false)
        .await;
    check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Ok("ok"), false).await;
    check("HTTP/1.1 200 OK\r\n\r\nok", true, Ok("ok"), false).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", false, Ok("ok"), false)
        .await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", true, Err(()), false).await;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", true, Err(()), false).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", false, Err(()), false).await;
    check("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Ok("ok"), true).await;
}

#[tokio::test]
async fn a_response_that_cannot_be_trusted_is_a_protocol_error() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let (answer, pool, _upstream) = get(response, false).await;
        assert!(matches!(answer.unwrap_err().kind, ClientErrorKind::Protocol(_)), "{response:?}");
        assert!(pool.take().is_none());
    }
}

#[tokio::test]
async fn an_idle_connection_closed_meanwhile_is_told_apart() {
    let (conn, mut upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let (head, mut body) = (head(Method::POST), Body::full("x"));
    let answering = async {
        read_until(&mut upstream, "x").await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = tokio::join!(conn.send(&head, &mut body, pool.options()), answering);
    answer.unwrap();
    drop(upstream);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = pool.take().unwrap().send(&head, &mut body, pool.options()).await.unwrap_err();
    assert!(matches!(error.kind, ClientErrorKind::ReusedClosed));
    assert!(!error.request_sent && !error.body_taken);
    assert_eq!(body.as_full().unwrap(), "x", "still there for a retry");
    assert!(pool.take().is_none());

    // On a new connection the same is no accident of timing.
    let (answer, pool, _) = get("", true).await;
    let error = answer.unwrap_err();
    assert!(matches!(error.kind, ClientErrorKind::Closed) && error.request_sent);
    assert!(pool.take().is_none());
}

#[tokio::test]
async fn an_early_response_goes_on_writing_the_request() {
    let (conn, mut upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let (sender, mut body) = Body::channel(1);
    let head = head(Method::POST);
    let answering = async {
        read_until(&mut upstream, "3\r\none\r\n").await;
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n")
            .await
            .unwrap();
    };
    sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let (answer, ()) = tokio::join!(conn.send(&head, &mut body, pool.options()), answering);
    let mut reply = answer.unwrap().body;
    assert_eq!(reply.frame().await.unwrap().unwrap().into_data().unwrap(), "yes");
    let feeding = async {
        sender.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
        drop(sender);
        read_until(&mut upstream, "3\r\ntwo\r\n0\r\n\r\n").await;
        upstream.write_all(b"0\r\nX-Sum: 1\r\n\r\n").await.unwrap();
    };
    let (frame, ()) = tokio::join!(reply.frame(), feeding);
    assert_eq!(frame.unwrap().unwrap().into_trailers().unwrap()["x-sum"], "1");
    assert!(reply.frame().await.is_none());
    assert!(pool.take().is_some());
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_clients_fault() {
    let (conn, _upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let (sender, mut body) = Body::channel(1);
    sender.send(Err(BodyError::Disconnected)).await.unwrap();
    let error = conn.send(&head(Method::POST), &mut body, pool.options()).await.unwrap_err();
    assert!(matches!(error.kind, ClientErrorKind::RequestBody(BodyError::Disconnected)) && error.body_taken);
    assert!(pool.take().is_none());
}

#[tokio::test]
async fn a_body_is_held_until_the_upstream_wants_it() {
    let (conn, mut upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let (sender, mut body) = Body::channel(1);
    let mut head = head(Method::POST);
    head.headers.set(&http::header::EXPECT, "100-continue").unwrap();
    sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let answering = async {
        read_until(&mut upstream, "\r\n\r\n").await;
        let early = tokio::time::timeout(Duration::from_millis(50), upstream.read_u8()).await;
        assert!(early.is_err(), "nothing before it is wanted");
        upstream.write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = tokio::join!(conn.send(&head, &mut body, pool.options()), answering);
    assert_eq!(answer.unwrap().head.status, StatusCode::EXPECTATION_FAILED);
    assert!(pool.take().is_none());
}

#[tokio::test]
async fn a_dropped_response_closes_the_connection_and_tells_the_pool() {
    let (answer, pool, upstream) = get("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", false).await;
    drop(answer);
    assert!(pool.take().is_none());
    assert_eq!(upstream.unwrap().read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let (conn, mut upstream) = pair().await;
    let pool = Arc::new(Pool::default());
    let mut head = head(Method::GET);
    head.headers.set(&http::header::CONNECTION, "upgrade").unwrap();
    head.headers.set(&http::header::UPGRADE, "test").unwrap();
    let answering = async {
        assert!(
            read_until(&mut upstream, "\r\n\r\n").await.contains("upgrade: test\r\nconnection: upgrade\r\n")
        );
        upstream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: upgrade\r\n\r\nhello",
            )
            .await
            .unwrap();
    };
    let mut body = Body::empty();
    let (answer, ()) = tokio::join!(conn.send(&head, &mut body, pool.options()), answering);
    let mut tunnel = answer.unwrap().tunnel.unwrap().into_inner();
    let mut bytes = [0; 5];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    assert!(pool.0.lock().is_empty(), "lent for as long as the tunnel lives");
    drop(tunnel);
    assert!(pool.take().is_none());
}
