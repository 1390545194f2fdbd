//! What a guest may take of the machine: time, on any occasion, and memory.

use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::json;

use crate::guest::filter;
use crate::hostile::{bad, sometimes};
use crate::rig::{Rig, alone, ok, pieces_of, post};

/// Ten times what a guest may take that has 5 ms and is stopped within 20 more: others are on this machine.
const BOUND: Duration = Duration::from_millis(250);

/// What is seen of something that takes some of its time on a machine that others use: one attempt of twenty does it.
async fn undisturbed<T>(attempt: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..20 {
        if let Some(seen) = attempt().await {
            return seen;
        }
    }
    panic!("it never got through");
}

/// How long the client of a guest that never ends waits, at best.
async fn cut_off(deadline: &str) -> Duration {
    let rig = Rig::with(&sometimes("(loop (br 0))"), json!({ "deadline": deadline })).await;
    let mut best = Duration::MAX;
    for round in 1..=3 {
        assert_eq!(rig.get("/").await.asked("x-good").as_deref(), Some("1"));
        let since = Instant::now();
        assert_eq!(rig.pass(bad(), ok("")).await.status(), 503);
        best = best.min(since.elapsed());
        assert_eq!(rig.crashes(), round);
        rig.back().await;
    }
    best
}

#[tokio::test]
async fn an_endless_loop_ends_with_its_deadline() {
    let took = undisturbed(async || Some(cut_off("5ms").await).filter(|took| *took < BOUND)).await;
    assert!(took >= Duration::from_millis(5), "{took:?}");
    // One that may go on for longer is not within the bound.
    let took = cut_off("1s").await;
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn it_ends_wherever_it_is() {
    let three = |name: &str| {
        format!("(func (export \"{name}\") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0))")
    };
    let two = |name: &str| {
        format!("(func (export \"{name}\") (param i32 i32) (result i32) (loop (br 0)) (i32.const 0))")
    };
    let one = |name: &str| format!("(func (export \"{name}\") (param i32) (loop (br 0)))");
    let cases = [
        three("proxy_on_request_headers"),
        three("proxy_on_request_body"),
        two("proxy_on_request_trailers"),
        three("proxy_on_response_headers"),
        three("proxy_on_response_body"),
        two("proxy_on_response_trailers"),
        r#"(func (export "proxy_on_done") (param i32) (result i32) (loop (br 0)) (i32.const 0))"#.into(),
        one("proxy_on_log"),
        one("proxy_on_delete"),
        // Only the context of a stream has a parent.
        r#"(func (export "proxy_on_context_create") (param i32) (param $parent i32)
             (if (local.get $parent) (then (loop (br 0)))))"#
            .into(),
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (call $ok (call $tick (i32.const 1))) (i32.const 1))"#
            .to_owned()
            + &one("proxy_on_tick"),
    ];
    for case in cases {
        let rig = Rig::with(&filter(&case), json!({})).await;
        let trailers = || Some(HeaderMap::from_iter([("a".parse().unwrap(), 1.into())]));
        let (mut request, mut response) = (post(&[]), ok(""));
        request.body = pieces_of(&["one"], trailers());
        response.body = pieces_of(&["two"], trailers());
        rig.pass(request, response).await;
        // One that fails at each tick fails on.
        rig.until_some("outrigger_wasm_crashes_total{plugin=\"p\",reason=\"timeout\"}").await;
    }
}

#[tokio::test]
async fn a_longer_deadline_lets_more_be_computed() {
    let counts = "(local.set $n (i32.const 0)) (loop (br_if 0 (i32.ne (i32.const 150000000)
        (local.tee $n (i32.add (local.get $n) (i32.const 1))))))";
    let module = filter(&format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $n i32)
          {counts} (i32.const 0))"#
    ));
    for (deadline, status, crashes) in [("1ms", 503, 1), ("1s", 200, 0)] {
        let rig = undisturbed(async || {
            let rig = Rig::with(&module, json!({ "deadline": deadline })).await;
            (rig.get("/").await.status() == status).then_some(rig)
        });
        assert_eq!(rig.await.crashes(), crashes);
    }
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
    // Where others take the processor it works less than it thinks.
    let problems = undisturbed(async || Rig::empty().load(&filter(works), json!({})).await.err()).await;
    let [problem] = problems.try_into().unwrap();
    assert!(problem.message.contains("longer than its deadline of 1s"), "{}", problem.message);
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

/// What of the machine's memory is ours.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// How much more memory there is in use once a guest has taken and filled what it can get.
async fn bomb(memory: usize) -> usize {
    let code = r#"(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (memory.fill (i32.const 65536) (i32.const 1) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))"#;
    undisturbed(async || {
        let rig = Rig::with(&sometimes(code), json!({ "memory": memory, "deadline": "1s" })).await;
        let before = resident();
        rig.pass(bad(), ok("")).await;
        let taken = resident().saturating_sub(before);
        // A second is little for so much memory where others take the processor.
        (rig.crashes() == 0).then_some(taken)
    })
    .await
}

#[tokio::test]
async fn a_memory_bomb_takes_what_it_may_and_no_more() {
    if !alone("isolation::a_memory_bomb_takes_what_it_may_and_no_more") {
        return;
    }
    // What compiling it takes.
    const OTHERS: usize = 96 << 20;
    let small = bomb(32 << 20).await;
    assert!(small < (32 << 20) + OTHERS, "{small}");
    let large = bomb(256 << 20).await;
    assert!(large > (32 << 20) + OTHERS, "one that may take more is seen: {large}");
}

#[tokio::test]
async fn a_table_grows_no_further_than_it_may() {
    let code = r#"(table $t 1 funcref)
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
          (call $is (table.size $t) (i32.const 19001))
          (i32.const 0))"#;
    let rig = Rig::with(&filter(code), json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
}
