//! HTTP/2 on either side or both, gRPC streams, and WebSocket over extended CONNECT, with hyper at the ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy};

type Body = BoxBody<Bytes, std::convert::Infallible>;
type Sender = mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test ends") });
}

fn empty() -> Body {
    Empty::new().boxed()
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body fed by hand.
fn stream() -> (Sender, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, BodyExt::boxed(StreamBody::new(ReceiverStream::new(receiver))))
}

async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An HTTP/2 server on this runtime.
async fn serve<F, Fut>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, std::convert::Infallible>(response.await) }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.enable_connect_protocol();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A proxy in front of an HTTP/2 backend.
fn to_http2(endpoint: SocketAddr) -> Proxy {
    Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0" } },
        "routes": { "all": { "hosts": ["a.example"], "backends": [{ "cluster": "c" }] } },
        "clusters": { "c": { "endpoints": [endpoint], "protocol": "http2" } },
    }))
}

fn get(path: &str) -> Request<Body> {
    Request::builder().uri(format!("http://a.example{path}")).body(empty()).unwrap()
}

fn grpc(body: Body) -> Request<Body> {
    let request = Request::builder().method("POST").uri("http://a.example/s.S/M");
    request.header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Says what it was asked.
async fn describe(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let length = body.collect().await.unwrap().to_bytes().len();
    Response::new(full(format!("{} {} {:?} {length}", parts.method, parts.uri, parts.headers.get("x-a"))))
}

#[test]
fn either_side_may_speak_either_protocol() {
    run(async {
        let http1 =
            Backend::http(|head, body| ok(&format!("{} {:?} {}", head.line, head.get("host"), body.len())));
        let proxy = Proxy::to(http1.address);
        let mut client = connect(proxy.web()).await;
        assert_eq!(
            text(client.send_request(get("/x?y")).await.unwrap()).await,
            r#"GET /x?y HTTP/1.1 Some("a.example") 0"#
        );
        let post = Request::post("http://a.example/up").body(full(vec![1; 100_000])).unwrap();
        let reply = text(client.send_request(post).await.unwrap()).await;
        assert_eq!(reply, r#"POST /up HTTP/1.1 Some("a.example") 100000"#);

        let proxy = to_http2(serve(describe).await);
        let mut client = connect(proxy.web()).await;
        let mut request = get("/x?y");
        request.headers_mut().insert("x-a", "1".parse().unwrap());
        let reply = text(client.send_request(request).await.unwrap()).await;
        assert_eq!(reply, r#"GET http://a.example/x?y Some("1") 0"#);
        let web = proxy.web();
        let reply = tokio::task::spawn_blocking(move || {
            Client::connect(web)
                .write("POST /z HTTP/1.1\r\nHost: a.example\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                .reply()
        });
        let reply = reply.await.unwrap();
        assert_eq!(reply.text(), r#"POST http://a.example/z Some("2") 3"#);
    });
}

/// Echoes each piece of the body as it comes, then says `grpc-status: 0`.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (sender, body) = stream();
    let mut incoming = request.into_body();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = incoming.frame().await {
            if frame.is_data() && sender.send(Ok(frame)).await.is_err() {
                return;
            }
        }
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let _ = sender.send(Ok(Frame::trailers(trailers))).await;
    });
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

#[test]
fn a_grpc_stream_is_a_conversation() {
    run(async {
        let proxy = to_http2(serve(echo).await);
        let (sender, body) = stream();
        let response = connect(proxy.web()).await.send_request(grpc(body)).await.unwrap();
        let mut answers = response.into_body();
        for round in 0..5_u8 {
            // Each answer comes while the request is still open.
            sender.send(Ok(Frame::data(vec![round; 10].into()))).await.unwrap();
            let frame = answers.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), vec![round; 10]);
        }
        drop(sender);
        let trailers = answers.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(answers.frame().await.is_none());
    });
}

#[test]
fn our_own_answers_to_grpc_are_grpc() {
    run(async {
        let proxy = to_http2(crate::ports::reserved());
        let mut client = connect(proxy.web()).await;
        let check = |response: &Response<Incoming>, status: &str, reason: &str| {
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["grpc-status"], status, "{response:?}");
            assert_eq!(response.headers()["x-outrigger-reason"], reason);
        };
        check(&client.send_request(grpc(empty())).await.unwrap(), "14", "connect_failed");
        let mut elsewhere = grpc(empty());
        *elsewhere.uri_mut() = "http://b.example/s.S/M".parse().unwrap();
        check(&client.send_request(elsewhere).await.unwrap(), "12", "no_route");
    });
}

#[test]
fn a_call_is_held_to_its_own_deadline() {
    run(async {
        let silent = serve(|_| std::future::pending::<Response<Body>>()).await;
        let proxy = to_http2(silent);
        let mut request = grpc(empty());
        request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
        let started = Instant::now();
        let response = connect(proxy.web()).await.send_request(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "4");
        assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());

        // Also when it has begun to answer, for which it has time enough.
        let (_held, body) = stream();
        let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
        let begins = serve(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async move { Response::builder().header("content-type", "application/grpc").body(body).unwrap() }
        })
        .await;
        let proxy = to_http2(begins);
        let mut request = grpc(empty());
        request.headers_mut().insert("grpc-timeout", "2S".parse().unwrap());
        let response = connect(proxy.web()).await.send_request(request).await.unwrap();
        let trailers = response.into_body().collect().await.unwrap();
        assert_eq!(trailers.trailers().unwrap()["grpc-status"], "4");
    });
}

#[test]
fn a_cancelled_stream_is_cancelled_at_the_backend() {
    run(async {
        let (tell, mut told) = mpsc::channel(1);
        let backend = serve(move |request: Request<Incoming>| {
            let tell = tell.clone();
            async move {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {
                    tell.send("data").await.unwrap();
                }
                tell.send("gone").await.unwrap();
                std::future::pending::<Response<Body>>().await
            }
        })
        .await;
        let proxy = to_http2(backend);
        let (sender, body) = stream();
        let mut client = connect(proxy.web()).await;
        let call = tokio::spawn(async move { client.send_request(grpc(body)).await });
        sender.send(Ok(Frame::data("x".into()))).await.unwrap();
        assert_eq!(told.recv().await, Some("data"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(told.try_recv().is_err());
        call.abort();
        assert_eq!(told.recv().await, Some("gone"));
        drop(sender);
    });
}

/// Opens a WebSocket by extended CONNECT and echoes something through it.
async fn chat(proxy: &Proxy) {
    let mut client = connect(proxy.web()).await;
    // The server's SETTINGS must have come, or hyper does not know that it may.
    client.send_request(get("/")).await.unwrap();
    let request = Request::builder().method(Method::CONNECT).uri("http://a.example/chat");
    let request = request.extension(Protocol::from_static("websocket")).header("sec-websocket-version", "13");
    let mut response = client.send_request(request.body(empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    for size in [1, 125, 100_000] {
        let frame: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let mut echoed = vec![0; size];
        let (mut reader, mut writer) = tokio::io::split(&mut tunnel);
        let (read, written) = tokio::join!(reader.read_exact(&mut echoed), writer.write_all(&frame));
        read.unwrap();
        written.unwrap();
        assert_eq!(echoed, frame);
    }
}

#[test]
fn a_websocket_by_extended_connect_reaches_an_http1_backend() {
    run(async {
        let backend = Backend::start(|peer| {
            while let Some(head) = peer.head() {
                if head.get("upgrade") != Some("websocket") {
                    peer.write(&ok("hello")).unwrap();
                    continue;
                }
                assert!(head.line.starts_with("GET /chat "), "{head:?}");
                assert_eq!(head.get("sec-websocket-version"), Some("13"));
                let accept = accept(head.get("sec-websocket-key").unwrap());
                let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
                peer.write(format!("{switch}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes()).unwrap();
                let mut writer = peer.stream.get_ref().try_clone().unwrap();
                let _ = std::io::copy(&mut peer.stream, &mut writer);
                return;
            }
        });
        chat(&Proxy::to(backend.address)).await;
    });
}

#[test]
fn a_websocket_by_upgrade_reaches_an_http2_backend() {
    run(async {
        let proxy = to_http2(serve(echo_tunnel).await);
        let web = proxy.web();
        let chat = tokio::task::spawn_blocking(move || {
            let mut client = Client::connect(web);
            client.write(
                "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            );
            let reply = client.reply_head();
            assert_eq!(reply.status, 101, "{reply:?}");
            assert_eq!(reply.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            let mut echoed = [0; 4];
            std::io::Read::read_exact(&mut client.write("ping").stream, &mut echoed).unwrap();
            assert_eq!(&echoed, b"ping");
        });
        chat.await.unwrap();
    });
}

/// An HTTP/2 server's answer to extended CONNECT; a plain 200 to anything else.
async fn echo_tunnel(mut request: Request<Incoming>) -> Response<Body> {
    if request.method() == Method::CONNECT {
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        tokio::spawn(async move {
            let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut tunnel);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
    }
    Response::new(empty())
}

/// RFC 6455 §4.2.2.
fn accept(key: &str) -> String {
    let proof = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, proof.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

#[test]
fn a_websocket_by_extended_connect_reaches_an_http2_backend() {
    run(async {
        chat(&to_http2(serve(echo_tunnel).await)).await;
    });
}
