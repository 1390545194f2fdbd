//! How many run, how many wait, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_blocks::function::{Door, Function};
use outrigger_blocks::{Caller, Deadline, ErrorKind};
use serde_json::json;
use tokio::task::JoinHandle;

use super::component::{http, http_with, sleeper};
use super::rig::{Rig, ask, post, told};
use crate::rig::{PATIENCE, within};

#[tokio::test]
async fn a_guest_that_waits_is_dropped_at_its_deadline() {
    let rig = Rig::new();
    let function = rig.load(&sleeper(300), json!({ "deadline": "50ms" })).await.unwrap();
    let since = Instant::now();
    assert_eq!(told(&function, "long").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(since.elapsed() < PATIENCE, "before it would have answered: {:?}", since.elapsed());
    let function = rig.load(&sleeper(300), json!({ "deadline": "1m" })).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "slept");
}

#[tokio::test]
async fn a_callers_deadline_shortens_the_functions() {
    let rig = Rig::new();
    let function = rig.load(&sleeper(300), json!({ "deadline": "10m" })).await.unwrap();
    let deadline = Deadline::after(Instant::now(), Duration::from_millis(50));
    let caller = Caller { deadline, ..Caller::new("shop") };
    let error = within(function.serve(&caller, Door::Route, post("/", "long"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn waiting_is_not_computing() {
    let rig = Rig::new();
    let function = rig.load(&sleeper(300), json!({ "cpu": "100ms", "deadline": "1m" })).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "slept");
}

#[tokio::test]
async fn some_run_some_wait_and_more_are_refused_at_once() {
    let rig = Rig::new();
    let settings = json!({ "concurrency": 2, "queue": 1, "deadline": "10m" });
    let function = rig.load(&sleeper(300), settings).await.unwrap();
    let call = |function: &Arc<dyn Function>, body: &'static str| {
        let function = Arc::clone(function);
        tokio::spawn(async move { told(&function, body).await })
    };
    let running = [call(&function, "long"), call(&function, "long")];
    rig.until("outrigger_function_instances{function=\"f\"} 2").await;
    let waiting = call(&function, "");
    rig.until("outrigger_function_waiting{function=\"f\"} 1").await;
    let error = told(&function, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(!running[0].is_finished() && !waiting.is_finished(), "at once");
    running.iter().for_each(JoinHandle::abort);
    assert_eq!(waiting.await.unwrap().unwrap(), "slept", "it has its turn");
    rig.until("outrigger_function_instances{function=\"f\"} 0").await;
}

#[tokio::test]
async fn who_goes_takes_the_call_along() {
    let rig = Rig::new();
    let settings = json!({ "concurrency": 1, "queue": 0, "deadline": "10m" });
    let function = rig.load(&sleeper(300), settings).await.unwrap();
    let call = tokio::spawn({
        let function = Arc::clone(&function);
        async move { told(&function, "long").await }
    });
    rig.until("outrigger_function_instances{function=\"f\"} 1").await;
    call.abort();
    rig.until("outrigger_function_instances{function=\"f\"} 0").await;
    rig.until(
        "outrigger_function_calls_total{function=\"f\",version=\"v1\",trigger=\"http\",result=\"cancelled\"} 1",
    )
    .await;
    assert_eq!(told(&function, "").await.unwrap(), "slept", "its turn is free");
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_wait() {
    let rig = Rig::new();
    let function =
        rig.load(&http("(call $reply (i32.const 200) @\"\")"), json!({ "deadline": "50ms" })).await;
    let (_sender, body) = outrigger_blocks::Body::channel(1);
    let error = ask(&function.unwrap(), post("/", body)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn operations_of_a_call_are_counted() {
    let rig = Rig::new();
    // Sets a lock that is not there, over and over; answers how often that was not a limit.
    let import = r#"(import "outrigger:functions/sequencer@0.1.0" "next" (func $next (param i32 i32 i32 i32 i32 i32)))"#;
    let code = r#"(local $n i32)
        (block $over
          (loop $again
            (call $next @"s" @"k" (i32.const 0) (i32.const 96))
            (if (i32.ne (i32.load8_u (i32.const 96)) (i32.const 1)) (then unreachable))
            ;; The tenth code is `rate-limited`.
            (br_if $over (i32.eq (i32.load8_u (i32.const 104)) (i32.const 9)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br $again)))
        (i32.store8 (i32.const 64) (i32.add (i32.const 48) (local.get $n)))
        (call $reply (i32.const 200) (i32.const 64) (i32.const 1))"#;
    let module = http_with("import outrigger:functions/sequencer@0.1.0;", import, code);
    let settings = json!({ "max_calls": 7, "reuse": 2, "grants": { "sequencer": ["s"] } });
    let function = rig.load(&module, settings).await.unwrap();
    for _ in 0..2 {
        assert_eq!(told(&function, "").await.unwrap(), "7", "each call has its own");
    }
    let error = rig.refused(&module, json!({})).await;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error.message(), "it imports outrigger:functions/sequencer, which needs `grants.sequencer`");
}
