//! Functions that loop, eat memory, lie and trap: each costs its own call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::component::{counter, http, http_with};
use super::rig::{Rig, ask, post, told};
use crate::rig::{PATIENCE, alone};

#[tokio::test]
async fn an_endless_loop_ends_with_its_time() {
    let rig = Rig::new();
    let spins = http("(loop (br 0)) unreachable");
    let check = async |settings: serde_json::Value, kind: ErrorKind, expected: &str| {
        let function = rig.load(&spins, settings).await.unwrap();
        let since = Instant::now();
        let error = told(&function, "").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(expected), "{error}");
        assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
    };
    check(
        json!({ "cpu": "100ms", "deadline": "10m" }),
        ErrorKind::Internal,
        "it computed for longer than 100ms",
    )
    .await;
    check(json!({ "deadline": "100ms" }), ErrorKind::Timeout, "longer than its deadline").await;
}

#[tokio::test]
async fn others_have_their_turn_while_one_spins() {
    let rig = Rig::with(json!({ "functions": { "threads": 1 } }));
    let spins = http("(loop (br 0)) unreachable");
    let spins = rig.load(&spins, json!({ "cpu": "10m", "deadline": "10m" })).await.unwrap();
    let quick = rig.load(&http("(call $reply (i32.const 200) @\"quick\")"), json!({})).await.unwrap();
    let spinning = tokio::spawn(async move { told(&spins, "").await });
    rig.until("outrigger_function_instances{function=\"f\"} 1").await;
    for _ in 0..5 {
        assert_eq!(told(&quick, "").await.unwrap(), "quick");
    }
    assert!(!spinning.is_finished(), "they did not wait for it");
    spinning.abort();
}

#[tokio::test]
async fn those_that_spin_take_turns() {
    let rig = Rig::with(json!({ "functions": { "threads": 1 } }));
    let spins = http("(loop (br 0)) unreachable");
    let spins = rig.load(&spins, json!({ "cpu": "100ms", "deadline": "10m" })).await.unwrap();
    let since = Instant::now();
    let end = async || {
        assert_eq!(told(&spins, "").await.unwrap_err().kind(), ErrorKind::Internal);
        since.elapsed()
    };
    let (one, other) = tokio::join!(end(), end());
    assert!(one.abs_diff(other) < one.max(other) / 4, "one after the other: {one:?}, {other:?}");
}

/// What each thread of this name has computed so far.
fn computed(name: &str) -> BTreeMap<PathBuf, Duration> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let time = |thread: &PathBuf| {
        let told = |file: &str| std::fs::read_to_string(thread.join(file)).ok();
        let nanoseconds = || told("schedstat")?.split(' ').next()?.parse().ok();
        (told("comm")?.trim_end() == name).then(nanoseconds)?.map(Duration::from_nanos)
    };
    threads.filter_map(|thread| time(&thread).map(|time| (thread, time))).collect()
}

#[tokio::test]
async fn what_spins_does_so_where_it_is_in_nobodys_way() {
    if !alone("functions::hostile::what_spins_does_so_where_it_is_in_nobodys_way") {
        return;
    }
    let rig = Rig::with(json!({ "functions": { "threads": 1 } }));
    let spins = http("(loop (br 0)) unreachable");
    let spins = rig.load(&spins, json!({ "cpu": "200ms", "deadline": "10m" })).await.unwrap();
    // The second one begins there.
    for _ in 0..2 {
        let before = computed("function-long");
        assert_eq!(told(&spins, "").await.unwrap_err().kind(), ErrorKind::Internal);
        let since = |(thread, time)| time - before.get(&thread).copied().unwrap_or_default();
        let there: Duration = computed("function-long").into_iter().map(since).sum();
        assert!(there > Duration::from_millis(150), "{there:?}");
    }
}

#[tokio::test]
async fn memory_ends_where_the_setting_says() {
    let rig = Rig::new();
    let grow = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (i32.store8 (i32.const 64) (i32.add (i32.const 48) (memory.size)))
        (call $reply (i32.const 200) (i32.const 64) (i32.const 1))";
    let function = rig.load(&http(grow), json!({ "memory": 5 << 16 })).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "5", "pages, and not one more");
    let bomb = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let function = rig.load(&http(bomb), json!({ "memory": 4 << 20 })).await.unwrap();
    let error = told(&function, "").await.unwrap_err();
    assert!(error.message().contains("denied more than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn what_a_guest_says_of_its_answer_is_not_believed() {
    let rig = Rig::new();
    let check = async |code: &str| {
        let function = rig.load(&http(code), json!({ "max_body": 1 << 20 })).await.unwrap();
        let error = told(&function, "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    };
    // Out of its memory: the body, the headers, the answer itself.
    check("(call $reply (i32.const 200) (i32.const 64) (i32.const 0x7fffffff))").await;
    check("(call $reply (i32.const 200) (i32.const -8) (i32.const 64))").await;
    check("(drop (call $reply (i32.const 200) @\"\")) (i32.store (i32.const 24) (i32.const 0x0fffffff)) (i32.const 16)")
        .await;
    check("(i32.const -4)").await;
    check("(i32.const 17)").await;
    // A thousand headers of sixty-four kilobytes each, all of them the same bytes.
    let amplified = "(local $at i32)
        (memory.fill (i32.const 0) (i32.const 97) (i32.const 65536))
        (local.set $at (i32.const 65536))
        (loop
          (i64.store (local.get $at) (i64.const 0x0000000100000000))
          (i64.store offset=8 (local.get $at) (i64.const 0x0001000000000000))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if 0 (i32.lt_u (local.get $at) (i32.const 81536))))
        (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0)))
        (i32.store (i32.const 20) (i32.const 65536)) (i32.store (i32.const 24) (i32.const 1000))
        (i32.const 16)";
    check(amplified).await;
}

#[tokio::test]
async fn an_allocator_that_traps_costs_its_own_call() {
    let rig = Rig::new();
    let module = http("(call $reply (i32.const 200) @\"there\")");
    let function = rig.load(&module, json!({ "memory": 3 << 16 })).await.unwrap();
    // More than it can take: its allocator traps.
    let error = ask(&function, post("/", "x".repeat(300_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(told(&function, "").await.unwrap(), "there");
}

#[tokio::test]
async fn one_that_keeps_crashing_is_kept_from_running() {
    let rig = Rig::new();
    let function = rig.load(&counter(), json!({})).await.unwrap();
    // How many calls crash until it is closed. One more is let in when the next one comes after the pause.
    let closing = async || {
        for crashes in 0..20 {
            let error = told(&function, "!").await.unwrap_err();
            if error.kind() == ErrorKind::Unavailable {
                return (crashes, error);
            }
            assert_eq!(error.kind(), ErrorKind::Internal);
        }
        panic!("it is never closed");
    };
    let (crashes, error) = closing().await;
    assert!(crashes >= 5, "{crashes}");
    // Pauses double.
    assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(1 << (crashes - 5))));
    rig.until(&format!("outrigger_function_crashes_total{{function=\"f\"}} {crashes}")).await;
    let again = async |input: &'static str| {
        let since = Instant::now();
        loop {
            match told(&function, input).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                ended => return ended,
            }
            assert!(since.elapsed() < PATIENCE, "it is never let in again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Calls keep failing: the first one that is let in again is one too many at once.
    assert_eq!(again("!").await.unwrap_err().kind(), ErrorKind::Internal);
    assert!(closing().await.0 < 4);
    // Once one goes well, a crash is a crash among others.
    again("").await.unwrap();
    for _ in 0..4 {
        assert_eq!(told(&function, "!").await.unwrap_err().kind(), ErrorKind::Internal);
    }
    told(&function, "").await.unwrap();
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let rig = Rig::new();
    let besides = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let module = http_with("", besides, "(call $deep (i32.const 0))");
    let function = rig.load(&module, json!({})).await.unwrap();
    let error = told(&function, "").await.unwrap_err();
    assert!(error.message().contains("call stack exhausted"), "{error}");
}

#[tokio::test]
async fn a_table_grows_no_further_than_it_may() {
    let rig = Rig::new();
    let code =
        "(if (i32.ne (table.grow $t (ref.null func) (i32.const 30000)) (i32.const -1)) (then unreachable))
        (call $reply (i32.const 200) @\"kept\")";
    let module = http_with("", "(table $t 1 funcref)", code);
    let function = rig.load(&module, json!({})).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "kept");
}
