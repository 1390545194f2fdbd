//! Calls with arguments nobody meant: at random, some plausible, most not. `OUTRIGGER_FUZZ_SECONDS` says for how long, and
//! `OUTRIGGER_FUZZ_SEED` which: the same ones each time, unless told otherwise.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::json;

use crate::guest::{IMPORTS, filter};
use crate::rig::{Rig, ok, pieces_of, post};

/// What is set in the environment.
fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A guest that makes as many random calls in each callback; `more` is done once in the first one.
fn storm(seed: u64, calls: u32, more: &str) -> Vec<u8> {
    // Far from zero, where these numbers would stay.
    let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1);
    let mut code = format!("(global $state (mut i64) (i64.const {state}))");
    // Xorshift, of which the lower bits are poor.
    code.push_str(
        r#"
        (func $number (result i32)
          (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 13))))
          (global.set $state (i64.xor (global.get $state) (i64.shr_u (global.get $state) (i64.const 7))))
          (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 17))))
          (i32.wrap_i64 (i64.shr_u (global.get $state) (i64.const 20))))
        (func $argument (result i32)
          (local $kind i32) (local $value i32)
          (local.set $kind (i32.and (call $number) (i32.const 3)))
          (local.set $value (call $number))
          (if (i32.eq (local.get $kind) (i32.const 0)) (then (return (i32.and (local.get $value) (i32.const 15)))))
          (if (i32.eq (local.get $kind) (i32.const 1)) (then
            (return (i32.add (i32.const 1024) (i32.and (local.get $value) (i32.const 0xffff))))))
          (if (i32.eq (local.get $kind) (i32.const 2)) (then
            (return (i32.sub (i32.const 4194304) (i32.and (local.get $value) (i32.const 31))))))
          (local.get $value))"#,
    );
    let mut choices = String::new();
    for (index, (name, _, parameters)) in IMPORTS.iter().enumerate() {
        let arguments = "(call $argument) ".repeat(*parameters);
        let call = format!("(drop (call ${name} {arguments}))");
        let _ = writeln!(choices, "(if (i32.eq (local.get $which) (i32.const {index})) (then {call}))");
    }
    let _ = write!(
        code,
        r#"
        (func $calls
          (local $n i32) (local $which i32)
          (loop
            (local.set $which (i32.rem_u (call $number) (i32.const {count})))
            {choices}
            (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {calls})))))"#,
        count = IMPORTS.len()
    );
    for callback in ["request_headers", "request_body", "response_headers", "response_body"] {
        let once = if callback == "request_headers" { more } else { "" };
        let _ = write!(
            code,
            r#"(func (export "proxy_on_{callback}") (param i32 i32 i32) (result i32) {once} (call $calls) (i32.const 0))"#
        );
    }
    code.push_str(
        r#"(func (export "proxy_on_response_trailers") (param i32 i32) (result i32) (call $calls) (i32.const 0))
        (func (export "proxy_on_log") (param i32) (call $calls))"#,
    );
    filter(&code)
}

async fn request(rig: &Rig) {
    let mut response = ok("");
    response.body =
        pieces_of(&["one", "two"], Some(HeaderMap::from_iter([("a".parse().unwrap(), 1.into())])));
    rig.pass(post(&["three", "four"]), response).await;
}

#[tokio::test]
async fn random_calls_hurt_nobody() {
    let (seconds, seed) =
        (told("OUTRIGGER_FUZZ_SECONDS").unwrap_or(2), told("OUTRIGGER_FUZZ_SEED").unwrap_or(1));
    let until = Instant::now() + Duration::from_secs(seconds);
    let rig = Rig::with(&storm(seed, 100, ""), json!({ "deadline": "1s", "failure": "reload" })).await;
    let mut requests = 0;
    while Instant::now() < until {
        request(&rig).await;
        requests += 1;
        assert_eq!(rig.crashes(), 0, "neither guest nor host may fail: seed {seed}, request {requests}");
    }
    assert!(requests > 0);
}

/// The same storm with a fault in it, which is seen.
#[tokio::test]
async fn a_guest_that_does_fail_is_counted() {
    let rig =
        Rig::with(&storm(1, 10, "(if (i32.const 1) (then unreachable))"), json!({ "deadline": "1s" })).await;
    request(&rig).await;
    assert_eq!(rig.crashes(), 1);
}
