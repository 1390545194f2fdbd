//! What is seen of functions: their lines, series and spans.

use outrigger_blocks::Caller;
use outrigger_blocks::function::Door;
use outrigger_telemetry::span::{Attribute, Recording};
use outrigger_telemetry::trace::TraceContext;
use serde_json::json;

use super::component::{http, http_with};
use super::rig::{Rig, ask, post, told};
use crate::rig::within;

/// Writes what it is sent to its standard error, and traps at `!`.
fn writer() -> Vec<u8> {
    let besides = r#"
        (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $put (param i32 i32 i32 i32)))"#;
    let code = r#"
        (call $put (call $stderr) (local.get $body) (local.get $body_n) (i32.const 64))
        (if (i32.eq (i32.load8_u (local.get $body)) (i32.const 33)) (then unreachable))
        (call $reply (i32.const 200) @"")"#;
    http_with("import wasi:cli/stderr@0.2.0; import wasi:io/streams@0.2.0;", besides, code)
}

#[tokio::test]
async fn standard_error_is_its_log_and_so_is_why_it_failed() {
    let rig = Rig::new();
    let function = rig.load(&writer(), json!({})).await.unwrap();
    told(&function, "one\ntwo").await.unwrap();
    assert_eq!(rig.lines(), [("stderr", "one".to_owned()), ("stderr", "two".to_owned())]);
    let told = told(&function, "!panicked at main.py\nboom\nnote: look there\n").await.unwrap_err();
    assert!(!told.message().contains("boom"), "{told}");
    let lines = rig.lines();
    let of = |level| lines.iter().skip(2).find(|line| line.0 == level).map(|line| line.1.as_str());
    assert_eq!(of("stderr"), Some("!panicked at main.py"));
    let error = of("error").unwrap();
    assert!(
        error.starts_with("a call failed: it trapped: ") && error.ends_with("; it said last: boom"),
        "{error}"
    );
}

#[tokio::test]
async fn calls_are_counted_by_how_they_ended() {
    let rig = Rig::new();
    let code = "(if (i32.eq (local.get $body_n) (i32.const 1)) (then unreachable))
        (call $reply (select (i32.const 503) (i32.const 204) (local.get $body_n)) @\"\")";
    let function = rig.load(&http(code), json!({})).await.unwrap();
    ask(&function, post("/", "")).await.unwrap();
    ask(&function, post("/", "")).await.unwrap();
    ask(&function, post("/", "ab")).await.unwrap();
    told(&function, "a").await.unwrap_err();
    for (result, count) in [("ok", 2), ("error", 1), ("crashed", 1)] {
        let labels = format!("function=\"f\",version=\"v1\",trigger=\"http\",result=\"{result}\"");
        rig.until(&format!("outrigger_function_calls_total{{{labels}}} {count}")).await;
    }
    rig.until("outrigger_function_seconds_count{function=\"f\",trigger=\"http\"} 4").await;
}

#[tokio::test]
async fn a_call_has_a_span_below_its_callers() {
    let rig = Rig::new();
    let dropped = rig.metrics.counter("outrigger_dropped_total", "D.", &[]).with(&[]);
    let mut spans = rig.metrics.tracer().record(Recording { sample: 0.0, queue: 10, dropped });
    let function = rig.load(&http("(call $reply (i32.const 200) @\"\")"), json!({})).await.unwrap();
    let parent = TraceContext::root(true);
    let caller = Caller { trace: Some(parent.clone()), ..Caller::new("shop") };
    within(function.serve(&caller, Door::Route, post("/", ""))).await.unwrap();
    told(&function, "").await.unwrap();
    let mut batch = within(spans.batch(2, async {})).await;
    assert_eq!(batch.len(), 1, "nobody traces the other call");
    let span = batch.remove(0);
    assert_eq!(
        (&*span.name, span.parent, span.context.trace_id),
        ("function f", parent.span_id, parent.trace_id)
    );
    assert!(span.attributes.contains(&("faas.version", Attribute::Text("v1".into()))));
    assert_eq!(span.error, None);
}
