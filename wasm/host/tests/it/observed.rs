//! What is seen of filters: their series, and their spans in the traces of requests.

use std::time::Duration;

use outrigger_http::Request;
use outrigger_telemetry::Counter;
use outrigger_telemetry::span::{Attribute, Kind, Recording, SpanData, Spans};
use outrigger_telemetry::trace::TraceContext;
use serde_json::json;

use crate::calls::{ASKS, server};
use crate::guest::filter;
use crate::rig::{PATIENCE, Rig, get, ok, post, within};

/// Does what a request's field `x-do` says: traps, spins, or holds the request back until the next tick.
const OBEYS: &str = r#"
    (global $held (mut i32) (i32.const 0))
    (func $asked (param $first i32) (result i32)
      (i32.eq (i32.load8_u (i32.load (i32.const 8))) (local.get $first)))
    (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
      (if (call $get (i32.const 0) @"x-do" (i32.const 8) (i32.const 12)) (then (return (i32.const 0))))
      (if (call $asked (i32.const 116)) (then unreachable))
      (if (call $asked (i32.const 115)) (then (loop (br 0))))
      (if (call $asked (i32.const 97)) (then (call $respond (i32.const 403) @"no") (return (i32.const 1))))
      (global.set $held (local.get $id))
      (i32.const 1))
    (func (export "proxy_on_tick") (param i32)
      (if (global.get $held) (then
        (call $ok (call $effective (global.get $held)))
        (call $ok (call $resume (i32.const 0))))))"#;

fn asking(what: &str) -> Request {
    let mut request = get("/");
    request.head.headers.append(&"x-do".parse().unwrap(), what).unwrap();
    request
}

fn traced(mut request: Request, parent: &TraceContext) -> Request {
    request.ext.trace = Some(Box::new(parent.clone()));
    request
}

fn recording(rig: &Rig) -> Spans {
    rig.metrics.tracer().record(Recording { sample: 0.0, queue: 100, dropped: Counter::detached() })
}

/// The next span of a filter, with the text of its attributes.
async fn next(spans: &mut Spans) -> (SpanData, Vec<(&'static str, String)>) {
    let [span] = within(spans.batch(1, tokio::time::sleep(PATIENCE))).await.try_into().unwrap();
    let text = |attribute: &Attribute| match attribute {
        Attribute::Text(text) => text.to_string(),
        Attribute::Number(number) => number.to_string(),
    };
    let attributes = span.attributes.iter().map(|(name, value)| (*name, text(value))).collect();
    (*span, attributes)
}

#[tokio::test]
async fn streams_crashes_and_replacements_are_counted() {
    let rig = Rig::with(&filter(OBEYS), json!({ "failure": "closed" })).await;
    rig.get("/").await;
    rig.pass(asking("trap"), ok("")).await;
    rig.back().await;
    rig.pass(asking("spin"), ok("")).await;
    rig.back().await;
    rig.get("/").await;
    let shown = rig.metrics.render();
    for line in [
        "outrigger_wasm_streams_total{plugin=\"p\"} 4",
        "outrigger_wasm_crashes_total{plugin=\"p\",reason=\"trap\"} 1",
        "outrigger_wasm_crashes_total{plugin=\"p\",reason=\"timeout\"} 1",
        "outrigger_wasm_crashes_total{plugin=\"p\",reason=\"panic\"} 0",
        "outrigger_wasm_replaced_total{plugin=\"p\"} 2",
        "outrigger_wasm_held{plugin=\"p\"} 0",
    ] {
        assert!(shown.lines().any(|known| known == line), "{line} is not in\n{shown}");
    }
}

#[tokio::test]
async fn one_stream_in_sixteen_is_timed_over_all_its_callbacks() {
    let works = |callback: &str| {
        format!(
            r#"(func (export "{callback}") (param i32 i32 i32) (result i32) (local $since i64)
              (call $ok (call $time (i32.const 16)))
              (local.set $since (i64.load (i32.const 16)))
              (loop
                (call $ok (call $time (i32.const 16)))
                (br_if 0 (i64.lt_u (i64.sub (i64.load (i32.const 16)) (local.get $since)) (i64.const 2000000))))
              (i32.const 0))"#
        )
    };
    let both = works("proxy_on_request_headers") + &works("proxy_on_response_headers");
    let rig = Rig::with(&filter(&both), json!({ "deadline": "1s" })).await;
    for _ in 0..48 {
        rig.get("/").await;
    }
    let value = |name: &str| -> f64 {
        rig.value(&format!("outrigger_wasm_stream_seconds_{name}{{plugin=\"p\"}}")).parse().unwrap()
    };
    assert!((value("count") - 3.0).abs() < 0.1, "{}", value("count"));
    // Two callbacks of two milliseconds each.
    assert!(value("sum") >= 3.0 * 0.004, "{}", value("sum"));
}

#[tokio::test]
async fn what_is_held_back_is_counted_for_as_long() {
    let rig = Rig::with(&filter(OBEYS), json!({})).await;
    let mut visit = rig.visit();
    let mut request = asking("wait");
    tokio::select! {
        _ = visit.request(&mut request).taken() => panic!("nobody lets it go"),
        () = rig.until("outrigger_wasm_held{plugin=\"p\"} 1") => {}
    }
    drop(visit);
    rig.until("outrigger_wasm_held{plugin=\"p\"} 0").await;
    rig.until("outrigger_wasm_holds_total{plugin=\"p\"} 1").await;
}

#[tokio::test]
async fn a_head_held_back_for_its_body_is_one_message_with_it() {
    let code = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
          (i32.eqz (local.get $end)))"#;
    let rig = Rig::with(&filter(code), json!({ "body_before_head": true })).await;
    let passed = rig.pass(post(&["one", "two", "three"]), ok("")).await;
    assert_eq!(passed.sent.unwrap().text(), "onetwothree");
    assert_eq!(rig.value("outrigger_wasm_holds_total{plugin=\"p\"}"), "1");
    assert_eq!(rig.value("outrigger_wasm_held{plugin=\"p\"}"), "0");
}

#[tokio::test]
async fn a_traced_request_has_a_span_for_each_filter() {
    let rig = Rig::with(&filter(OBEYS), json!({})).await;
    let parent = TraceContext::root(true);
    rig.pass(traced(get("/"), &parent), ok("")).await;
    let mut spans = recording(&rig);
    rig.get("/").await;
    rig.pass(traced(get("/"), &TraceContext::root(false)), ok("")).await;
    rig.pass(traced(get("/"), &parent), ok("")).await;
    let (span, attributes) = next(&mut spans).await;
    assert_eq!(
        (&*span.name, span.kind, span.parent, span.context.trace_id),
        ("filter p", Kind::Internal, parent.span_id, parent.trace_id),
        "nobody traces the requests before"
    );
    assert_eq!((span.error, attributes), (None, vec![]));

    rig.pass(traced(asking("answer"), &parent), ok("")).await;
    let (span, attributes) = next(&mut spans).await;
    assert_eq!((span.error, attributes), (None, vec![("http.response.status_code", "403".into())]));
}

#[tokio::test]
async fn a_span_says_why_a_filter_failed() {
    let rig = Rig::with(&filter(OBEYS), json!({})).await;
    let mut spans = recording(&rig);
    let parent = TraceContext::root(true);
    for (what, why) in [
        ("trap", "it trapped: wasm trap: wasm `unreachable` instruction executed"),
        ("spin", "it computed for longer than its deadline of 5ms"),
    ] {
        rig.pass(traced(asking(what), &parent), ok("")).await;
        assert_eq!(next(&mut spans).await.0.error.as_deref(), Some(why));
        rig.back().await;
    }
    let asked = asking("wait");
    let waits = rig.pass(traced(asked, &parent), ok(""));
    let later = async {
        rig.until("outrigger_wasm_held{plugin=\"p\"} 1").await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
    };
    tokio::join!(waits, later);
    let (span, attributes) = next(&mut spans).await;
    assert_eq!(span.error.as_deref(), Some("it held a message back for a minute"));
    assert_eq!(attributes, [("wasm.held_by", "request_headers".into())]);
}

#[tokio::test]
async fn a_filter_that_is_out_is_shown_nothing_and_its_span_says_so() {
    let rig = Rig::with(&filter(OBEYS), json!({ "failure": "closed" })).await;
    for _ in 0..6 {
        rig.back().await;
        rig.pass(asking("trap"), ok("")).await;
    }
    let counts = || {
        ["streams_total", "stream_seconds_count"]
            .map(|name| rig.value(&format!("outrigger_wasm_{name}{{plugin=\"p\"}}")))
    };
    let before = counts();
    let mut spans = recording(&rig);
    for _ in 0..32 {
        let passed = rig.pass(traced(get("/"), &TraceContext::root(true)), ok("")).await;
        assert_eq!(passed.status(), 503);
        assert_eq!(next(&mut spans).await.0.error.as_deref(), Some("there is no instance of it"));
    }
    assert_eq!((&*before[0], &counts()), ("6", &before));
}

#[tokio::test]
async fn a_span_says_what_held_a_message_back() {
    let code = r#"
        (func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
          (i32.eqz (local.get $end)))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $tick (i32.const 1)))
          (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
          (call $ok (call $tick (i32.const 0)))
          (call $ok (call $effective (i32.const 2)))
          (call $ok (call $resume (i32.const 1))))"#;
    let rig = Rig::with(&filter(code), json!({})).await;
    let mut spans = recording(&rig);
    let passed = rig.pass(traced(post(&["one", "two", "three"]), &TraceContext::root(true)), ok("")).await;
    assert_eq!((passed.status(), rig.crashes()), (200, 0));
    let (_, attributes) = next(&mut spans).await;
    assert_eq!(attributes, [("wasm.held_by", "request_body,response_headers".into())]);
    rig.until("outrigger_wasm_holds_total{plugin=\"p\"} 2").await;
}

#[tokio::test]
async fn the_calls_of_a_filter_are_below_its_span() {
    let address = server("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nann").await;
    let rig = Rig::with(&filter(ASKS), json!({})).await.calling(address, "http1");
    let mut spans = recording(&rig);
    rig.pass(traced(get("/"), &TraceContext::root(true)), ok("")).await;
    let (call, (filter, held)) = (next(&mut spans).await.0, next(&mut spans).await);
    assert_eq!((call.kind, call.parent), (Kind::Client, filter.context.span_id));
    assert_eq!((&*filter.name, filter.error), ("filter p", None));
    assert_eq!(held, [("wasm.held_by", "request_headers".into())]);
}

#[tokio::test]
async fn a_connection_is_a_stream_too() {
    let rig = Rig::with(&filter(""), json!({})).await;
    drop(rig.plugins.modules()["p"].tap(&get("/").conn));
    rig.until("outrigger_wasm_streams_total{plugin=\"p\"} 1").await;
}
