//! Guests that mean no good, or do not know better.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::guest::{filter, module};
use crate::rig::{Rig, get, ok, post};

/// Does `$bad` for requests that carry `x-bad`; good ones get `x-good`.
fn sometimes(bad: &str) -> Vec<u8> {
    filter(&format!(
        r#"
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
          (if (i32.eqz (call $get (i32.const 0) @"x-bad" (i32.const 8) (i32.const 12))) (then {bad}))
          (call $ok (call $add (i32.const 0) @"x-good" @"1"))
          (i32.const 0))"#
    ))
}

fn bad() -> outrigger_http::Request {
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
        assert_eq!(passed.asked("x-good"), None);
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
    for _ in 0..6 {
        assert_eq!(rig.pass(bad(), ok("")).await.status(), 503);
        back_unless_out(&rig).await;
    }
    assert_eq!(rig.get("/").await.status(), 503, "there is a pause");
    let since = Instant::now();
    while rig.get("/").await.status() != 200 {
        assert!(since.elapsed() < crate::rig::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() > Duration::from_millis(500));
}

#[tokio::test]
async fn an_endless_loop_ends_with_its_deadline() {
    let rig = Rig::with(&sometimes("(loop (br 0))"), json!({ "deadline": "5ms" })).await;
    assert_eq!(rig.get("/").await.status(), 200);
    let since = Instant::now();
    assert_eq!(rig.pass(bad(), ok("")).await.status(), 503);
    assert!(since.elapsed() >= Duration::from_millis(5));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    rig.back().await;
    assert_eq!(rig.get("/").await.asked("x-good").as_deref(), Some("1"));
    assert_eq!(rig.crashes(), 1);
}

#[tokio::test]
async fn a_longer_deadline_lets_more_be_computed() {
    let counts = "(local.set $n (i32.const 0)) (loop (br_if 0 (i32.ne (i32.const 400000000)
        (local.tee $n (i32.add (local.get $n) (i32.const 1))))))";
    let module = filter(&format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $n i32)
          {counts} (i32.const 0))"#
    ));
    let rig = Rig::with(&module, json!({ "deadline": "1ms" })).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 1));
    let rig = Rig::with(&module, json!({ "deadline": "1s" })).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
}

#[tokio::test]
async fn the_steps_of_a_start_share_one_deadline() {
    // None of them takes the second that all of them may.
    let works = r#"(func $work (local $since i64)
          (call $ok (call $time (i32.const 16)))
          (local.set $since (i64.load (i32.const 16)))
          (loop
            (call $ok (call $time (i32.const 16)))
            (br_if 0 (i64.lt_u (i64.sub (i64.load (i32.const 16)) (local.get $since)) (i64.const 900000000)))))
        (func (export "_initialize") (call $work))
        (func (export "proxy_on_context_create") (param i32 i32) (call $work))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $work) (i32.const 1))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $work) (i32.const 1))"#;
    let failed = Rig::empty().load(&filter(works), json!({})).await;
    let [problem] = failed.unwrap_err().try_into().unwrap();
    assert!(problem.message.contains("longer than its deadline of 1s"), "{}", problem.message);
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

#[tokio::test]
async fn memory_ends_where_the_setting_says() {
    // It has 64 pages, which are 4 MiB.
    let grows = sometimes("(call $is (memory.grow (i32.const 64)) (i32.const 64))");
    let rig = Rig::with(&grows, json!({ "memory": 8 << 20 })).await;
    assert_eq!((rig.pass(bad(), ok("")).await.status(), rig.crashes()), (200, 0));
    let rig = Rig::with(&grows, json!({ "memory": 5 << 20 })).await;
    assert_eq!((rig.pass(bad(), ok("")).await.status(), rig.crashes()), (503, 1));

    let bomb = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (call $is (memory.size) (i32.const 128))";
    let rig = Rig::with(&sometimes(bomb), json!({ "memory": 8 << 20, "deadline": "1s" })).await;
    assert_eq!((rig.pass(bad(), ok("")).await.status(), rig.crashes()), (200, 0));

    let mut rig = Rig::empty();
    let [problem] =
        rig.load(&filter(""), json!({ "memory": 1 << 20 })).await.unwrap_err().try_into().unwrap();
    assert!(problem.message.contains("memory"), "{}", problem.message);
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
    ];
    for call in calls {
        let rig = Rig::with(&sometimes(&format!("(call $is {call} (i32.const 6))")), json!({})).await;
        let passed = rig.pass(bad(), ok("")).await;
        assert_eq!((passed.asked("x-good").as_deref(), rig.crashes()), (Some("1"), 0), "{call}");
    }
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
    ] {
        let rig = Rig::with(&allocating(malloc, expected), json!({})).await;
        assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0), "{malloc}");
    }
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
