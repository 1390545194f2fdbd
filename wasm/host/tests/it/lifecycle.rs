//! Starting, contexts and their order, timers, and what a swap leaves alone.

use std::time::Duration;

use serde_json::json;

use crate::guest::{filter, filter_with, module};
use crate::rig::{Rig, get, ok};

pub(crate) const RECORD: &str =
    r#"(import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))"#;

/// Writes down each callback as a digit of the metric `outrigger_wasm_custom_steps`.
pub(crate) const STEPS: &str = r#"
    (func $step (param $digit i64)
      (call $ok (call $define_metric (i32.const 1) @"steps" (i32.const 32)))
      (call $ok (call $get_metric (i32.load (i32.const 32)) (i32.const 40)))
      (call $ok (call $record (i32.load (i32.const 32))
        (i64.add (i64.mul (i64.load (i32.const 40)) (i64.const 10)) (local.get $digit)))))"#;

fn steps(code: &str) -> Vec<u8> {
    filter_with(RECORD, &format!("{STEPS} {code}"))
}

#[tokio::test]
async fn contexts_are_made_and_ended_in_order() {
    let rig = Rig::with(
        &steps(
            r#"
        (func (export "proxy_on_context_create") (param $id i32) (param $parent i32)
          (call $step (if (result i64) (local.get $parent) (then (i64.const 4)) (else (i64.const 1)))))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $step (i64.const 2)) (i32.const 1))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $step (i64.const 3)) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $step (i64.const 5)) (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (call $step (i64.const 6)) (i32.const 0))
        (func (export "proxy_on_done") (param i32) (result i32) (call $step (i64.const 7)) (i32.const 1))
        (func (export "proxy_on_log") (param i32)
          (call $ok (call $get (i32.const 0) @":path" (i32.const 8) (i32.const 12)))
          (call $step (i64.const 8)))
        (func (export "proxy_on_delete") (param i32) (call $step (i64.const 9)))"#,
        ),
        json!({}),
    )
    .await;
    rig.get("/").await;
    assert_eq!(rig.crashes(), 0);
    rig.until("outrigger_wasm_custom_steps 123456789").await;
}

#[tokio::test]
async fn a_plugin_that_is_replaced_is_told() {
    let module = steps(
        r#"
        (func (export "proxy_on_done") (param i32) (result i32) (call $step (i64.const 1)) (i32.const 1))
        (func (export "proxy_on_delete") (param i32) (call $step (i64.const 2)))"#,
    );
    let mut rig = Rig::with(&module, json!({})).await;
    let visit = rig.visit();
    rig.load(&module, json!({ "config": "another" })).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!rig.metrics.render().contains("custom_steps 12"), "somebody still uses it");
    drop(visit);
    rig.until("outrigger_wasm_custom_steps 12").await;
}

#[tokio::test]
async fn a_context_that_is_not_done_lives_until_it_says_so() {
    let rig = Rig::with(
        &steps(
            r#"
        (global $waiting (mut i32) (i32.const 0))
        (func (export "proxy_on_done") (param $id i32) (result i32)
          (global.set $waiting (local.get $id))
          (call $step (i64.const 1))
          (call $ok (call $tick (i32.const 1)))
          (i32.const 0))
        (func (export "proxy_on_tick") (param i32)
          (call $ok (call $tick (i32.const 0)))
          (call $step (i64.const 2))
          (call $is (call $done) (i32.const 1))
          (call $is (call $effective (i32.const 999)) (i32.const 2))
          (call $ok (call $effective (global.get $waiting)))
          (call $ok (call $done)))
        (func (export "proxy_on_log") (param i32) (call $step (i64.const 3)))
        (func (export "proxy_on_delete") (param i32) (call $step (i64.const 4)))"#,
        ),
        json!({}),
    )
    .await;
    rig.get("/").await;
    rig.until("outrigger_wasm_custom_steps 1234").await;
    assert_eq!(rig.crashes(), 0);
}

/// Is never done with a request.
const NEVER_DONE: &str = r#"
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
    (func (export "proxy_on_log") (param i32) (call $step (i64.const 3)))"#;

#[tokio::test]
async fn a_context_that_is_never_done_is_ended_after_a_while() {
    let rig = Rig::with(&steps(NEVER_DONE), json!({})).await;
    rig.get("/").await;
    tokio::task::yield_now().await;
    assert!(!rig.metrics.render().contains("custom_steps"));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    rig.until("outrigger_wasm_custom_steps 3").await;
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn of_many_contexts_that_are_not_done_the_oldest_is_ended() {
    let rig = Rig::with(&steps(NEVER_DONE), json!({})).await;
    for _ in 0..1000 {
        rig.get("/").await;
    }
    assert!(!rig.metrics.render().contains("custom_steps"));
    rig.get("/").await;
    rig.until("outrigger_wasm_custom_steps 3").await;
    rig.get("/").await;
    rig.until("outrigger_wasm_custom_steps 33").await;
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn a_context_ends_once_whatever_it_says() {
    let rig = Rig::with(
        &steps(
            r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $is (call $done) (i32.const 1))
          (i32.const 0))
        (func (export "proxy_on_done") (param i32) (result i32)
          (call $ok (call $done))
          (call $is (call $done) (i32.const 1))
          (i32.const 1))
        (func (export "proxy_on_log") (param i32)
          (call $is (call $done) (i32.const 1))
          (call $step (i64.const 3)))
        (func (export "proxy_on_delete") (param i32)
          (call $is (call $done) (i32.const 1))
          (call $step (i64.const 4)))"#,
        ),
        json!({}),
    )
    .await;
    rig.get("/").await;
    rig.get("/").await;
    rig.until("outrigger_wasm_custom_steps 3434").await;
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn a_request_waits_for_a_timer_that_lets_it_go() {
    let rig = Rig::with(
        &filter(
            r#"
        (global $paused (mut i32) (i32.const 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (call $ok (call $tick (i32.const 5)))
          (i32.const 1))
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
          (global.set $paused (local.get $id))
          (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
          (if (global.get $paused) (then
            (call $ok (call $effective (global.get $paused)))
            (call $ok (call $add (i32.const 0) @"x-late" @"1"))
            (call $ok (call $resume (i32.const 0)))
            (global.set $paused (i32.const 0)))))"#,
        ),
        json!({}),
    )
    .await;
    let passed = rig.get("/").await;
    assert_eq!((passed.forwarded, passed.asked("x-late").as_deref(), rig.crashes()), (true, Some("1"), 0));
}

#[tokio::test]
async fn programs_and_libraries_are_started() {
    for start in [
        r#"(func (export "_start") (global.set $started (i32.const 1)))"#,
        r#"(func (export "_initialize") (global.set $started (i32.const 1)))"#,
        r#"(func (export "_initialize"))
           (func (export "main") (param i32 i32) (result i32) (global.set $started (i32.const 1)) (i32.const 0))"#,
    ] {
        let rig = Rig::with(
            &filter(&format!(
                r#"(global $started (mut i32) (i32.const 0)) {start}
                (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                  (call $is (global.get $started) (i32.const 1)) (i32.const 0))"#
            )),
            json!({}),
        )
        .await;
        assert!(rig.get("/").await.forwarded);
        assert_eq!(rig.crashes(), 0, "{start}");
    }
}

#[tokio::test]
async fn a_broken_module_is_refused_and_the_last_good_one_goes_on() {
    let good = filter(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $ok (call $add (i32.const 0) @"x-good" @"1")) (i32.const 0))"#,
    );
    let refuses = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#;
    let traps = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) unreachable)"#;
    let loops = r#"(func (export "_initialize") (loop (br 0)))"#;
    let cases: [(Vec<u8>, &str); 8] = [
        (b"no module".to_vec(), "is no WebAssembly module"),
        (wat::parse_str("(module)").unwrap(), "it is no proxy-wasm filter"),
        (filter(refuses), "`proxy_on_configure` refused its configuration"),
        (filter(traps), "it trapped: wasm trap: wasm `unreachable` instruction executed"),
        (filter(loops), "it computed for longer than its deadline of 1s"),
        (filter(r#"(func (export "proxy_on_tick"))"#), "export `proxy_on_tick`"),
        (filter(r#"(func (export "_start") (drop (memory.grow (i32.const 1))) unreachable)"#), "it trapped"),
        (
            wat::parse_str(
                r#"(module (import "env" "proxy_nothing" (func)) (func (export "proxy_abi_version_0_2_0")))"#,
            )
            .unwrap(),
            "unknown import: `env::proxy_nothing` has not been defined",
        ),
    ];
    let mut rig = Rig::with(&good, json!({})).await;
    for (module, expected) in cases {
        let [problem] = rig.load(&module, json!({})).await.unwrap_err().try_into().unwrap();
        assert_eq!(problem.path, "plugins.p.file");
        assert!(problem.message.contains(expected), "{}", problem.message);
        assert_eq!(rig.get("/").await.asked("x-good").as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn shared_data_survives_a_swap_and_an_unchanged_plugin_its_instance() {
    let counts = |name: &str| {
        filter(&format!(
            r#"
        (global $seen (mut i32) (i32.const 48))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
          (i32.store8 (i32.const 64) (global.get $seen))
          (call $ok (call $add (i32.const 0) @"x-seen" (i32.const 64) (i32.const 1)))
          (if (call $get_shared @"key" (i32.const 8) (i32.const 12) (i32.const 16))
            (then (call $ok (call $set_shared @"key" @"{name}" (i32.const 0))))
            (else (call $ok (call $add (i32.const 0) @"x-shared" (call $got)))))
          (i32.const 0))"#
        ))
    };
    let mut rig = Rig::with(&counts("first"), json!({})).await;
    assert_eq!(rig.get("/").await.asked("x-seen").as_deref(), Some("1"));
    rig.load(&counts("first"), json!({})).await.unwrap();
    assert_eq!(rig.get("/").await.asked("x-seen").as_deref(), Some("2"), "the same plugin");
    rig.load(&counts("second"), json!({})).await.unwrap();
    let passed = rig.get("/").await;
    assert_eq!(
        (passed.asked("x-seen").as_deref(), passed.asked("x-shared").as_deref()),
        (Some("1"), Some("first"))
    );
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn requests_under_way_end_with_the_filter_they_began_with() {
    let answers = |text: &str| {
        module(&format!(
            r#"(func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
              (call $ok (call $add (i32.const 2) @"x-by" @"{text}")) (i32.const 0))"#
        ))
    };
    let mut rig = Rig::with(&answers("old"), json!({})).await;
    let (mut visit, mut request, mut response) = (rig.visit(), get("/"), ok(""));
    assert!(visit.request(&mut request).taken().await.is_none());
    rig.load(&answers("new"), json!({})).await.unwrap();
    visit.response(&mut response).taken().await;
    assert_eq!(crate::rig::value(&response.head.headers, "x-by").as_deref(), Some("old"));
    assert_eq!(rig.get("/").await.told("x-by").as_deref(), Some("new"));
}
