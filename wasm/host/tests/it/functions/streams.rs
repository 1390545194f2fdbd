//! Components of `wasi:http`: bodies pass while they come.

use std::time::Duration;

use http::{HeaderMap, Request};
use http_body::Frame;
use outrigger_blocks::function::Door;
use outrigger_blocks::{Body, BodyError, Caller, ErrorKind};
use serde_json::json;

use super::component::component;
use super::rig::{Rig, ask, post};
use crate::rig::within;

const IMPORTS: &str = r#"
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-response.body" (func $body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $write (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish" (func $finish (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]response-outparam.set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-request.consume" (func $consume (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $put (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]input-stream" (func $drop_in (param i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop_out (param i32)))
"#;

/// Answers at once, then does this for each piece that comes, and at the end that.
fn echo(each: &str, last: &str) -> Vec<u8> {
    component_with("", "", each, last)
}

/// The same, with more of a world and what belongs to it.
fn component_with(world: &str, imports: &str, each: &str, last: &str) -> Vec<u8> {
    let code = format!(
        r#"{IMPORTS} {imports}
        (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
          (local $response i32) (local $to i32) (local $writer i32) (local $from i32) (local $reader i32)
          (local.set $response (call $response (call $fields)))
          (call $body (local.get $response) (i32.const 64))
          (local.set $to (i32.load (i32.const 68)))
          (call $write (local.get $to) (i32.const 64))
          (local.set $writer (i32.load (i32.const 68)))
          (call $set (local.get $out) (i32.const 0) (local.get $response)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
          (call $consume (local.get $request) (i32.const 64))
          (local.set $from (i32.load (i32.const 68)))
          (call $stream (local.get $from) (i32.const 64))
          (local.set $reader (i32.load (i32.const 68)))
          (block $over
            (loop $more
              (call $read (local.get $reader) (i64.const 4096) (i32.const 64))
              (br_if $over (i32.load8_u (i32.const 64)))
              {each}
              (br $more)))
          {last})"#
    );
    component(&format!("{world} export wasi:http/incoming-handler@0.2.0;"), &code)
}

const PUT: &str =
    "(call $put (local.get $writer) (i32.load (i32.const 68)) (i32.load (i32.const 72)) (i32.const 80))";
const END: &str = "(call $drop_in (local.get $reader)) (call $drop_out (local.get $writer))
    (call $finish (local.get $to) (i32.const 0) (i32.const 0) (i32.const 80))";

#[tokio::test]
async fn a_body_passes_whole() {
    let rig = Rig::new();
    let function = rig.load(&echo(PUT, END), json!({ "max_body": 10 })).await.unwrap();
    assert!(function.triggers().http && !function.triggers().invoke);
    assert_eq!(ask(&function, post("/", "")).await.unwrap().text, "");
    // What streams is not kept, so it may be long.
    let long = "0123456789".repeat(30_000);
    assert_eq!(ask(&function, post("/", long.clone())).await.unwrap().text, long);
    let anywhere = Request::post("/no/host").body(Body::full("x")).unwrap();
    assert_eq!(ask(&function, anywhere).await.unwrap().text, "x");
}

#[tokio::test]
async fn pieces_come_back_while_others_are_still_to_be_sent() {
    let rig = Rig::new();
    let function = rig.load(&echo(PUT, END), json!({})).await.unwrap();
    let (sender, body) = Body::channel(1);
    let answer = within(function.serve(&Caller::new(""), Door::Route, post("/", body))).await.unwrap();
    let mut answer = answer.into_body();
    for piece in ["one", "two", "three"] {
        sender.send(Ok(Frame::data(piece.into()))).await.unwrap();
        let back = within(answer.frame()).await.unwrap().unwrap();
        assert_eq!(back.into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(within(answer.frame()).await.is_none());
    rig.until(
        "outrigger_function_calls_total{function=\"f\",version=\"v1\",trigger=\"http\",result=\"ok\"} 1",
    )
    .await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_everybody_up() {
    let rig = Rig::new();
    let function = rig.load(&echo(PUT, END), json!({})).await.unwrap();
    let (sender, body) = Body::channel(1);
    let answer = within(function.serve(&Caller::new(""), Door::Route, post("/", body))).await.unwrap();
    let mut sent = 0;
    let piece = || Ok(Frame::data(vec![b'x'; 4096].into()));
    while tokio::time::timeout(Duration::from_millis(200), sender.send(piece())).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "nobody reads it, so somebody keeps it");
    }
    drop(sender);
    let body = within(answer.into_body().collect(usize::MAX)).await.unwrap();
    assert_eq!(body.len(), sent * 4096);
}

/// Sends the body back, and its trailers with one more; without trailers there are none.
fn trailing() -> Vec<u8> {
    let imports = r#"
        (import "wasi:http/types@0.2.0" "[static]incoming-body.finish" (func $trailers (param i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]future-trailers.subscribe" (func $subscribe (param i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]future-trailers.get" (func $get (param i32 i32)))
        (import "wasi:http/types@0.2.0" "[method]fields.clone" (func $clone (param i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (global $coming (mut i32) (i32.const 0))
        (global $all (mut i32) (i32.const 0))
        (func $sure (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))"#;
    // They are there, and could be read; after that it says whether there are any, and at last which.
    let last = r#"
        (call $drop_in (local.get $reader)) (call $drop_out (local.get $writer))
        (global.set $coming (call $trailers (local.get $from)))
        (call $block (call $subscribe (global.get $coming)))
        (call $get (global.get $coming) (i32.const 96))
        (call $sure (i32.load8_u (i32.const 96)))
        (call $sure (i32.eqz (i32.or (i32.load8_u (i32.const 104)) (i32.load8_u (i32.const 112)))))
        (if (i32.load8_u (i32.const 120)) (then
          (global.set $all (call $clone (i32.load (i32.const 124))))
          (call $append (global.get $all) @"x-seen" @"yes" (i32.const 80))
          (call $sure (i32.eqz (i32.load8_u (i32.const 80))))))
        (call $finish (local.get $to) (i32.load8_u (i32.const 120)) (global.get $all) (i32.const 80))"#;
    component_with("", imports, PUT, last)
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let rig = Rig::new();
    let function = rig.load(&trailing(), json!({})).await.unwrap();
    let answered = async |trailers: Option<HeaderMap>| {
        let (sender, body) = Body::channel(2);
        sender.send(Ok(Frame::data("hello".into()))).await.unwrap();
        if let Some(trailers) = trailers {
            sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        }
        drop(sender);
        let answer = within(function.serve(&Caller::new(""), Door::Route, post("/", body))).await.unwrap();
        let (mut body, mut frames) = (answer.into_body(), Vec::new());
        while let Some(frame) = within(body.frame()).await {
            frames.push(frame.unwrap());
        }
        let trailers = frames.pop_if(|frame| frame.is_trailers()).map(|last| last.into_trailers().unwrap());
        let data: Vec<_> = frames.into_iter().map(|frame| frame.into_data().unwrap()).collect();
        assert_eq!(data.concat(), b"hello");
        trailers
    };
    let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), 5.into())]);
    let back = answered(Some(sum)).await.unwrap();
    assert_eq!((back.len(), &back["x-sum"], &back["x-seen"]), (2, &5.into(), &"yes".parse().unwrap()));
    assert_eq!(answered(None).await, None);
}

#[tokio::test]
async fn a_trap_in_the_middle_is_no_end() {
    let rig = Rig::new();
    let function = rig.load(&echo(PUT, "unreachable"), json!({})).await.unwrap();
    let answer = within(function.serve(&Caller::new(""), Door::Route, post("/", "begun"))).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "begun");
    let ended = within(body.frame()).await;
    assert!(matches!(ended, Some(Err(BodyError::Aborted))), "{ended:?}");
    rig.until("outrigger_function_crashes_total{function=\"f\"} 1").await;
}

/// A component that does this after the end of the body, and knows how to exit.
fn exiting(last: &str) -> Vec<u8> {
    let import = r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#;
    component_with("import wasi:cli/exit@0.2.0;", &format!("{import}\n"), PUT, last)
}

#[tokio::test]
async fn who_exits_well_after_the_answer_has_come_to_an_end() {
    let rig = Rig::new();
    let ended = exiting(&format!("{END} (call $exit (i32.const 0)) unreachable"));
    let function = rig.load(&ended, json!({ "reuse": 5 })).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&function, post("/", "all")).await.unwrap().text, "all");
    }
    rig.until(
        "outrigger_function_calls_total{function=\"f\",version=\"v1\",trigger=\"http\",result=\"ok\"} 2",
    )
    .await;
    assert!(rig.metrics.render().contains("outrigger_function_crashes_total{function=\"f\"} 0"));

    let read = async |last: &str| {
        let function = rig.load(&exiting(last), json!({})).await.unwrap();
        let answer = within(function.serve(&Caller::new(""), Door::Route, post("/", "begun"))).await.unwrap();
        within(answer.into_body().collect(100)).await
    };
    // Its body was whole before, so its client may have it.
    drop(read(&format!("{END} (call $exit (i32.const 1)) unreachable")).await);
    let unfinished = read("(call $exit (i32.const 0)) unreachable").await;
    assert!(matches!(unfinished, Err(BodyError::Aborted)), "{unfinished:?}");
    rig.until("outrigger_function_crashes_total{function=\"f\"} 2").await;
}

#[tokio::test]
async fn who_exits_without_an_answer_has_failed() {
    let rig = Rig::new();
    let code = r#"
        (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
        (func (export "wasi:http/incoming-handler@0.2.0#handle") (param i32 i32) (call $exit (i32.const 0)))"#;
    let world = "import wasi:cli/exit@0.2.0; export wasi:http/incoming-handler@0.2.0;";
    let function = rig.load(&component(world, code), json!({})).await.unwrap();
    let error = ask(&function, post("/", "")).await.unwrap_err();
    assert!(error.message().contains("it exited with 0"), "{error}");
}

#[tokio::test]
async fn who_answers_nothing_has_failed() {
    let rig = Rig::new();
    let check = async |code: &str, expected: &str| {
        let code =
            format!("(func (export \"wasi:http/incoming-handler@0.2.0#handle\") (param i32 i32) {code})");
        let module = component("export wasi:http/incoming-handler@0.2.0;", &code);
        let function = rig.load(&module, json!({ "reuse": 5 })).await.unwrap();
        let error = ask(&function, post("/", "")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.message().contains(expected), "{error}");
    };
    check("", "gave no answer").await;
    check("unreachable", "it trapped").await;
}

#[tokio::test]
async fn who_stops_reading_ends_the_call() {
    let rig = Rig::new();
    let function = rig.load(&echo(PUT, END), json!({})).await.unwrap();
    let (sender, body) = Body::channel(1);
    let answer = within(function.serve(&Caller::new(""), Door::Route, post("/", body))).await.unwrap();
    rig.until("outrigger_function_instances{function=\"f\"} 1").await;
    drop(answer);
    rig.until("outrigger_function_instances{function=\"f\"} 0").await;
    within(sender.closed()).await;
}
