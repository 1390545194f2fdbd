//! Calls a filter makes while a request waits.

use std::net::SocketAddr;

use outrigger_telemetry::Counter;
use outrigger_telemetry::span::Recording;
use outrigger_telemetry::trace::TraceContext;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::guest::filter;
use crate::rig::{Rig, get, ok};

/// Answers every connection's first request with this.
pub(crate) async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(text.starts_with("POST /check HTTP/1.1\r\n") && text.ends_with("body"), "{text}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

/// Asks `c`, and lets the request go when the answer is 200.
pub(crate) const ASKS: &str = r#"
    (global $plugin (mut i32) (i32.const 0))
    (func (export "proxy_on_context_create") (param $id i32) (param $parent i32)
      (if (i32.eqz (local.get $parent)) (then (global.set $plugin (local.get $id)))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $is (call $http_call @"nobody" @"" @"" @"" (i32.const 1000) (i32.const 16)) (i32.const 2))
      (call $is (call $http_call @"c" @"" @"" @"" (i32.const 1000) (i32.const 16)) (i32.const 2))
      (call $ok (call $http_call @"c"
        @"\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\05\00\00\00:method\00POST\00:path\00/check\00:authority\00check\00"
        @"body" @"" (i32.const 60000) (i32.const 16)))
      (i32.const 1))
    (func (export "proxy_on_http_call_response")
      (param $id i32) (param $token i32) (param $headers i32) (param $body i32) (param $trailers i32)
      (call $is (local.get $token) (i32.load (i32.const 16)))
      (call $is (local.get $id) (global.get $plugin))
      (if (i32.eqz (local.get $headers)) (then (call $respond (i32.const 502) @"no answer") (return)))
      (call $ok (call $get (i32.const 6) @":status" (i32.const 8) (i32.const 12)))
      (if (i32.ne (i32.load8_u (i32.load (i32.const 8))) (i32.const 50))
        (then (call $respond (i32.const 403) @"forbidden") (return)))
      (call $ok (call $bytes (i32.const 4) (i32.const 0) (local.get $body) (i32.const 8) (i32.const 12)))
      (call $ok (call $add (i32.const 0) @"x-user" (call $got)))
      (call $ok (call $resume (i32.const 0))))"#;

#[tokio::test]
async fn a_request_waits_for_the_answer_to_a_call() {
    let address = server("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nann").await;
    let rig = Rig::with(&filter(ASKS), json!({})).await.calling(address, "http1");
    let passed = rig.get("/").await;
    assert_eq!(rig.crashes(), 0);
    assert_eq!((passed.forwarded, passed.asked("x-user").as_deref()), (true, Some("ann")));

    let address = server("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let rig = Rig::with(&filter(ASKS), json!({})).await.calling(address, "http1");
    let passed = rig.get("/").await;
    assert_eq!((passed.forwarded, passed.status(), passed.text().as_str()), (false, 403, "forbidden"));
}

/// Says which span a request is below.
async fn traced() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let parent = text.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap_or("none");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{parent}",
                parent.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_call_is_in_the_trace_of_its_request() {
    let rig = Rig::with(&filter(ASKS), json!({})).await.calling(traced().await, "http1");
    let request = TraceContext::root(true);
    let asked = async |trace: &TraceContext| {
        let mut visited = get("/");
        visited.ext.trace = Some(Box::new(trace.clone()));
        rig.pass(visited, ok("")).await.asked("x-user").unwrap()
    };
    assert_eq!(asked(&request).await, "none", "nobody records");
    let recording = Recording { sample: 1.0, queue: 10, dropped: Counter::detached() };
    let _spans = rig.metrics.tracer().record(recording);
    let call = TraceContext::parse(&asked(&request).await).unwrap();
    assert_eq!(call.trace_id, request.trace_id);
    assert_ne!(call.span_id, request.span_id, "it has a span of its own");
    let unsampled = TraceContext::root(false);
    assert_eq!(asked(&unsampled).await, "none");
}

#[tokio::test]
async fn a_call_without_an_answer_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let rig = Rig::with(&filter(ASKS), json!({})).await.calling(address, "http1");
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (502, 0));
}

/// Speaks just enough gRPC: each message of a call comes back, then the status the path asks for.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(serve(request, respond));
                }
            });
        }
    });
    address
}

async fn serve(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<bytes::Bytes>) {
    let headers = request.headers();
    assert_eq!(
        (&headers["content-type"], &headers["x-meta"]),
        (&"application/grpc".parse().unwrap(), &"1".parse().unwrap())
    );
    let status = if request.uri().path() == "/echo.Echo/Say" { "0" } else { "7" };
    let response = http::Response::builder().header("x-initial", "a").body(()).unwrap();
    let mut send = respond.send_response(response, false).unwrap();
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        send.send_data(data, false).unwrap();
    }
    let trailers = [("grpc-status", status), ("grpc-message", "as asked")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    send.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
}

/// Calls `METHOD` once, and answers with the message or the status.
const GRPC_CALL: &str = r#"
    (global $plugin (mut i32) (i32.const 0))
    (func (export "proxy_on_context_create") (param $id i32) (param $parent i32)
      (if (i32.eqz (local.get $parent)) (then (global.set $plugin (local.get $id)))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $is (call $grpc_call @"nobody" @"echo.Echo" @"Say" @"" @"" (i32.const 1000) (i32.const 16)) (i32.const 4))
      (call $ok (call $grpc_call @"c" @"echo.Echo" @"METHOD" @"\01\00\00\00\06\00\00\00\01\00\00\00x-meta\001\00" @"message"
        (i32.const 5000) (i32.const 16)))
      (i32.const 1))
    (func (export "proxy_on_grpc_receive") (param $id i32) (param $token i32) (param $size i32)
      (call $is (local.get $id) (global.get $plugin))
      (call $is (local.get $token) (i32.load (i32.const 16)))
      (call $ok (call $bytes (i32.const 5) (i32.const 0) (local.get $size) (i32.const 8) (i32.const 12)))
      (call $respond (i32.const 200) (call $got)))
    (func (export "proxy_on_grpc_close") (param $id i32) (param $token i32) (param $status i32)
      (call $is (local.get $id) (global.get $plugin))
      (call $ok (call $status (i32.const 24) (i32.const 8) (i32.const 12)))
      (call $is (i32.load (i32.const 24)) (local.get $status))
      (call $respond (i32.add (i32.const 400) (local.get $status)) (call $got)))"#;

#[tokio::test]
async fn a_grpc_call_brings_a_message_or_a_status() {
    let address = echo().await;
    let rig =
        Rig::with(&filter(&GRPC_CALL.replace("METHOD", "Say")), json!({})).await.calling(address, "http2");
    let passed = rig.get("/").await;
    assert_eq!((passed.status(), passed.text().as_str(), rig.crashes()), (200, "message", 0));
    let rig =
        Rig::with(&filter(&GRPC_CALL.replace("METHOD", "Fail")), json!({})).await.calling(address, "http2");
    let passed = rig.get("/").await;
    assert_eq!((passed.status(), passed.text().as_str(), rig.crashes()), (407, "as asked", 0));
}

/// Sends two messages, closes, and lets the request go once everything has come back in order.
const GRPC_STREAM: &str = r#"
    (global $waiting (mut i32) (i32.const 0))
    (global $steps (mut i32) (i32.const 0))
    (func $step (param i32)
      (global.set $steps (i32.add (i32.mul (global.get $steps) (i32.const 10)) (local.get 0))))
    (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
      (global.set $waiting (local.get $id))
      (call $ok (call $grpc_stream @"c" @"echo.Echo" @"Say" @"\01\00\00\00\06\00\00\00\01\00\00\00x-meta\001\00" (i32.const 16)))
      (call $ok (call $grpc_send (i32.load (i32.const 16)) @"one" (i32.const 0)))
      (call $ok (call $grpc_send (i32.load (i32.const 16)) @"three" (i32.const 1)))
      (call $is (call $grpc_send (i32.load (i32.const 16)) @"late" (i32.const 0)) (i32.const 2))
      (i32.const 1))
    (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32) (param $n i32)
      (call $ok (call $get (i32.const 4) @"x-initial" (i32.const 8) (i32.const 12)))
      (call $step (i32.const 1)))
    (func (export "proxy_on_grpc_receive") (param i32 i32) (param $size i32) (call $step (local.get $size)))
    (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32) (param $n i32)
      (call $ok (call $get (i32.const 5) @"grpc-message" (i32.const 8) (i32.const 12)))
      (call $step (i32.const 2)))
    (func (export "proxy_on_grpc_close") (param i32 i32) (param $status i32)
      (call $is (global.get $steps) (i32.const 1352))
      (call $is (call $grpc_cancel (i32.load (i32.const 16))) (i32.const 1))
      (call $respond (i32.const 202) @"all of it"))"#;

#[tokio::test]
async fn a_grpc_stream_is_told_in_order() {
    let rig = Rig::with(&filter(GRPC_STREAM), json!({})).await.calling(echo().await, "http2");
    let passed = rig.get("/").await;
    assert_eq!((passed.status(), passed.text().as_str(), rig.crashes()), (202, "all of it", 0));
}

#[tokio::test]
async fn calls_of_one_context_are_bounded_and_end_with_it() {
    let code = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (local $n i32)
      (loop
        (call $ok (call $grpc_stream @"c" @"echo.Echo" @"Say" @"\01\00\00\00\06\00\00\00\01\00\00\00x-meta\001\00" (i32.const 16)))
        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 8))))
      (call $is (call $grpc_stream @"c" @"echo.Echo" @"Say" @"" (i32.const 16)) (i32.const 10))
      (i32.const 0))
    (func (export "proxy_on_grpc_close") (param i32 i32 i32) unreachable)"#;
    let rig = Rig::with(&filter(code), json!({})).await.calling(echo().await, "http2");
    for _ in 0..3 {
        assert!(rig.get("/").await.forwarded);
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(rig.crashes(), 0, "nothing is told to a context that is no more");
}
