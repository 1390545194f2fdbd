//! Bodies: shown piece by piece, changed, held back, and never more of them than allowed.

use std::time::Duration;

use http_body::Frame;
use outrigger_http::{Body, BodyError};
use serde_json::json;

use crate::guest::filter;
use crate::rig::{Rig, get, ok, pieces_of, post, read, within};

/// Puts brackets around every piece, and says where the body ends.
const BRACKETS: &str = r#"
    (func (export "proxy_on_request_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
      (call $ok (call $set_bytes (i32.const 0) (i32.const 0) (i32.const 0) @"["))
      (call $ok (call $set_bytes (i32.const 0) (i32.const -1) (i32.const 0) @"]"))
      (if (local.get $end)
        (then (call $ok (call $set_bytes (i32.const 0) (i32.const -1) (i32.const 0) @"end"))))
      (i32.const 0))"#;

#[tokio::test]
async fn pieces_pass_as_they_come() {
    let rig = Rig::with(&filter(BRACKETS), json!({})).await;
    let passed = rig.pass(post(&["one", "two"]), ok("")).await;
    let sent = passed.sent.unwrap();
    assert_eq!(sent.frames, ["[one]", "[two]", "[]end"]);
    assert_eq!(rig.crashes(), 0);
}

/// Holds the body back until its end, then puts how much it has seen in its place.
const REPLACES: &str = r#"
    (func (export "proxy_on_SIDE_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
      (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
      (call $ok (call $buffer_status (i32.const BUFFER) (i32.const 16) (i32.const 20)))
      (call $is (i32.load (i32.const 16)) (local.get $size))
      (call $ok (call $bytes (i32.const BUFFER) (i32.const 2) (i32.const 100) (i32.const 8) (i32.const 12)))
      (call $say (call $got))
      (call $ok (call $set_bytes (i32.const BUFFER) (i32.const 0) (i32.load (i32.const 16)) (call $got)))
      (i32.const 0))"#;

fn replaces(side: &str, buffer: &str) -> Vec<u8> {
    filter(&REPLACES.replace("SIDE", side).replace("BUFFER", buffer))
}

#[tokio::test]
async fn a_body_is_held_back_and_replaced() {
    let rig = Rig::with(&replaces("request", "0"), json!({})).await;
    let passed = rig.pass(post(&["one", "two", "three"]), ok("")).await;
    assert_eq!(passed.sent.as_ref().unwrap().frames, ["etwothree"]);

    let rig = Rig::with(&replaces("response", "1"), json!({})).await;
    assert_eq!(rig.get("/").await.text(), "llo");
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn more_than_may_be_held_back_is_refused() {
    let rig = Rig::with(&replaces("request", "0"), json!({ "max_buffer": 6 })).await;
    let passed = rig.pass(post(&["one", "two"]), ok("")).await;
    assert_eq!(passed.sent.unwrap().text(), "etwo");
    let passed = rig.pass(post(&["one", "two", "x"]), ok("")).await;
    assert!(passed.sent.is_none(), "the backend is not sent the rest");
    assert_eq!(passed.status(), 413);
    assert_eq!(rig.crashes(), 0);

    let rig = Rig::with(&replaces("response", "1"), json!({ "max_buffer": 4 })).await;
    let passed = rig.get("/").await;
    assert!(passed.body.is_none(), "a response that has begun is cut off");
}

/// Pieces of a body the filter holds back, with 40 seconds after each; the end comes `late` seconds after that.
async fn slowly(late: u64) -> Result<String, BodyError> {
    let rig = Rig::with(&replaces("request", "0"), json!({})).await;
    let (mut visit, mut request) = (rig.visit(), post(&[]));
    let (sender, body) = Body::channel(1);
    request.body = body;
    assert!(within(visit.request(&mut request).taken()).await.is_none());
    tokio::time::pause();
    let reading = tokio::spawn(read(request.body));
    for piece in ["one", "two", "three"] {
        sender.send(Ok(Frame::data(piece.into()))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    tokio::time::sleep(Duration::from_secs(late)).await;
    drop(sender);
    reading.await.unwrap().map(|read| read.text())
}

#[tokio::test]
async fn a_body_that_goes_on_coming_may_be_held_back_for_long() {
    assert_eq!(slowly(0).await.unwrap(), "etwothree");
}

#[tokio::test]
async fn a_body_nobody_asks_about_for_a_minute_is_given_up() {
    assert!(matches!(slowly(30).await, Err(BodyError::Idle)));
}

#[tokio::test]
async fn an_answer_while_the_body_is_on_its_way_reaches_the_client() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_request_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
          (if (i32.eq (local.get $size) (i32.const 3)) (then (return (i32.const 0))))
          (call $respond (i32.const 400) @"no")
          (i32.const 1))"#,
        ),
        json!({}),
    )
    .await;
    let passed = rig.pass(post(&["one", "three"]), ok("")).await;
    assert!(passed.forwarded && passed.sent.is_none());
    assert_eq!((passed.status(), passed.text().as_str(), rig.crashes()), (400, "no", 0));
}

#[tokio::test]
async fn a_body_nobody_looks_at_is_left_alone() {
    let rig = Rig::with(&filter(""), json!({})).await;
    let passed = rig.pass(post(&["one", "two"]), ok("three")).await;
    assert_eq!(passed.sent.as_ref().unwrap().frames, ["one", "two"]);
    assert_eq!(passed.text(), "three");
}

#[tokio::test]
async fn configuration_is_a_buffer_also_when_there_is_none() {
    let code = r#"
        (func (export "proxy_on_vm_start") (param $id i32) (param $size i32) (result i32)
          (call $ok (call $bytes (i32.const 6) (i32.const 0) (i32.const -1) (i32.const 8) (i32.const 12)))
          (call $is (i32.load (i32.const 12)) (local.get $size))
          (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $bytes (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 8) (i32.const 12)))
          (call $ok (call $add (i32.const 0) @"x-config" (call $got)))
          (call $is (call $bytes (i32.const 7) (i32.const 999) (i32.const 1) (i32.const 8) (i32.const 12)) (i32.const 2))
          (call $is (call $bytes (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 20)) (i32.const 0))
          (call $is (call $bytes (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $is (call $bytes (i32.const 99) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 12)) (i32.const 2))
          (call $is (call $set_bytes (i32.const 7) (i32.const 0) (i32.const 0) @"x") (i32.const 2))
          (call $is (call $set_bytes (i32.const 0) (i32.const 0) (i32.const 0) @"x") (i32.const 2))
          (i32.const 0))"#;
    for (settings, expected) in [
        (json!({}), ""),
        (json!({ "config": "a text", "vm_config": "vm" }), "a text"),
        (json!({ "config": { "a": [1, true] }, "vm_config": 5 }), r#"{"a":[1,true]}"#),
    ] {
        let rig = Rig::with(&filter(code), settings).await;
        let passed = rig.pass(get("/"), ok("")).await;
        assert_eq!((passed.asked("x-config").as_deref(), rig.crashes()), (Some(expected), 0));
    }
}

/// Holds the head back, and puts what it has seen of the body into it at the end.
fn holds_the_head() -> Vec<u8> {
    let hold = |head: &str, body: &str, map: u32, buffer: u32| {
        format!(
            r#"(func (export "{head}") (param i32 i32 i32) (result i32)
                 (call $ok (call $tick (i32.const 50))) (i32.const 1))
               (func (export "{body}") (param $id i32) (param $size i32) (param $end i32) (result i32)
                 (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
                 (call $ok (call $bytes (i32.const {buffer}) (i32.const 0) (local.get $size) (i32.const 8) (i32.const 12)))
                 (drop (call $add (i32.const {map}) @"x-seen" (call $got)))
                 (i32.const 0))"#
        )
    };
    filter(&format!(
        "(global $stream (mut i32) (i32.const 0))
         (func (export \"proxy_on_context_create\") (param $id i32) (param $parent i32)
           (if (local.get $parent) (then (global.set $stream (local.get $id)))))
         {} {}
         (func (export \"proxy_on_tick\") (param i32)
           (if (global.get $late) (then (return)))
           (if (i32.eqz (call $effective (global.get $stream)))
             (then (drop (call $resume (i32.const 0))) (drop (call $resume (i32.const 1))))))
         (global $late (mut i32) (i32.const 0))
         (func (export \"proxy_on_configure\") (param $id i32) (param $size i32) (result i32)
           (global.set $late (local.get $size)) (i32.const 1))",
        hold("proxy_on_request_headers", "proxy_on_request_body", 0, 0),
        hold("proxy_on_response_headers", "proxy_on_response_body", 2, 1),
    ))
}

#[tokio::test]
async fn a_head_may_wait_for_what_its_body_says() {
    let mut response = ok("");
    response.body = pieces_of(&["three", "four"], None);
    // Nothing but the body lets it go.
    let settings = json!({ "body_before_head": true, "config": "no ticks" });
    let rig = Rig::with(&holds_the_head(), settings).await;
    let passed = rig.pass(post(&["one", "two"]), response).await;
    assert_eq!((passed.forwarded, passed.asked("x-seen").as_deref()), (true, Some("onetwo")));
    assert_eq!(passed.sent.as_ref().unwrap().text(), "onetwo");
    assert_eq!((passed.told("x-seen").as_deref(), passed.text().as_str()), (Some("threefour"), "threefour"));
    assert_eq!(rig.crashes(), 0);

    // What it holds has its bound as ever.
    let settings = json!({ "body_before_head": true, "config": "no ticks", "max_buffer": 4 });
    let rig = Rig::with(&holds_the_head(), settings).await;
    assert_eq!(rig.pass(post(&["one", "two"]), ok("")).await.status(), 413);

    // Without the setting the body comes after the head, which has left by then.
    let rig = Rig::with(&holds_the_head(), json!({})).await;
    let passed = rig.pass(post(&["one", "two"]), ok("three")).await;
    assert_eq!((passed.forwarded, passed.asked("x-seen"), passed.told("x-seen")), (true, None, None));
    assert_eq!(
        (passed.sent.unwrap().text().as_str(), passed.body.unwrap().text().as_str()),
        ("onetwo", "three")
    );
}
