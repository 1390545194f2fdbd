//! The HTTP/1 server face over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use outrigger_http::{Body, Handler, Request, Response, ResponseHead, ServerConfig, Tunnel};
use support::start;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// Answers by path.
struct App;

impl Handler for App {
    async fn handle(&self, request: Request) -> Response {
        let mut response = Response::status(StatusCode::OK);
        match request.head.path() {
            "/echo" => response.body = request.body,
            "/read" => match request.body.collect(1 << 20).await {
                Ok(body) => {
                    response.body = Body::full(format!("{}:{}", body.len(), String::from_utf8_lossy(&body)))
                }
                Err(error) => {
                    response.head.status = StatusCode::BAD_REQUEST;
                    response.body = Body::full(error.to_string());
                }
            },
            "/early" => response.body = "early".into(),
            "/hints" => {
                let mut hints = ResponseHead::new(StatusCode::from_u16(103).unwrap());
                hints.headers.set(&http::header::LINK, "</a>").unwrap();
                if let Some(informational) = &request.ext.informational {
                    informational.send(&hints);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                response.body = "done".into();
            }
            "/stream" => {
                let (sender, body) = Body::channel(1);
                tokio::spawn(async move {
                    for piece in ["one", "two"] {
                        sender.send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).await.unwrap();
                    }
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("x-sum", "2".parse().unwrap());
                    sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
                });
                response.body = body;
            }
            "/broken" => {
                let (sender, body) = Body::channel(1);
                tokio::spawn(async move {
                    sender.send(Ok(Frame::data(Bytes::from_static(b"part")))).await.unwrap();
                    sender.send(Err(outrigger_http::BodyError::Aborted)).await.unwrap();
                });
                response.body = body;
            }
            "/panic" => panic!("as asked"),
            "/slow" => tokio::time::sleep(Duration::from_secs(60)).await,
            "/tunnel" => {
                let (ours, mut theirs) = tokio::io::duplex(1024);
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = theirs.read(&mut buffer).await {
                        theirs.write_all(&buffer[..count].to_ascii_uppercase()).await.unwrap();
                    }
                });
                response.head.status = StatusCode::SWITCHING_PROTOCOLS;
                response.head.headers.set_static(&http::header::UPGRADE, "test");
                response.tunnel = Some(Tunnel::new(ours));
            }
            _ => {}
        }
        response
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn requests_follow_each_other_also_pipelined_and_byte_by_byte() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.until("\r\n\r\n").await, OK);
    }
    client.send(&GET.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(client.until("\r\n\r\n").await, OK);
    }
    for byte in "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n".chars() {
        client.send(&byte.to_string()).await;
    }
    assert_eq!(client.until("3:abc").await, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n3:abc");
    client.send(GET).await;
    assert_eq!(client.until("\r\n\r\n").await, OK);
}

#[tokio::test]
async fn bodies_go_both_ways() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    assert_eq!(
        client.until("abc\r\n").await,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    );
    client.send("2\r\nde\r\n0\r\nX-T: 1\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "2\r\nde\r\n0\r\nx-t: 1\r\n\r\n");
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let text = client.until("\r\nx-sum: 2\r\n\r\n").await;
    assert!(text.ends_with("3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 2\r\n\r\n"), "{text}");
    client.send("HEAD /early HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    client.send(GET).await;
    assert_eq!(client.until("\r\n\r\n").await, OK);
}

#[tokio::test]
async fn http_1_0_is_closed_unless_asked() {
    let server = start(App, ServerConfig::default()).await;
    assert_eq!(
        server.exchange("GET / HTTP/1.0\r\n\r\n").await,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let text = server.exchange("GET /stream HTTP/1.0\r\n\r\n").await;
    assert!(text.ends_with("connection: close\r\n\r\nonetwo"), "{text}");
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.contains("connection: keep-alive"));
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.rest().await.contains("connection: close"));
}

#[tokio::test]
async fn a_refusal_is_answered_and_ends_the_connection() {
    let server = start(App, ServerConfig::default()).await;
    let check = async |request: &str, status: &str, reason: &str| {
        let text = server.exchange(request).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {text}");
        assert!(
            text.contains(&format!("x-outrigger-reason: {reason}\r\n"))
                && text.contains("connection: close\r\n"),
            "{text}"
        );
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    };
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "content_length_and_transfer_encoding").await;
    check("GET / HTTP/1.1\n\n", "400", "bare_lf").await;
    check("GET / HTTP/3.0\r\n\r\n", "505", "http_version").await;
    check(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)), "414", "uri_too_long").await;
    check(
        &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(60_000)),
        "431",
        "headers_too_large",
    )
    .await;
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(100)), "431", "too_many_headers")
        .await;
    check("\x16\x03\x01 hello tls\r\n\r\n", "400", "request_line").await;
}

#[tokio::test]
async fn a_broken_request_body_is_told_to_its_reader_and_ends_the_connection() {
    let server = start(App, ServerConfig::default()).await;
    let text = server
        .exchange("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX")
        .await;
    assert!(text.starts_with("HTTP/1.1 400") && text.contains("malformed body: chunk_terminator"), "{text}");
}

#[tokio::test]
async fn a_broken_response_body_is_cut_and_not_ended() {
    let server = start(App, ServerConfig::default()).await;
    let text = server.exchange("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!text.contains("\r\n0\r\n"), "{text}");
}

#[tokio::test]
async fn the_client_is_told_to_continue_when_its_body_is_wanted() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc").await;
    assert_eq!(client.until("3:abc").await, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n3:abc");
    // Not wanted: an answer at once, and no guess at what comes next.
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly");
}

#[tokio::test]
async fn an_unread_body_is_read_over_when_it_is_small() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    client
        .send(&format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{}{GET}",
            "x".repeat(20_000)
        ))
        .await;
    assert_eq!(client.until("early").await, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
    assert_eq!(client.until("\r\n\r\n").await, OK);
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n").await;
    assert!(client.rest().await.contains("connection: close"));
}

#[tokio::test]
async fn informational_responses_come_first() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    assert_eq!(client.until("done").await, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
    let old = server.exchange("GET /hints HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.1 200"), "{old}");
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.until("internal error\n").await.starts_with("HTTP/1.1 500"));
    client.send(GET).await;
    assert_eq!(client.until("\r\n\r\n").await, OK);
}

#[tokio::test]
async fn bytes_after_the_switch_are_the_tunnels() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = server.connect().await;
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nearly").await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: test\r\nconnection: upgrade\r\n\r\n"
    );
    client.until("EARLY").await;
    client.send("more").await;
    client.until("MORE").await;
    let mut client = server.connect().await;
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\nGET").await;
    let text = client.until("no final response\n").await;
    assert!(text.starts_with("HTTP/1.1 502"), "a tunnel nobody asked for: {text}");
}

#[tokio::test]
async fn waits_are_bounded() {
    let quick = Duration::from_millis(100);
    let config = ServerConfig {
        header_timeout: quick,
        body_idle_timeout: quick,
        idle_timeout: quick,
        ..ServerConfig::default()
    };
    let server = start(App, config).await;
    let text = server.exchange("GET / HTTP/1.1\r\nHo").await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    let text = server.exchange("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na").await;
    assert!(text.contains("sent nothing for too long"), "{text}");
    assert_eq!(server.exchange(GET).await, OK);
}

/// Answers with 16 MiB and says when it has let go of them.
struct Big(Arc<Notify>);

struct Told(Vec<u8>, Arc<Notify>);

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.1.notify_one();
    }
}

impl Handler for Big {
    async fn handle(&self, _: Request) -> Response {
        let big = Told(vec![b'x'; 16 << 20], Arc::clone(&self.0));
        Response::new(ResponseHead::new(StatusCode::OK), Body::full(Bytes::from_owner(big)))
    }
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_cut() {
    let gone = Arc::new(Notify::new());
    let config = ServerConfig { write_stall_timeout: Duration::from_millis(100), ..ServerConfig::default() };
    let server = start(Big(Arc::clone(&gone)), config).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    tokio::time::timeout(Duration::from_secs(20), gone.notified()).await.unwrap();
    let mut text = Vec::new();
    let _ = client.0.read_to_end(&mut text).await;
    assert!(text.len() < 16 << 20, "cut off, read {}", text.len());
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    /// Tells twice: when it is asked, and when that ends.
    struct Slow(Arc<Notify>);
    impl Handler for Slow {
        async fn handle(&self, _: Request) -> Response {
            struct Gone(Arc<Notify>);
            impl Drop for Gone {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let _gone = Gone(self.0.clone());
            self.0.notify_one();
            std::future::pending().await
        }
    }
    let told = Arc::new(Notify::new());
    let server = start(Slow(told.clone()), ServerConfig::default()).await;
    let patience = Duration::from_secs(5);
    let mut client = server.connect().await;
    client.send(GET).await;
    tokio::time::timeout(patience, told.notified()).await.unwrap();
    drop(client);
    tokio::time::timeout(patience, told.notified()).await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_announces_itself_on_busy_ones() {
    let server = start(App, ServerConfig::default()).await;
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.until("\r\n\r\n").await;
    let mut busy = server.connect().await;
    busy.send("POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    busy.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    server.drain.start();
    assert_eq!(idle.rest().await, "");
    busy.send("abc").await;
    assert!(busy.rest().await.contains("connection: close\r\n\r\n3:abc"));
}
