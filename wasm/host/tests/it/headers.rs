//! Heads: what a filter reads and changes of them, and answers it gives itself.

use http::header::UPGRADE;
use http::{Method, StatusCode};
use outrigger_http::{Response, Target, Tunnel};
use serde_json::json;

use crate::guest::{filter, filter_of};
use crate::rig::{Rig, get, ok, pieces_of, within};

#[tokio::test]
async fn a_filter_reads_and_changes_both_heads() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_request_headers") (param $id i32) (param $n i32) (param $end i32) (result i32)
          (call $is (local.get $n) (i32.const 5))
          (call $is (local.get $end) (i32.const 1))
          (call $ok (call $get (i32.const 0) @":path" (i32.const 8) (i32.const 12)))
          (call $ok (call $add (i32.const 0) @"x-path" (call $got)))
          (call $ok (call $replace (i32.const 0) @"X-First" @"2"))
          (call $ok (call $replace (i32.const 0) @":path" @"/rewritten"))
          (call $is (call $get (i32.const 0) @"x-none" (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $ok (call $remove (i32.const 0) @"x-none"))
          (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $get (i32.const 0) @"x-path" (i32.const 8) (i32.const 12)))
          (call $ok (call $add (i32.const 2) @"x-was" (call $got)))
          (call $ok (call $replace (i32.const 2) @":status" @"201"))
          (call $is (call $add (i32.const 0) @"x-late" @"1") (i32.const 2))
          (call $is (call $add (i32.const 1) @"x-trailer" @"1") (i32.const 2))
          (call $is (call $get (i32.const 9) @"x" (i32.const 8) (i32.const 12)) (i32.const 2))
          (i32.const 0))"#,
        ),
        json!({}),
    )
    .await;
    let passed = rig.get("/original?q").await;
    assert_eq!(rig.crashes(), 0);
    assert_eq!(passed.request.path_and_query(), "/rewritten");
    assert_eq!(
        (passed.asked("x-path").as_deref(), passed.asked("x-first").as_deref()),
        (Some("/original?q"), Some("2"))
    );
    assert_eq!((passed.status(), passed.told("x-was").as_deref()), (201, Some("/original?q")));
    assert_eq!(passed.text(), "hello");
}

#[tokio::test]
async fn a_whole_map_is_read_and_written() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $map_size (i32.const 0) (i32.const 16)))
          (call $ok (call $pairs (i32.const 0) (i32.const 8) (i32.const 12)))
          (call $is (i32.load (i32.const 16)) (i32.load (i32.const 12)))
          (call $is (i32.load (i32.load (i32.const 8))) (i32.const 5))
          (call $ok (call $set_pairs (i32.const 0) (call $got)))
          (call $is (call $set_pairs (i32.const 0) @"\01\00\00\00lies") (i32.const 4))
          (call $is (call $set_pairs (i32.const 6) (call $got)) (i32.const 2))
          (i32.const 0))"#,
        ),
        json!({}),
    )
    .await;
    let passed = rig.get("/p").await;
    assert_eq!(rig.crashes(), 0);
    assert_eq!((passed.request.path_and_query(), passed.asked("x-first").as_deref()), ("/p", Some("1")));
}

const ANSWERS: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $ok (call $answer (i32.const 403) @"details" @"forbidden" (i32.const 0) (i32.const 0) (i32.const -1)))
      (call $respond (i32.const 500) @"a second answer is harmless")
      (i32.const 1))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
      (call $ok (call $add (i32.const 2) @"x-seen" @"1"))
      (i32.const 0))"#;

#[tokio::test]
async fn a_filter_answers_a_request_itself() {
    let rig = Rig::with(&filter(ANSWERS), json!({})).await;
    let passed = rig.get("/").await;
    assert!(!passed.forwarded);
    assert_eq!((passed.status(), passed.text().as_str()), (403, "forbidden"));
    assert_eq!(passed.told("x-seen").as_deref(), Some("1"), "its answer comes back by it");
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn a_grpc_client_is_told_in_its_own_terms() {
    let rig = Rig::with(&filter(ANSWERS), json!({})).await;
    let mut request = get("/s/M");
    request.head.headers.append_static(&http::header::CONTENT_TYPE, "application/grpc");
    let passed = rig.pass(request, ok("")).await;
    assert_eq!((passed.status(), passed.told("grpc-status").as_deref()), (200, Some("7")));
    assert_eq!(passed.told("grpc-message").as_deref(), Some("forbidden"));
}

#[tokio::test]
async fn a_response_can_be_replaced_before_its_head_leaves() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (call $respond (i32.const 418) @"teapot")
          (i32.const 1))
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) unreachable)"#,
        ),
        json!({}),
    )
    .await;
    let passed = rig.get("/").await;
    assert!(passed.forwarded);
    assert_eq!((passed.status(), passed.text().as_str(), rig.crashes()), (418, "teapot", 0));
}

/// Sets what it has got, then tries what cannot be.
const SETS: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $ok (call $pairs (i32.const 0) (i32.const 8) (i32.const 12)))
      (call $ok (call $set_pairs (i32.const 0) (call $got)))
      (call $is (call $set_pairs (i32.const 0) @"\01\00\00\00\05\00\00\00\01\00\00\00:path\00x\00") (i32.const 2))
      (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
      (call $ok (call $pairs (i32.const 2) (i32.const 8) (i32.const 12)))
      (call $ok (call $set_pairs (i32.const 2) (call $got)))
      (call $is (call $set_pairs (i32.const 2) @"\01\00\00\00\03\00\00\00\01\00\00\00a b\00x\00") (i32.const 2))
      (i32.const 0))"#;

#[tokio::test]
async fn a_head_is_set_as_it_was_or_not_at_all() {
    let rig = Rig::with(&filter(SETS), json!({})).await;
    let mut request = get("/");
    (request.head.method, request.head.target) = (Method::OPTIONS, Target::Asterisk);
    let mut response = Response::status(StatusCode::SWITCHING_PROTOCOLS);
    response.head.headers.append_static(&UPGRADE, "websocket");
    let passed = rig.pass(request, response).await;
    assert_eq!(rig.crashes(), 0);
    assert_eq!(
        (passed.request.target.clone(), passed.asked("x-first").as_deref()),
        (Target::Asterisk, Some("1"))
    );
    assert_eq!((passed.status(), passed.told("upgrade").as_deref()), (101, Some("websocket")));
}

/// Whether the tunnel of a response with this status is still there when the filter has seen it.
async fn is_open(rig: &Rig, from: StatusCode) -> bool {
    let mut visit = rig.visit();
    assert!(within(visit.request(&mut get("/")).taken()).await.is_none());
    let mut response = Response::status(from);
    response.tunnel = Some(Tunnel::new(tokio::io::duplex(1).0));
    within(visit.response(&mut response).taken()).await;
    response.tunnel.is_some()
}

#[tokio::test]
async fn a_filter_refuses_a_tunnel_by_its_status() {
    for (from, to, open) in [
        (101, "101", true),
        (101, "403", false),
        (101, "200", false),
        (200, "201", true),
        (200, "403", false),
    ] {
        let code = format!(
            r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
              (call $ok (call $add (i32.const 2) @"x-seen" @"1"))
              (call $ok (call $replace (i32.const 2) @":status" @"{to}"))
              (i32.const 0))"#
        );
        let rig = Rig::with(&filter(&code), json!({})).await;
        assert_eq!(is_open(&rig, StatusCode::from_u16(from).unwrap()).await, open, "{from} {to}");
        assert_eq!(rig.crashes(), 0);
    }
}

#[tokio::test]
async fn a_closed_stream_is_an_error_to_the_client() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $close (i32.const 0)))
          (call $is (call $close (i32.const 7)) (i32.const 2))
          (i32.const 1))"#,
        ),
        json!({}),
    )
    .await;
    let passed = rig.get("/").await;
    assert_eq!((passed.forwarded, passed.status(), rig.crashes()), (false, 503, 0));
}

#[tokio::test]
async fn older_versions_are_spoken_too() {
    let old = r#"
        (import "env" "proxy_continue_request" (func $go (result i32)))
        (func (export "proxy_abi_version_0_1_0"))
        (memory (export "memory") 1)
        (global $heap (mut i32) (i32.const 1024))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (global.get $heap))
        (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
          (drop (call $go))
          (i32.const 1))
        (func (export "proxy_on_response_headers") (param i32 i32) (result i32) (i32.const 0))"#;
    let rig = Rig::with(&wat::parse_str(format!("(module {old})")).unwrap(), json!({})).await;
    let passed = rig.get("/").await;
    assert_eq!((passed.forwarded, passed.status(), rig.crashes()), (true, 200, 0));

    let absent = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $add (i32.const 0) @"x-status" @"STATUS"))
          (call $is (call $get (i32.const 0) @"absent" (i32.const 8) (i32.const 12)) (i32.const STATUS))
          (i32.const 0))"#;
    for (version, status) in [("0_1_0", "0"), ("0_2_0", "1"), ("0_2_1", "1")] {
        let code = absent.replace("STATUS", status);
        let code =
            if version == "0_1_0" { code.replace("(param i32 i32 i32)", "(param i32 i32)") } else { code };
        let rig = Rig::with(&filter_of(version, &code), json!({})).await;
        assert_eq!(rig.get("/").await.asked("x-status").as_deref(), Some(status), "{version}");
    }
}

#[tokio::test]
async fn trailers_are_headers_too() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_response_trailers") (param $id i32) (param $n i32) (result i32)
          (call $is (local.get $n) (i32.const 1))
          (call $ok (call $get (i32.const 3) @"x-sum" (i32.const 8) (i32.const 12)))
          (call $ok (call $add (i32.const 3) @"x-copy" (call $got)))
          (i32.const 0))"#,
        ),
        json!({}),
    )
    .await;
    let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), http::HeaderValue::from(5))]);
    let mut response = ok("");
    response.body = pieces_of(&["hello"], Some(trailers));
    let passed = rig.pass(get("/"), response).await;
    assert_eq!((passed.text().as_str(), rig.crashes()), ("hello", 0));
    let trailers = passed.body.unwrap().trailers.unwrap();
    assert!(trailers["x-sum"] == "5" && trailers["x-copy"] == "5", "{trailers:?}");
}

#[tokio::test]
async fn properties_tell_of_request_connection_and_plugin() {
    let rig = Rig::with(
        &filter(
            r#"
        (func $copy (param i32 i32 i32 i32)
          (call $ok (call $property (local.get 0) (local.get 1) (i32.const 8) (i32.const 12)))
          (call $ok (call $add (i32.const 0) (local.get 2) (local.get 3) (call $got))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $copy @"plugin_root_id" @"x-root")
          (call $copy @"plugin_name" @"x-name")
          (call $copy @"plugin_vm_id" @"x-vm")
          (call $copy @"route_name" @"x-route")
          (call $copy @"request\00path" @"x-path")
          (call $copy @"request\00headers\00x-first" @"x-header")
          (call $copy @"source\00address" @"x-source")
          (call $ok (call $property @"source\00port" (i32.const 8) (i32.const 12)))
          (call $is (i32.load (i32.const 12)) (i32.const 8))
          (call $is (i32.load (i32.load (i32.const 8))) (i32.const 1234))
          (call $is (call $property @"no\00such" (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $is (call $property @"response\00code" (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $ok (call $set_property @"mine" @"kept"))
          (call $copy @"mine" @"x-mine")
          (call $is (call $foreign @"nobody" @"" (i32.const 8) (i32.const 12)) (i32.const 1))
          (i32.const 0))"#,
        ),
        json!({ "root_id": "r", "vm_id": "v" }),
    )
    .await;
    let passed = rig.get("/a?b").await;
    assert_eq!(rig.crashes(), 0);
    for (name, expected) in [
        ("x-root", "r"),
        ("x-name", "p"),
        ("x-vm", "v"),
        ("x-route", "route"),
        ("x-path", "/a?b"),
        ("x-header", "1"),
        ("x-source", "127.0.0.1:1234"),
        ("x-mine", "kept"),
    ] {
        assert_eq!(passed.asked(name).as_deref(), Some(expected), "{name}");
    }
}
