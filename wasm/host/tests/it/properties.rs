//! Properties: every path there is in the documentation of hosts, and what filters set for each other.

use std::sync::Arc;

use http::StatusCode;
use outrigger_http::{FilterState, Request, Response, Upstream, reply};
use outrigger_net::tls::{PeerCertificate, TlsInfo};
use serde_json::json;

use crate::guest::{filter, filter_with};
use crate::rig::{Rig, get, ok, pieces_of, value, within};

/// Answers with the property a request's field `x-path` names, `|` standing for the separator; in the phase its field
/// `x-when` says. One that is not found is 404.
const ASKS: &str = r#"
    (func $ask (param $when i32)
      (local $at i32) (local $end i32)
      (if (call $get (i32.const 0) @"x-when" (i32.const 8) (i32.const 12)) (then unreachable))
      (if (i32.ne (i32.load8_u (i32.load (i32.const 8))) (local.get $when)) (then (return)))
      (call $ok (call $get (i32.const 0) @"x-path" (i32.const 8) (i32.const 12)))
      (local.set $at (i32.load (i32.const 8)))
      (local.set $end (i32.add (local.get $at) (i32.load (i32.const 12))))
      (loop
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 124)) (then (i32.store8 (local.get $at) (i32.const 0))))
        (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $end))))
      (if (call $property (call $got) (i32.const 16) (i32.const 20))
        (then (call $respond (i32.const 404) @"none") (return)))
      (call $respond (i32.const 200) (i32.load (i32.const 16)) (i32.load (i32.const 20))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $ask (i32.const 113)) (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
      (call $ask (i32.const 97)) (i32.const 0))"#;

/// When a property is asked for.
const QUESTION: &str = "question";
const ANSWER: &str = "answer";

fn secured(request: &mut Request) {
    let peer = PeerCertificate {
        der: b"certificate".to_vec().into(),
        uri_sans: vec!["spiffe://a/b".into()],
        dns_sans: vec!["peer.example".into()],
    };
    let tls =
        TlsInfo { version: "TLSv1.3", alpn: None, sni: Some("a.example".into()), peer: Some(Box::new(peer)) };
    Arc::get_mut(&mut request.conn).unwrap().tls = Some(tls);
}

fn answered() -> Response {
    let mut response = ok("hello");
    response.head.headers.append_static(&http::HeaderName::from_static("x-answer"), "42");
    response.head.headers.append_static(&http::HeaderName::from_static("grpc-status"), "5");
    response.head.headers.append_static(&reply::REASON, "no_route");
    response.upstream = Some(Arc::new(Upstream {
        cluster: "c".into(),
        endpoint: "127.0.0.1:8080".into(),
        local: Some("127.0.0.1:4321".parse().unwrap()),
        tls_version: Some("TLSv1.2"),
    }));
    response
}

/// `None` where it is not found.
async fn ask(rig: &Rig, when: &str, path: &str) -> Option<Vec<u8>> {
    let mut request = get("/p/a?q=1");
    secured(&mut request);
    for (name, value) in [
        ("x-path", path),
        ("x-when", when),
        ("x-request-id", "id-1"),
        ("referer", "https://b.example/"),
        ("user-agent", "test"),
    ] {
        request.head.headers.append(&name.parse().unwrap(), value).unwrap();
    }
    let mut visit = rig.visit();
    let mut response = match within(visit.request(&mut request).taken()).await {
        Some(answer) => answer,
        None => {
            let mut response = answered();
            within(visit.response(&mut response).taken()).await;
            response
        }
    };
    let body = crate::rig::read(std::mem::take(&mut response.body)).await.unwrap();
    (response.head.status == StatusCode::OK).then(|| body.frames.concat())
}

#[derive(Debug)]
enum Told {
    Text(&'static str),
    Number(u64),
    /// Eight bytes of a number that is another one each time.
    SomeNumber,
    /// A map with this in it.
    MapWith(&'static str),
    Nothing,
}

use Told::{MapWith, Nothing, Number, SomeNumber, Text};

/// Every path that proxy-wasm or Envoy documents. What is `Nothing` is so by design: `wasm/filters/README.md` says why.
const ALL: &[(&str, &str, Told)] = &[
    (QUESTION, "plugin_name", Text("p")),
    (QUESTION, "plugin_root_id", Text("r")),
    (QUESTION, "plugin_vm_id", Text("v")),
    (QUESTION, "listener_direction", Number(1)),
    (QUESTION, "route_name", Text("route")),
    (QUESTION, "cluster_name", Nothing),
    (ANSWER, "cluster_name", Text("c")),
    (QUESTION, "source|address", Text("127.0.0.1:1234")),
    (QUESTION, "source|port", Number(1234)),
    (QUESTION, "destination|address", Text("127.0.0.1:80")),
    (QUESTION, "destination|port", Number(80)),
    (QUESTION, "connection_id", Number(7)),
    (QUESTION, "connection|id", Number(7)),
    (QUESTION, "connection|mtls", Text("\u{1}")),
    (QUESTION, "connection|tls_version", Text("TLSv1.3")),
    (QUESTION, "connection|requested_server_name", Text("a.example")),
    (QUESTION, "connection|uri_san_peer_certificate", Text("spiffe://a/b")),
    (QUESTION, "connection|dns_san_peer_certificate", Text("peer.example")),
    (
        QUESTION,
        "connection|sha256_peer_certificate_digest",
        Text("03d66dd08835c1ca3f128cceacd1f31ac94163096b20f445ae84285bc0832d72"),
    ),
    (QUESTION, "connection|subject_peer_certificate", Nothing),
    (QUESTION, "connection|subject_local_certificate", Nothing),
    (QUESTION, "connection|uri_san_local_certificate", Nothing),
    (QUESTION, "connection|dns_san_local_certificate", Nothing),
    (QUESTION, "connection|termination_details", Nothing),
    (QUESTION, "upstream|address", Nothing),
    (ANSWER, "upstream|address", Text("127.0.0.1:8080")),
    (ANSWER, "upstream|port", Number(8080)),
    (QUESTION, "upstream|local_address", Nothing),
    (ANSWER, "upstream|local_address", Text("127.0.0.1:4321")),
    (ANSWER, "upstream|tls_version", Text("TLSv1.2")),
    (ANSWER, "upstream|subject_local_certificate", Nothing),
    (ANSWER, "upstream|subject_peer_certificate", Nothing),
    (ANSWER, "upstream|uri_san_local_certificate", Nothing),
    (ANSWER, "upstream|uri_san_peer_certificate", Nothing),
    (ANSWER, "upstream|dns_san_local_certificate", Nothing),
    (ANSWER, "upstream|dns_san_peer_certificate", Nothing),
    (ANSWER, "upstream|sha256_peer_certificate_digest", Nothing),
    (ANSWER, "upstream|transport_failure_reason", Nothing),
    (QUESTION, "request|path", Text("/p/a?q=1")),
    (QUESTION, "request|url_path", Text("/p/a")),
    (QUESTION, "request|query", Text("q=1")),
    (QUESTION, "request|host", Text("a.example")),
    (QUESTION, "request|scheme", Text("http")),
    (QUESTION, "request|method", Text("GET")),
    (QUESTION, "request|protocol", Text("HTTP/1.1")),
    (QUESTION, "request|id", Text("id-1")),
    (QUESTION, "request|referer", Text("https://b.example/")),
    (QUESTION, "request|useragent", Text("test")),
    (QUESTION, "request|headers|x-first", Text("1")),
    (QUESTION, "request|headers|x-none", Nothing),
    (QUESTION, "request|headers", MapWith("x-first")),
    (QUESTION, "request|time", SomeNumber),
    (QUESTION, "request|duration", SomeNumber),
    (QUESTION, "request|size", Number(0)),
    (QUESTION, "request|total_size", SomeNumber),
    (ANSWER, "request|path", Text("/p/a?q=1")),
    (QUESTION, "response|code", Nothing),
    (ANSWER, "response|code", Number(200)),
    (ANSWER, "response|code_details", Text("via_upstream")),
    (QUESTION, "response|flags", Nothing),
    (ANSWER, "response|flags", Number(0)),
    (ANSWER, "response|grpc_status", Number(5)),
    (ANSWER, "response|size", Number(0)),
    (ANSWER, "response|total_size", SomeNumber),
    (ANSWER, "response|headers|x-answer", Text("42")),
    (ANSWER, "response|headers", MapWith("x-answer")),
    (ANSWER, "response|trailers", Nothing),
    (QUESTION, "node", Nothing),
    (QUESTION, "node|id", Nothing),
    (QUESTION, "metadata", Nothing),
    (QUESTION, "metadata|filter_metadata|x", Nothing),
    (QUESTION, "route_metadata", Nothing),
    (QUESTION, "cluster_metadata", Nothing),
    (QUESTION, "listener_metadata", Nothing),
    (QUESTION, "upstream_host_metadata", Nothing),
    (QUESTION, "xds|cluster_name", Nothing),
    (QUESTION, "xds|route_metadata", Nothing),
    (QUESTION, "filter_state|envoy.anything", Nothing),
    (QUESTION, "filter_state|wasm.unset", Nothing),
    (QUESTION, "upstream_filter_state|wasm.x", Nothing),
    (QUESTION, "no|such", Nothing),
];

#[tokio::test]
async fn every_documented_path_is_told_or_not_found() {
    let rig = Rig::with(&filter(ASKS), json!({ "root_id": "r", "vm_id": "v" })).await;
    for (when, path, told) in ALL {
        let value = ask(&rig, when, path).await;
        let shown = value.as_deref().map(String::from_utf8_lossy);
        let is_right = match told {
            Text(text) => value.as_deref() == Some(text.as_bytes()),
            Number(number) => value.as_deref() == Some(number.to_le_bytes().as_slice()),
            SomeNumber => value.as_ref().is_some_and(|value| value.len() == 8 && *value != [0; 8]),
            MapWith(name) => shown.as_ref().is_some_and(|map| map.contains(name)),
            Nothing => value.is_none(),
        };
        assert!(is_right, "{when} {path}: {told:?}, not {shown:?}");
        // Some SDKs end a path with the separator.
        assert_eq!(ask(&rig, when, &format!("{path}|")).await.is_some(), value.is_some(), "{path}|");
    }
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn an_answer_of_ours_has_its_reason_for_details_and_flags() {
    let rig = Rig::with(&filter(ASKS), json!({})).await;
    let told = async |path: &str, reason: Option<&'static str>| {
        let mut request = get("/");
        request.head.headers.append(&"x-when".parse().unwrap(), "answer").unwrap();
        request.head.headers.append(&"x-path".parse().unwrap(), path).unwrap();
        let mut response = ok("");
        if let Some(reason) = reason {
            response.head.headers.append_static(&reply::REASON, reason);
        }
        let passed = rig.pass(request, response).await;
        passed.body.as_ref().filter(|_| passed.status() == 200).map(|body| body.frames.concat())
    };
    assert_eq!(
        told("response|code_details", Some("no_endpoint")).await.as_deref(),
        Some(&b"no_endpoint"[..])
    );
    assert_eq!(told("response|code_details", None).await, None);
    for (reason, bit) in [
        ("no_endpoint", 1),
        ("timeout", 2),
        ("upstream_refused", 4),
        ("connect_failed", 5),
        ("upstream_reset", 6),
        ("breaker_open", 7),
        ("no_route", 8),
        ("fault_injected", 10),
        ("rate_limited", 11),
        ("upstream_protocol", 23),
    ] {
        let flags = told("response|flags", Some(reason)).await.unwrap();
        assert_eq!(flags, (1_u64 << bit).to_le_bytes(), "{reason}");
    }
    assert_eq!(told("response|flags", Some("filter_failed")).await.unwrap(), [0; 8]);
}

/// Sets what its configuration says in the phase of its first letter, and shows in `x-NAME` what it finds when a response
/// comes back.
const SETS: &str = r#"
    (func $set (param $when i32)
      (call $ok (call $bytes (i32.const 7) (i32.const 0) (i32.const 100) (i32.const 8) (i32.const 12)))
      (if (i32.ne (i32.load8_u (i32.load (i32.const 8))) (local.get $when)) (then (return)))
      (call $ok (call $set_property @"mine" (call $got)))
      (call $ok (call $set_property @"route_name" @"forged"))
      (call $ok (call $set_property @"metadata\00x" @"forged")))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $set (i32.const 113))
      (if (i32.eqz (call $property @"mine" (i32.const 8) (i32.const 12)))
        (then (call $ok (call $add (i32.const 0) @"x-seen" (call $got)))))
      (i32.const 0))
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
      (call $set (i32.const 98)) (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
      (call $set (i32.const 97))
      (call $is (call $property @"metadata\00x" (i32.const 8) (i32.const 12)) (i32.const 1))
      (call $ok (call $property @"route_name" (i32.const 8) (i32.const 12)))
      (call $ok (call $add (i32.const 2) @"x-route" (call $got)))
      (if (i32.eqz (call $property @"filter_state\00wasm.mine" (i32.const 8) (i32.const 12)))
        (then (call $ok (call $add (i32.const 2) @"x-seen" (call $got)))))
      (i32.const 0))"#;

/// One request through both filters and back, with what they saw on the way, and what stays.
async fn through(rig: &Rig) -> (Option<String>, Option<String>, Option<Arc<FilterState>>) {
    let (mut first, mut second) = (rig.visit_of("first"), rig.visit_of("second"));
    let mut request = get("/");
    request.body = pieces_of(&["x"], None);
    assert!(within(first.request(&mut request).taken()).await.is_none());
    assert!(within(second.request(&mut request).taken()).await.is_none());
    crate::rig::read(std::mem::take(&mut request.body)).await.unwrap();
    let mut response = ok("");
    within(second.response(&mut response).taken()).await;
    within(first.response(&mut response).taken()).await;
    assert_eq!(value(&response.head.headers, "x-route").as_deref(), Some("route, route"), "nobody forges it");
    let (asked, told) = (value(&request.head.headers, "x-seen"), value(&response.head.headers, "x-seen"));
    (asked, told, request.ext.state)
}

#[tokio::test]
async fn what_one_filter_sets_all_of_the_request_read() {
    for (first, second, asked, told, left) in [
        ("question", "", Some("question, question"), Some("question, question"), Some("question")),
        ("", "question", Some("question"), Some("question, question"), Some("question")),
        ("body", "", None, Some("body, body"), Some("body")),
        ("", "answer", None, Some("answer, answer"), Some("answer")),
        // The second is the first to see the response.
        ("answer", "", None, Some("answer"), Some("answer")),
        ("", "", None, None, None),
    ] {
        let mut rig = Rig::empty();
        std::fs::write(rig.file("m.wasm"), filter(SETS)).unwrap();
        let plugin = |config: &str| json!({ "file": rig.file("m.wasm"), "config": config });
        rig.apply(json!({ "plugins": { "first": plugin(first), "second": plugin(second) } })).await.unwrap();
        let seen = through(&rig).await;
        assert_eq!((seen.0.as_deref(), seen.1.as_deref()), (asked, told), "{first} {second}");
        let set = seen.2.unwrap().get(b"mine");
        assert_eq!(set.as_deref(), left.map(str::as_bytes), "what the access log reads");
        assert_eq!(through(&rig).await.0.as_deref(), asked, "the next request begins anew");
        assert_eq!((rig.crashes_of("first"), rig.crashes_of("second")), (0, 0));
    }
}

#[tokio::test]
async fn a_filter_without_properties_has_no_part_in_them() {
    let rig = Rig::with(
        &wat::parse_str(r#"(module (func (export "proxy_abi_version_0_2_1")))"#).unwrap(),
        json!({}),
    )
    .await;
    let mut request = get("/");
    assert!(rig.visit().request(&mut request).taken().await.is_none());
    assert!(request.ext.state.is_none());
}

#[tokio::test]
async fn a_timer_sets_nothing() {
    let import = r#"(import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))"#;
    let code = r#"
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $ok (call $tick (i32.const 1))) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
          (call $is (call $set_property @"mine" @"x") (i32.const 1))
          (call $is (call $property @"mine" (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $ok (call $tick (i32.const 0)))
          (call $ok (call $define_metric (i32.const 0) @"ticked" (i32.const 32)))
          (call $ok (call $increment (i32.load (i32.const 32)) (i64.const 1))))"#;
    let rig = Rig::with(&filter_with(import, code), json!({})).await;
    rig.until("outrigger_wasm_custom_ticked_total 1").await;
    assert_eq!(rig.crashes(), 0);
}
