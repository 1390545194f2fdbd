//! Filters swapped under load: no request fails, what they share stays, and a module that is no good changes nothing.

use std::time::{Duration, Instant};

use super::{marks, put};
use crate::{
    backend::Backend,
    http::{get, post},
    load::{Load, Seen, failures},
    program::{Folder, Program, eventually},
    swaps::{BOMB, memory_stays, swaps_and_rate},
};

/// A filter that counts requests over all workers in shared data, and tells its version and the count.
fn counts(version: u32) -> Vec<u8> {
    let text = format!(
        r#"(module
          (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "x-by")
          (data (i32.const 16) "x-count")
          (data (i32.const 32) "{version:08}")
          (data (i32.const 64) "0123456789abcdef")
          (func (export "malloc") (param i32) (result i32) (i32.const 1024))
          (func (export "proxy_abi_version_0_2_1"))
          (func $next (result i32)
            (loop $again
              (i32.store (i32.const 128) (i32.const 0))
              (i32.store (i32.const 140) (i32.const 0))
              (if (i32.eqz (call $get (i32.const 16) (i32.const 7) (i32.const 132) (i32.const 136) (i32.const 140)))
                (then (i32.store (i32.const 128) (i32.load (i32.load (i32.const 132))))))
              (i32.store (i32.const 128) (i32.add (i32.load (i32.const 128)) (i32.const 1)))
              (br_if $again
                (call $set (i32.const 16) (i32.const 7) (i32.const 128) (i32.const 4) (i32.load (i32.const 140)))))
            (i32.load (i32.const 128)))
          (func $write (param $n i32) (local $at i32)
            (local.set $at (i32.const 104))
            (loop
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (i32.store8 (local.get $at)
                (i32.load8_u (i32.add (i32.const 64) (i32.and (local.get $n) (i32.const 15)))))
              (local.set $n (i32.shr_u (local.get $n) (i32.const 4)))
              (br_if 0 (i32.gt_u (local.get $at) (i32.const 96)))))
          (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $write (call $next))
            (drop (call $add (i32.const 2) (i32.const 16) (i32.const 7) (i32.const 96) (i32.const 8)))
            (call $add (i32.const 2) (i32.const 0) (i32.const 4) (i32.const 32) (i32.const 8))))"#
    );
    wat::parse_str(text).unwrap()
}

/// The version that answered a request, and how many there have been; `None` if it was refused.
fn asked(program: &Program) -> Option<(u32, usize)> {
    let answer = get(program.web(), "/");
    let number = |name, radix| u32::from_str_radix(answer.header(name)?, radix).ok();
    Some((number("x-by", 10)?, number("x-count", 16)? as usize))
}

fn config(backend: &Backend) -> String {
    format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\nclusters: {{ back: {{ endpoints: ['{}'] }} }}\n\
         routes: {{ all: {{ backends: [ {{ cluster: back }} ], filters: {{ wasm: [marks] }} }} }}\n\
         wasm: {{ plugins: {{ marks: {{ file: marks.wasm }} }} }}\n",
        backend.address
    )
}

/// Lets requests run while `meanwhile` does something that says how often it asked itself.
fn under_load(rate: u32, meanwhile: impl FnOnce(&Folder, &Program) -> usize) -> (Vec<Seen>, usize, usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = Backend::start(200).await;
        let folder = Folder::with(&config(&backend));
        put(&folder, &counts(0));
        let program = folder.run();
        assert_eq!(asked(&program), Some((0, 1)));
        let load = Load::start(program.web(), "/", rate, 40);
        let extra = meanwhile(&folder, &program);
        let seen = load.stop().await;
        let (_, counted) = asked(&program).unwrap();
        (seen, extra, counted)
    })
}

/// Requests of our own until the version answers.
fn until(version: u32, program: &Program) -> usize {
    let mut asks = 0;
    eventually("the new version answers", || {
        asks += 1;
        asked(program).filter(|(by, _)| *by == version).map(|_| asks)
    })
}

#[test]
fn swaps_fail_no_request_and_keep_what_filters_share() {
    let (swaps, rate) = swaps_and_rate(500);
    let begun = Instant::now();
    let (seen, asks, counted) = under_load(rate, |folder, program| {
        let mut asks = 0;
        for version in 1..=swaps {
            put(folder, &counts(version));
            asks += until(version, program);
            std::thread::sleep((Duration::from_secs(1) * version).saturating_sub(begun.elapsed()));
        }
        asks
    });
    assert_eq!(failures(&seen), [""; 0]);
    // Every single request went through one of the versions, and all of them counted on.
    assert_eq!(counted, 1 + seen.len() + asks + 1);
    println!("{} requests, {swaps} swaps, {:?}, none failed", seen.len(), begun.elapsed());
}

/// The checks above are worth something: what a filter refuses is counted, and a count that starts anew is seen.
#[test]
fn a_swap_that_costs_requests_is_noticed() {
    let (seen, asks, counted) = under_load(200, |folder, program| {
        let count = || asked(program).map_or(0, |(_, count)| count);
        eventually("some are counted", || (count() > 400).then_some(()));
        // Another `vm_id` shares nothing with the one before.
        let text = std::fs::read_to_string(folder.path("outrigger.yaml")).unwrap();
        folder.write("outrigger.yaml", &text.replace("file: marks.wasm", "file: marks.wasm, vm_id: another"));
        let mut most = 0;
        eventually("counting starts anew", || {
            let now = count();
            let anew = now > 0 && now < most;
            most = most.max(now);
            anew.then_some(0)
        })
    });
    assert_eq!(failures(&seen), [""; 0]);
    assert!(counted < 1 + seen.len() + asks + 1);

    let (seen, ..) = under_load(200, |folder, program| {
        put(folder, &wat::parse_str(TRAPS_LATER).unwrap());
        eventually("requests are refused", || (get(program.web(), "/").status == 503).then_some(()));
        put(folder, &counts(2));
        until(2, program)
    });
    assert!(!failures(&seen).is_empty());
}

/// A filter that starts well and fails at its first request.
const TRAPS_LATER: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"#;

#[test]
fn a_module_that_cannot_start_is_refused_while_the_old_one_serves() {
    let start = |code: &str| {
        let text = format!(
            r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
                 (func $start {code}) (start $start))"#
        );
        wat::parse_str(text).unwrap()
    };
    let folder = Folder::with(super::ROUTE).arguments(&["--no-watch"]);
    put(&folder, &marks("good"));
    let program = folder.run();
    assert_eq!(super::by(&program).as_deref(), Some("good"));
    let before = program.data();
    for (code, reason) in [
        ("unreachable", "it trapped"),
        ("(loop (br 0))", "it computed for longer than its deadline of 1s"),
        (BOMB, "it trapped"),
    ] {
        put(&folder, &start(code));
        let answer = post(program.admin(), "/reload", "");
        assert_eq!(answer.status, 422, "{code}: {}", answer.body);
        assert!(answer.body.contains(reason), "{code}: {}", answer.body);
        assert_eq!(super::by(&program).as_deref(), Some("good"));
    }
    // The bomb had its 32 MiB at most, and they are gone with it.
    eventually("its memory is given back", || (program.data() < before + (16 << 20)).then_some(()));
    put(&folder, &marks("next"));
    assert_eq!(post(program.admin(), "/reload", "").status, 200);
    assert_eq!(super::by(&program).as_deref(), Some("next"));
}

#[test]
fn memory_does_not_grow_with_the_number_of_swaps() {
    let folder = Folder::with(super::ROUTE).arguments(&["--no-watch"]);
    put(&folder, &marks("0"));
    let program = folder.run();
    memory_stays(&program, |n| {
        put(&folder, &marks(&format!("v{n}")));
        assert_eq!(post(program.admin(), "/reload", "").status, 200);
        assert_eq!(super::by(&program), Some(format!("v{n}")));
    });
}
