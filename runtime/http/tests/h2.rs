//! HTTP/2 both ways, and tower services behind the same acceptor.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use outrigger_http::h2::client::{ClientConfig, ClientError, SendRequest, handshake};
use outrigger_http::tower::Adapter;
use outrigger_http::{Body, BodyError, Handler, Request, RequestHead, Response, ServerConfig, Tunnel};
use outrigger_net::Stream;
use support::{Server, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct App;

impl Handler for App {
    async fn handle(&self, request: Request) -> Response {
        let mut response = Response::status(StatusCode::OK);
        match request.head.path() {
            "/echo" => response.body = request.body,
            "/head" => {
                let cookie = request.head.headers.get_str(&http::header::COOKIE).unwrap_or_default();
                response.body =
                    Body::full(format!("{} {} {cookie}", request.head.method, request.head.authority()));
            }
            "/hop" => {
                response.head.headers.set(&http::header::CONNECTION, "x-hop").unwrap();
                response.head.headers.set(&http::HeaderName::from_static("x-hop"), "1").unwrap();
                response.head.headers.set(&http::header::TRANSFER_ENCODING, "chunked").unwrap();
            }
            "/read" => {
                response.head.status = match request.body.collect(1000).await {
                    Ok(_) => StatusCode::OK,
                    Err(BodyError::Idle) => StatusCode::REQUEST_TIMEOUT,
                    Err(error) => panic!("{error}"),
                }
            }
            "/panic" => panic!("as asked"),
            "/ws" => {
                assert_eq!(request.head.protocol.as_deref(), Some("websocket"));
                let (ours, mut theirs) = tokio::io::duplex(64);
                tokio::spawn(async move {
                    let mut bytes = [0; 4];
                    theirs.read_exact(&mut bytes).await.unwrap();
                    theirs.write_all(&bytes.to_ascii_uppercase()).await.unwrap();
                });
                response.head.status = StatusCode::SWITCHING_PROTOCOLS;
                response.tunnel = Some(Tunnel::new(ours));
            }
            _ => {}
        }
        response
    }
}

async fn client(server: &Server) -> SendRequest {
    let stream = Stream::Tcp(TcpStream::connect(server.address).await.unwrap());
    let (sender, driver) = handshake(stream, &ClientConfig::default()).await.unwrap();
    tokio::spawn(driver);
    sender
}

fn head(method: Method, path: &'static str) -> RequestHead {
    RequestHead::new(method, "up.example".parse().unwrap(), path)
}

#[tokio::test]
async fn requests_bodies_and_trailers() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = client(&server).await;
    let mut get = head(Method::GET, "/head");
    get.headers.append(&http::header::COOKIE, "a=1").unwrap();
    get.headers.append(&http::header::COOKIE, "b=2").unwrap();
    let answer = client.send(&get, &mut Body::empty()).await.unwrap();
    assert_eq!(answer.body.collect(100).await.unwrap(), "GET up.example a=1; b=2");

    let (sender, mut body) = Body::channel(2);
    let mut echo = client.clone();
    let answer =
        tokio::spawn(async move { echo.send(&head(Method::POST, "/echo"), &mut body).await.unwrap() });
    sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let mut reply = answer.await.unwrap().body;
    assert_eq!(reply.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
    drop(sender);
    assert_eq!(reply.frame().await.unwrap().unwrap().into_trailers().unwrap()["grpc-status"], "0");
    assert!(reply.frame().await.is_none());

    let answer = client.send(&head(Method::GET, "/hop"), &mut Body::empty()).await.unwrap();
    assert!(
        answer.head.headers.iter().all(|(name, _)| name == b"content-length"),
        "{:?}",
        answer.head.headers
    );
    let answer = client.send(&head(Method::GET, "/panic"), &mut Body::empty()).await.unwrap();
    assert_eq!(answer.head.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn what_http_1_would_refuse_is_refused() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = client(&server).await;
    let status = async |client: &mut SendRequest, edit: fn(&mut RequestHead)| {
        let mut request = head(Method::GET, "/");
        edit(&mut request);
        match client.send(&request, &mut Body::empty()).await {
            Ok(answer) => answer.head.status.as_u16(),
            Err(ClientError::Reset(_)) => 0,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(status(&mut client, |_| {}).await, 200);
    assert_eq!(status(&mut client, |head| head.set_path("/a%00").unwrap()).await, 0);
    let underscore =
        |head: &mut RequestHead| head.headers.set(&http::HeaderName::from_static("a_b"), "1").unwrap();
    assert_eq!(status(&mut client, underscore).await, 0);
    let many = |head: &mut RequestHead| {
        (0..101).for_each(|_| head.headers.append(&http::header::ACCEPT, "a").unwrap())
    };
    assert_eq!(status(&mut client, many).await, 431);
    let crumbs = |head: &mut RequestHead| {
        (0..201).for_each(|_| head.headers.append(&http::header::COOKIE, "a=b").unwrap())
    };
    assert_eq!(status(&mut client, crumbs).await, 431);
    assert_eq!(status(&mut client, |_| {}).await, 200, "the connection goes on");
}

/// Sends a body in two parts with a silence between them, as long as several time-outs.
async fn with_a_silence(edit: impl Fn(&mut RequestHead)) -> (StatusCode, Result<Bytes, BodyError>) {
    let timeout = Duration::from_millis(100);
    let server = start(App, ServerConfig { body_idle_timeout: timeout, ..ServerConfig::default() }).await;
    let mut client = client(&server).await;
    let mut request = head(Method::POST, "/read");
    edit(&mut request);
    let (sender, mut body) = Body::channel(1);
    let sending = tokio::spawn(async move {
        for _ in 0..2 {
            // A server that has given up has no use for the second.
            let _ = sender.send(Ok(Frame::data(Bytes::from_static(b"part")))).await;
            tokio::time::sleep(timeout * 4).await;
        }
    });
    let answer = client.send(&request, &mut body).await.unwrap();
    let read = (answer.head.status, answer.body.collect(100).await);
    sending.abort();
    read
}

#[tokio::test]
async fn a_silent_request_body_is_given_up() {
    let (status, _) = with_a_silence(|_| {}).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    // Once the answer has begun, or in a gRPC call, silence is part of the conversation.
    let (status, echoed) = with_a_silence(|head| head.set_path("/echo").unwrap()).await;
    assert_eq!((status, &echoed.unwrap()[..]), (StatusCode::OK, &b"partpart"[..]));
    let grpc = |head: &mut RequestHead| {
        head.headers.set(&http::header::CONTENT_TYPE, "application/grpc").unwrap();
    };
    assert_eq!(with_a_silence(grpc).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_may_come_in_as_many_crumbs_as_configured() {
    let mut config = ServerConfig::default();
    config.http2.max_cookie_crumbs = 3;
    let server = start(App, config).await;
    let mut client = client(&server).await;
    for (crumbs, expected) in [(3, StatusCode::OK), (4, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
        let mut request = head(Method::GET, "/");
        (0..crumbs).for_each(|_| request.headers.append(&http::header::COOKIE, "a=b").unwrap());
        let answer = client.send(&request, &mut Body::empty()).await.unwrap();
        assert_eq!(answer.head.status, expected, "{crumbs} crumbs");
    }
}

#[tokio::test]
async fn extended_connect_opens_a_tunnel() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = client(&server).await;
    // The server's settings are seen by the request after the one they arrived with.
    for _ in 0..2 {
        client.send(&head(Method::GET, "/"), &mut Body::empty()).await.unwrap();
    }
    assert!(client.takes_extended_connect());
    let mut connect = head(Method::CONNECT, "/ws");
    connect.protocol = Some("websocket".into());
    let answer = client.send(&connect, &mut Body::empty()).await.unwrap();
    assert_eq!(answer.head.status, StatusCode::OK);
    let mut tunnel = answer.tunnel.unwrap().into_inner();
    tunnel.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"PING");
}

#[tokio::test]
async fn a_drain_says_goaway_and_lets_streams_finish() {
    let server = start(App, ServerConfig::default()).await;
    let mut client = client(&server).await;
    let (sender, mut body) = Body::channel(1);
    let mut echo = client.clone();
    let answer =
        tokio::spawn(async move { echo.send(&head(Method::POST, "/echo"), &mut body).await.unwrap() });
    sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let mut reply = answer.await.unwrap().body;
    server.drain.start();
    tokio::time::timeout(Duration::from_secs(20), async {
        while client.send(&head(Method::GET, "/"), &mut Body::empty()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("no new requests after GOAWAY");
    sender.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
    drop(sender);
    let mut all = Vec::new();
    while let Some(frame) = reply.frame().await {
        all.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    assert_eq!(all, b"onetwo");
}

#[derive(Clone)]
struct Service;

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let text = format!("{} {}", request.uri(), request.headers()["x-a"].to_str().unwrap());
        std::future::ready(Ok(http::Response::builder().header("x-b", "2").body(Body::full(text)).unwrap()))
    }
}

#[tokio::test]
async fn a_tower_service_answers_both_versions_on_one_port() {
    let server = start(Adapter::new(Service), ServerConfig::default()).await;
    let text = server.exchange("GET /p?q HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: close\r\n\r\n").await;
    assert!(text.contains("x-b: 2\r\n") && text.ends_with("\r\n\r\n/p?q 1"), "{text}");
    let mut request = head(Method::GET, "/p?q");
    request.headers.set(&http::HeaderName::from_static("x-a"), "1").unwrap();
    let answer = client(&server).await.send(&request, &mut Body::empty()).await.unwrap();
    assert_eq!(answer.body.collect(100).await.unwrap(), "http://up.example/p?q 1");
}
