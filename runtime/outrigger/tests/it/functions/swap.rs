//! Functions swapped under load: no request fails, and a component that is no good changes nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{FOLDER, ROUTE, put, says, wait_for};
use crate::{
    component::{answering, answers},
    http::{get, post},
    load::{Load, Seen, failures},
    program::{Folder, Program, eventually},
    pubsub::runtime,
    swaps::{BOMB, memory_stays, swaps_and_rate},
};

/// Lets requests run while `meanwhile` does something to the function's file in a folder that is followed.
fn under_load(rate: u32, meanwhile: impl FnOnce(&Path, &Program)) -> Vec<Seen> {
    let folder = Folder::with(FOLDER);
    fs::create_dir(folder.path("deployed")).unwrap();
    let file = folder.path("deployed/hello.wasm");
    put(&file, &answering("0"));
    let program = folder.run();
    let runtime = runtime();
    let load = runtime.block_on(async { Load::start(program.web(), "/", rate, 40) });
    meanwhile(&file, &program);
    runtime.block_on(load.stop())
}

#[test]
fn swaps_fail_no_request() {
    let (swaps, rate) = swaps_and_rate(300);
    let begun = Instant::now();
    let seen = under_load(rate, |file, program| {
        for version in 1..=swaps {
            put(file, &answering(&version.to_string()));
            wait_for(program, &version.to_string());
            std::thread::sleep((Duration::from_secs(1) * version).saturating_sub(begun.elapsed()));
        }
    });
    assert_eq!(failures(&seen), [""; 0]);
    assert!(seen.len() as u32 > swaps * rate / 4, "{} requests are no load", seen.len());
    println!("{} requests, {swaps} swaps, {:?}, none failed", seen.len(), begun.elapsed());
}

/// The check above is worth something: it sees a version that fails, and a moment without one.
#[test]
fn a_swap_that_costs_requests_is_noticed() {
    let traps = r#"(func (export "outrigger:functions/http@0.1.0#handle")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)"#;
    let seen = under_load(200, |file, program| {
        put(file, &answers(traps));
        eventually("requests fail", || says(program).is_none().then_some(()));
        put(file, &answering("2"));
        wait_for(program, "2");
    });
    assert!(!failures(&seen).is_empty());

    let seen = under_load(200, |file, program| {
        fs::remove_file(file).unwrap();
        eventually("it is gone", || (get(program.web(), "/").status == 503).then_some(()));
        put(file, &answering("1"));
        wait_for(program, "1");
    });
    assert!(!failures(&seen).is_empty());
}

/// A function of the section, which only a reload changes.
fn configured() -> (Folder, Program) {
    let folder = Folder::with(&format!("{ROUTE}functions: {{ hello: {{ file: hello.wasm }} }}\n"));
    let folder = folder.arguments(&["--no-watch"]);
    put(&folder.path("hello.wasm"), &answering("0"));
    let program = folder.run();
    assert_eq!(says(&program).as_deref(), Some("0"));
    (folder, program)
}

#[test]
fn a_component_that_cannot_start_is_refused_while_the_old_one_serves() {
    let starting = |code: &str| {
        answers(&format!(
            r#"(func $start {code}) (start $start)
               (func (export "outrigger:functions/http@0.1.0#handle")
                 (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)"#
        ))
    };
    let (folder, program) = configured();
    let before = program.data();
    for (code, reason) in [
        ("unreachable", "it cannot be started: it trapped"),
        ("(loop (br 0))", "it computed for longer than 1s (`cpu`)"),
        (BOMB, "it was denied more than 67108864 bytes of `memory`"),
    ] {
        put(&folder.path("hello.wasm"), &starting(code));
        let answer = post(program.admin(), "/reload", "");
        assert_eq!(answer.status, 422, "{code}: {}", answer.body);
        assert!(answer.body.contains(reason), "{code}: {}", answer.body);
        assert_eq!(says(&program).as_deref(), Some("0"));
    }
    // The bomb had its 64 MiB at most, and they are gone with it.
    eventually("its memory is given back", || (program.data() < before + (16 << 20)).then_some(()));
    reload(&folder, &program, "next");
}

fn reload(folder: &Folder, program: &Program, text: &str) {
    put(&folder.path("hello.wasm"), &answering(text));
    let answer = post(program.admin(), "/reload", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(says(program).as_deref(), Some(text));
}

#[test]
fn memory_does_not_grow_with_the_number_of_swaps() {
    let (folder, program) = configured();
    memory_stays(&program, |n| reload(&folder, &program, &format!("v{n}")));
}
