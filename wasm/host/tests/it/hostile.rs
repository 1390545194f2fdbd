//! Guests that mean no good, or do not know better.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::guest::{filter, module};
use crate::rig::{Rig, get, ok, post};

/// Does `$bad` for requests that carry `x-bad`; good ones get `x-good`.
pub(crate) fn sometimes(bad: &str) -> Vec<u8> {
    filter(&format!(
        r#"
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
          (if (i32.eqz (call $get (i32.const 0) @"x-bad" (i32.const 8) (i32.const 12))) (then {bad}))
          (call $ok (call $add (i32.const 0) @"x-good" @"1"))
          (i32.const 0))"#
    ))
}

pub(crate) fn bad() -> outrigger_http::Request {
    let mut request = get("/");
    request.head.headers.append(&"x-bad".parse().unwrap(), "1").unwrap();
    request
}

#[tokio::test]
async fn a_trap_costs_one_request() {
    let rig = Rig::with(&sometimes("unreachable"), json!({})).await;
    for round in 1..=3 {
        let passed = rig.pass(bad(), ok("")).await;
        assert_eq!((passed.forwarded, passed.status()), (false, 503));
        assert_eq!(passed.told("x-outrigger-reason").as_deref(), Some("filter_failed"));
        rig.back().await;
        assert_eq!(rig.get("/").await.asked("x-good").as_deref(), Some("1"));
        assert_eq!(rig.crashes(), round);
    }
}

/// After five failures there is none for a while.
async fn back_unless_out(rig: &Rig) {
    if rig.crashes() <= 5 {
        rig.back().await;
    }
}

#[tokio::test]
async fn a_replacement_is_made_elsewhere() {
    // It has much to do before it is there.
    let slow = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (local $n i32)
        (loop (br_if 0 (i32.ne (i32.const 100000000) (local.tee $n (i32.add (local.get $n) (i32.const 1))))))
        (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $get (i32.const 0) @"x-bad" (i32.const 8) (i32.const 12))) (then unreachable))
        (call $ok (call $add (i32.const 0) @"x-good" @"1"))
        (i32.const 0))"#;
    for (policy, status) in [("closed", 503), ("open", 200)] {
        let rig = Rig::with(&filter(slow), json!({ "failure": policy })).await;
        assert_eq!(rig.get("/").await.asked("x-good").as_deref(), Some("1"));
        rig.pass(bad(), ok("")).await;
        let passed = rig.get("/").await;
        assert!(!rig.is_there(), "nobody waited for the next instance");
        assert_eq!((passed.status(), passed.asked("x-good")), (status, None));
        rig.back().await;
        assert_eq!(rig.get("/").await.asked("x-good").as_deref(), Some("1"));
        assert_eq!(rig.crashes(), 1);
    }
}

#[tokio::test]
async fn the_failure_policy_decides() {
    let rig = Rig::with(&sometimes("unreachable"), json!({ "failure": "open" })).await;
    for _ in 0..10 {
        let passed = rig.pass(bad(), ok("body")).await;
        assert_eq!((passed.forwarded, passed.status(), passed.text().as_str()), (true, 200, "body"));
        assert_eq!(
            (passed.asked("x-bad").as_deref(), passed.asked("x-good")),
            (Some("1"), None),
            "as it came"
        );
        back_unless_out(&rig).await;
    }
    assert_eq!((rig.get("/").await.asked("x-good"), rig.crashes()), (None, 6), "it is left out for good");

    let rig = Rig::with(&sometimes("unreachable"), json!({ "failure": "closed" })).await;
    for _ in 0..10 {
        assert_eq!(rig.pass(bad(), ok("")).await.status(), 503);
        back_unless_out(&rig).await;
    }
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 6), "it stays closed");
    let mut rig = rig;
    rig.load(&sometimes("unreachable"), json!({ "failure": "closed" })).await.unwrap();
    rig.back().await;
    assert_eq!(
        (rig.get("/").await.status(), rig.crashes()),
        (200, 6),
        "until there is another configuration"
    );

    let rig = Rig::with(&sometimes("unreachable"), json!({ "failure": "reload" })).await;
    let mut since = Instant::now();
    for _ in 0..6 {
        since = Instant::now();
        assert_eq!(rig.pass(bad(), ok("")).await.status(), 503);
        back_unless_out(&rig).await;
    }
    assert_eq!(rig.get("/").await.status(), 503, "there is a pause");
    while rig.get("/").await.status() != 200 {
        assert!(since.elapsed() < crate::rig::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() >= Duration::from_secs(1), "as long as it is");
}

#[tokio::test]
async fn what_a_filter_sends_and_keeps_has_its_bounds() {
    let headers = r#"@"\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\05\00\00\00:method\00POST\00:path\00/check\00:authority\00check\00""#;
    let code = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $is (call $http_call @"c" {headers} (i32.const 0) (i32.const 101) @"" (i32.const 1000) (i32.const 16)) (i32.const 2))
          (call $ok (call $http_call @"c" {headers} (i32.const 0) (i32.const 100) @"" (i32.const 1000) (i32.const 16)))
          (call $is (call $grpc_call @"c" @"s" @"m" @"" (i32.const 0) (i32.const 101) (i32.const 1000) (i32.const 16)) (i32.const 2))
          (call $ok (call $grpc_stream @"c" @"s" @"m" @"" (i32.const 16)))
          (call $is (call $grpc_send (i32.load (i32.const 16)) (i32.const 0) (i32.const 101) (i32.const 0)) (i32.const 2))
          (call $ok (call $grpc_send (i32.load (i32.const 16)) (i32.const 0) (i32.const 100) (i32.const 0)))
          (call $is (call $grpc_send (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 0)) (i32.const 10))
          (call $is (call $set_property @"p" (i32.const 0) (i32.const 1048576)) (i32.const 2))
          (call $is (call $answer (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 101)
            (i32.const 0) (i32.const 0) (i32.const -1)) (i32.const 2))
          (i32.const 0))
        (func (export "proxy_on_request_body") (param i32) (param $size i32) (param i32) (result i32)
          (if (i32.ne (local.get $size) (i32.const 5)) (then (return (i32.const 0))))
          (call $ok (call $set_bytes (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 95)))
          (call $is (call $set_bytes (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 2))
          (call $ok (call $set_bytes (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 100)))
          (i32.const 0))"#
    );
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::with(&filter(&code), json!({ "max_buffer": 100, "deadline": "1s" })).await;
    let rig = rig.calling(silent.local_addr().unwrap(), "http2");
    let passed = rig.pass(post(&["12345"]), ok("")).await;
    assert_eq!((passed.status(), rig.crashes()), (200, 0));
}

/// What becomes of a request if the guest ends unless this call answers that its memory is not there.
async fn answers_invalid_access(call: &str) -> (Option<String>, u64) {
    let known = r#"(call $ok (call $set_shared @"known" @"1" (i32.const 0)))
        (call $ok (call $register_queue @"full" (i32.const 20)))
        (call $ok (call $enqueue (i32.load (i32.const 20)) @"item"))"#;
    let rig = Rig::with(&sometimes(&format!("{known} (call $is {call} (i32.const 6))")), json!({})).await;
    let passed = rig.pass(bad(), ok("")).await;
    (passed.asked("x-good"), rig.crashes())
}

#[tokio::test]
async fn bad_pointers_are_answered_and_hurt_nobody() {
    // Each call answers 6, invalid memory access; `@""` is a place with a length of nothing.
    let calls = [
        "(call $log (i32.const 2) (i32.const -1) (i32.const 10))",
        "(call $log (i32.const 2) (i32.const 0) (i32.const -1))",
        "(call $log (i32.const 2) (i32.const 4194303) (i32.const 2))",
        "(call $time (i32.const 4194300))",
        "(call $map_size (i32.const 0) (i32.const -4))",
        "(call $pairs (i32.const 0) (i32.const -4) (i32.const 12))",
        "(call $pairs (i32.const 0) (i32.const 8) (i32.const 4194301))",
        "(call $set_pairs (i32.const 0) (i32.const 4194304) (i32.const 1))",
        "(call $get (i32.const 0) (i32.const -1) (i32.const 1) (i32.const 8) (i32.const 12))",
        "(call $add (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0))",
        "(call $add (i32.const 0) (i32.const 0) (i32.const 1) (i32.const -1) (i32.const 2))",
        "(call $remove (i32.const 0) (i32.const -1) (i32.const -1))",
        "(call $bytes (i32.const 7) (i32.const 0) (i32.const -1) (i32.const -1) (i32.const 12))",
        "(call $set_bytes (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 5))",
        "(call $answer (i32.const 200) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 9) (i32.const 0) (i32.const 0) (i32.const -1))",
        "(call $get_shared (i32.const -1) (i32.const 1) (i32.const 8) (i32.const 12) (i32.const 16))",
        "(call $set_shared @\"k\" (i32.const -1) (i32.const 1) (i32.const 0))",
        "(call $enqueue (i32.const 1) (i32.const -1) (i32.const 1))",
        "(call $property (i32.const -1) (i32.const 1) (i32.const 8) (i32.const 12))",
        "(call $foreign @\"x\" (i32.const -1) (i32.const 1) (i32.const 8) (i32.const 12))",
        "(call $define_metric (i32.const 0) (i32.const -1) (i32.const 1) (i32.const 8))",
        "(call $define_metric (i32.const 0) @\"m\" (i32.const -2))",
        "(call $replace (i32.const 0) @\"x-first\" (i32.const 4194304) (i32.const 1))",
        "(call $buffer_status (i32.const 7) (i32.const -4) (i32.const 8))",
        "(call $get_shared @\"known\" (i32.const 8) (i32.const 12) (i32.const -1))",
        "(call $register_queue (i32.const -1) (i32.const 1) (i32.const 16))",
        "(call $register_queue @\"q\" (i32.const 4194301))",
        "(call $resolve_queue (i32.const -1) (i32.const 1) @\"q\" (i32.const 16))",
        "(call $dequeue (i32.load (i32.const 20)) (i32.const 8) (i32.const -1))",
        "(call $set_property (i32.const -1) (i32.const 1) @\"v\")",
        "(call $set_property @\"p\" (i32.const 4194300) (i32.const 5))",
        "(call $foreign (i32.const -1) (i32.const 1) @\"\" (i32.const 8) (i32.const 12))",
        "(call $http_call (i32.const -1) (i32.const 1) @\"\" @\"\" @\"\" (i32.const 9) (i32.const 16))",
        "(call $http_call @\"c\" (i32.const -1) (i32.const 1) @\"\" @\"\" (i32.const 9) (i32.const 16))",
        "(call $http_call @\"c\" @\"\" (i32.const -1) (i32.const 1) @\"\" (i32.const 9) (i32.const 16))",
        "(call $grpc_call @\"c\" (i32.const -1) (i32.const 1) @\"m\" @\"\" @\"\" (i32.const 9) (i32.const 16))",
        "(call $grpc_stream @\"c\" @\"s\" @\"m\" (i32.const -1) (i32.const 1) (i32.const 16))",
        "(call $grpc_send (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 0))",
    ];
    for call in calls {
        assert_eq!(answers_invalid_access(call).await, (Some("1".into()), 0), "{call}");
    }
    // The same with nothing wrong.
    let good = "(call $log (i32.const 2) (i32.const 0) (i32.const 10))";
    assert_eq!(answers_invalid_access(good).await, (None, 1));
}

/// Has an allocator of its own.
fn allocating(malloc: &str, expected: u32) -> Vec<u8> {
    module(&format!(
        r#"(func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) {malloc})
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $is (call $pairs (i32.const 0) (i32.const 8) (i32.const 12)) (i32.const {expected}))
          (i32.const 0))"#
    ))
}

#[tokio::test]
async fn lying_allocators_are_not_believed() {
    for (malloc, expected) in [
        ("(i32.const 0)", 6),
        ("(i32.const -1)", 6),
        ("(i32.const 4194300)", 6),
        // It asks for something to be allocated while it allocates, and then gives a good place.
        (
            "(call $is (call $pairs (i32.const 0) (i32.const 8) (i32.const 12)) (i32.const 10)) (i32.const 65536)",
            0,
        ),
        // It finds room where there was none before.
        ("(drop (memory.grow (i32.const 1))) (i32.const 4194304)", 0),
        ("(drop (memory.grow (i32.const 1))) (i32.mul (memory.size) (i32.const 65536))", 6),
    ] {
        let rig = Rig::with(&allocating(malloc, expected), json!({})).await;
        assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0), "{malloc}");
    }
    // An honest one, of which the guest does not expect that.
    let rig = Rig::with(&allocating("(i32.const 65536)", 6), json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 1));
    for malloc in ["unreachable", "(loop (br 0)) (i32.const 0)"] {
        let rig = Rig::with(&allocating(malloc, 0), json!({})).await;
        assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 1), "{malloc}");
    }
}

#[tokio::test]
async fn a_stack_that_runs_over_costs_one_request() {
    let recursion = r#"(func $deeper (param i32) (result i32) (i32.add (call $deeper (local.get 0)) (i32.const 1)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $deeper (i32.const 0)))"#;
    let rig = Rig::with(&filter(recursion), json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 1));
}

#[tokio::test]
async fn calls_at_the_wrong_time_are_refused() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (call $is (call $get (i32.const 0) @":path" (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $is (call $add (i32.const 0) @"a" @"b") (i32.const 1))
          (call $is (call $resume (i32.const 0)) (i32.const 1))
          (call $is (call $bytes (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $is (call $answer (i32.const 200) @"" @"" @"" (i32.const -1)) (i32.const 1))
          (call $is (call $done) (i32.const 1))
          (call $is (call $dequeue (i32.const 77) (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $is (call $grpc_cancel (i32.const 5)) (i32.const 1))
          (call $is (call $grpc_send (i32.const 5) @"" (i32.const 1)) (i32.const 1))
          (call $is (call $status (i32.const 8) (i32.const 12) (i32.const 16)) (i32.const 1))
          (call $is (call $log (i32.const 9) @"x") (i32.const 2))
          (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $is (call $get (i32.const 2) @":status" (i32.const 8) (i32.const 12)) (i32.const 1))
          (call $is (call $answer (i32.const 99) @"" @"" @"" (i32.const -1)) (i32.const 2))
          (call $is (call $answer (i32.const 200) @"" @"" @"\01\00\00\00lies" (i32.const -1)) (i32.const 4))
          (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $resume (i32.const 0)))
          (i32.const 0))"#,
        ),
        json!({}),
    )
    .await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_body_ends_the_exchange_or_leaves_the_filter_out() {
    let crashes = filter(
        r#"(func (export "proxy_on_request_body") (param i32) (param $size i32) (param i32) (result i32)
          (if (i32.eq (local.get $size) (i32.const 5)) (then unreachable))
          (i32.const 0))"#,
    );
    let rig = Rig::with(&crashes, json!({})).await;
    let passed = rig.pass(post(&["one", "three", "four"]), ok("")).await;
    assert!(passed.sent.is_none());
    assert_eq!(passed.status(), 503);
    let rig = Rig::with(&crashes, json!({ "failure": "open" })).await;
    let passed = rig.pass(post(&["one", "three", "four"]), ok("body")).await;
    assert_eq!(passed.sent.as_ref().unwrap().frames, ["one", "three", "four"]);
    assert_eq!((passed.status(), passed.text().as_str()), (200, "body"));
}

#[tokio::test]
async fn a_crash_wakes_the_requests_that_wait() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $ok (call $tick (i32.const 10)))
          (i32.const 1))
        (func (export "proxy_on_tick") (param i32) unreachable)"#,
        ),
        json!({}),
    )
    .await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 1));
}
