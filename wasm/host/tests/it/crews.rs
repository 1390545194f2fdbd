//! Plugins of one `vm_id`: what they share, and what not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::server;
use crate::guest::{filter, filter_with};
use crate::lifecycle::{RECORD, STEPS};
use crate::rig::{PATIENCE, Passed, Rig, get, ok, post};

/// Plugins of one module, in one instance unless their settings say otherwise.
async fn load(rig: &mut Rig, module: &[u8], plugins: &[(&str, Value)]) -> Result<(), Vec<(String, String)>> {
    std::fs::write(rig.file("m.wasm"), module).unwrap();
    let mut config = json!({ "plugins": {} });
    for (name, settings) in plugins {
        let mut plugin = json!({ "file": rig.file("m.wasm"), "vm_id": "v", "root_id": name });
        plugin.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        config["plugins"][*name] = plugin;
    }
    let applied = rig.apply(config).await;
    applied.map_err(|found| found.into_iter().map(|problem| (problem.path, problem.message)).collect())
}

async fn with(module: &[u8], plugins: &[(&str, Value)]) -> Rig {
    let mut rig = Rig::empty();
    load(&mut rig, module, plugins).await.unwrap();
    rig
}

async fn get_by(rig: &Rig, plugin: &str) -> Passed {
    rig.pass_by(plugin, get("/"), ok("")).await
}

/// Counts the requests of its instance, and says in whose name and with which configuration.
const COUNTS: &str = r#"
    (global $seen (mut i32) (i32.const 48))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
      (i32.store8 (i32.const 64) (global.get $seen))
      (call $ok (call $add (i32.const 0) @"x-seen" (i32.const 64) (i32.const 1)))
      (call $ok (call $property @"plugin_name" (i32.const 8) (i32.const 12)))
      (call $ok (call $add (i32.const 0) @"x-name" (call $got)))
      (call $ok (call $property @"plugin_root_id" (i32.const 8) (i32.const 12)))
      (call $ok (call $add (i32.const 0) @"x-root" (call $got)))
      (call $ok (call $bytes (i32.const 7) (i32.const 0) (i32.const 100) (i32.const 8) (i32.const 12)))
      (call $ok (call $add (i32.const 0) @"x-config" (call $got)))
      (i32.const 0))"#;

async fn counted(rig: &Rig, plugin: &str) -> [String; 4] {
    let passed = get_by(rig, plugin).await;
    ["x-seen", "x-name", "x-root", "x-config"].map(|name| passed.asked(name).unwrap())
}

#[tokio::test]
async fn plugins_of_one_vm_id_share_an_instance() {
    let module = filter(COUNTS);
    let plugins = [("p", json!({ "config": "one" })), ("q", json!({ "config": "two" }))];
    let rig = with(&module, &plugins).await;
    assert_eq!(counted(&rig, "p").await, ["1", "p", "p", "one"]);
    assert_eq!(counted(&rig, "q").await, ["2", "q", "q", "two"]);
    assert_eq!(counted(&rig, "p").await, ["3", "p", "p", "one"]);
    // What an instance is told when it starts is one thing for all who share it.
    for settings in [json!({ "vm_config": "x" }), json!({ "vm_id": "w" }), json!({ "memory": 16 << 20 })] {
        let rig = with(&module, &[("p", json!({})), ("q", settings)]).await;
        assert_eq!(counted(&rig, "p").await[0], "1");
        assert_eq!(counted(&rig, "q").await[0], "1", "another instance");
    }
}

#[tokio::test]
async fn an_instance_starts_once_and_each_of_its_plugins_is_configured() {
    // The second turns to the first while its context is created, and is told the size of its own configuration.
    let code = format!(
        r#"{STEPS}
        (func (export "proxy_on_context_create") (param i32 i32)
          (call $ok (call $effective (i32.const 1)))
          (call $step (i64.const 1)))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $step (i64.const 2)) (i32.const 1))
        (func (export "proxy_on_configure") (param $id i32) (param $size i32) (result i32)
          (call $step (i64.extend_i32_u (local.get $size))) (i32.const 1))
        (func (export "proxy_on_done") (param i32) (result i32) (call $step (i64.const 8)) (i32.const 1))
        (func (export "proxy_on_delete") (param i32) (call $step (i64.const 9)))"#
    );
    let module = filter_with(RECORD, &code);
    let mut rig =
        with(&module, &[("p", json!({ "config": "333" })), ("q", json!({ "config": "4444" }))]).await;
    rig.until("outrigger_wasm_custom_steps 12314").await;
    load(&mut rig, &module, &[]).await.unwrap();
    rig.until("outrigger_wasm_custom_steps 123148989").await;
}

#[tokio::test]
async fn data_is_shared_by_those_who_share_no_instance_too() {
    let code = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (i32.eqz (call $get_shared @"key" (i32.const 8) (i32.const 12) (i32.const 16)))
            (then (call $ok (call $add (i32.const 0) @"x-shared" (call $got)))))
          (call $ok (call $property @"plugin_name" (i32.const 8) (i32.const 12)))
          (call $ok (call $set_shared @"key" (call $got) (i32.const 0)))
          (i32.const 0))"#;
    for (settings, shared) in [(json!({ "memory": 16 << 20 }), Some("p")), (json!({ "vm_id": "w" }), None)] {
        let rig = with(&filter(code), &[("p", json!({})), ("q", settings)]).await;
        assert_eq!(get_by(&rig, "p").await.asked("x-shared"), None);
        assert_eq!(get_by(&rig, "q").await.asked("x-shared").as_deref(), shared);
        assert_eq!((rig.crashes_of("p"), rig.crashes_of("q")), (0, 0));
    }
}

#[tokio::test]
async fn a_change_of_one_is_a_new_instance_for_all() {
    let module = filter(COUNTS);
    let plugins = |config: &str| [("p", json!({ "config": config })), ("q", json!({}))];
    let mut rig = with(&module, &plugins("one")).await;
    assert_eq!((counted(&rig, "p").await[0].as_str(), counted(&rig, "q").await[0].as_str()), ("1", "2"));
    load(&mut rig, &module, &plugins("one")).await.unwrap();
    assert_eq!(counted(&rig, "q").await[0], "3", "nothing has changed");
    load(&mut rig, &module, &plugins("two")).await.unwrap();
    assert_eq!((counted(&rig, "q").await[0].as_str(), counted(&rig, "p").await[3].as_str()), ("1", "two"));
    load(&mut rig, &module, &[("q", json!({}))]).await.unwrap();
    assert_eq!(counted(&rig, "q").await[0], "1", "the other has left");
}

#[tokio::test]
async fn a_crash_of_one_is_a_crash_of_all() {
    let code = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (i32.eqz (call $get (i32.const 0) @"x-bad" (i32.const 8) (i32.const 12))) (then unreachable))
          (if (i32.eqz (call $get (i32.const 0) @"x-wait" (i32.const 8) (i32.const 12)))
            (then (return (i32.const 1))))
          (i32.const 0))"#;
    let module = filter(code);
    let asking = |field: &str| {
        let mut request = get("/");
        request.head.headers.append(&field.parse().unwrap(), "1").unwrap();
        request
    };
    // What is not to happen is not waited for as long.
    let crashes = async |other: Value, patience: Duration| {
        let rig = with(&module, &[("p", json!({})), ("q", other)]).await;
        // The last of the two is there when the first has been asked.
        get_by(&rig, "q").await;
        let crash = async {
            rig.until("outrigger_wasm_held{plugin=\"q\"} 1").await;
            rig.pass(asking("x-bad"), ok("")).await
        };
        let waits = tokio::time::timeout(patience, rig.pass_by("q", asking("x-wait"), ok("")));
        let (waited, crashed) = tokio::join!(waits, crash);
        assert_eq!(crashed.status(), 503);
        (waited.ok().map(|passed| passed.status()), rig.crashes_of("p"), rig.crashes_of("q"))
    };
    assert_eq!(crashes(json!({}), PATIENCE).await, (Some(503), 1, 1));
    let apart = crashes(json!({ "vm_id": "other" }), Duration::from_secs(2)).await;
    assert_eq!(apart, (None, 1, 0), "it goes on waiting");
}

#[tokio::test]
async fn what_comes_back_later_is_told_to_the_plugin_it_is_for() {
    // Which of the two plugins a context is of, by its configuration.
    let code = r#"
        (global $p (mut i32) (i32.const 0))
        (global $q (mut i32) (i32.const 0))
        (func $plugin (result i32)
          (call $ok (call $bytes (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 12)))
          (i32.load8_u (i32.load (i32.const 8))))
        (func $mine (param $id i32)
          (call $is (local.get $id)
            (if (result i32) (i32.eq (call $plugin) (i32.const 112)) (then (global.get $p)) (else (global.get $q)))))
        (func (export "proxy_on_configure") (param $id i32) (param i32) (result i32)
          (if (i32.eq (call $plugin) (i32.const 112))
            (then (global.set $p (local.get $id)) (call $ok (call $tick (i32.const 1))))
            (else (global.set $q (local.get $id)) (call $ok (call $tick (i32.const 2)))
              (call $ok (call $register_queue @"queue" (i32.const 16)))))
          (i32.const 1))
        (func (export "proxy_on_context_create") (param $id i32) (param $parent i32)
          (if (local.get $parent) (then (call $mine (local.get $parent)))))
        (func (export "proxy_on_tick") (param $id i32)
          (call $mine (local.get $id))
          (call $ok (call $tick (i32.const 0)))
          (if (i32.eq (call $plugin) (i32.const 112))
            (then (call $step (i64.const 1)) (call $ok (call $tick (i32.const 0))))
            (else (call $step (i64.const 1)) (call $ok (call $enqueue (i32.load (i32.const 16)) @"item")))))
        (func (export "proxy_on_queue_ready") (param $id i32) (param i32)
          (call $is (local.get $id) (global.get $q))
          (call $mine (local.get $id))
          (call $step (i64.const 2)))
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
          (call $ok (call $http_call @"c"
            @"\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\05\00\00\00:method\00POST\00:path\00/check\00:authority\00check\00"
            @"body" @"" (i32.const 60000) (i32.const 20)))
          (call $ok (call $effective (global.get $p)))
          (call $is (call $plugin) (i32.const 112))
          (call $ok (call $effective (global.get $q)))
          (call $is (call $plugin) (i32.const 113))
          (call $ok (call $effective (local.get $id)))
          (i32.const 1))
        (func (export "proxy_on_http_call_response") (param $id i32) (param i32 i32 i32 i32)
          (call $mine (local.get $id))
          (call $ok (call $resume (i32.const 0))))"#;
    let module = filter_with(RECORD, &format!("{STEPS} {code}"));
    let address = server("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let plugins = [("p", json!({ "config": "p" })), ("q", json!({ "config": "q" }))];
    let rig = with(&module, &plugins).await.calling(address, "http1");
    rig.until("outrigger_wasm_custom_steps 112").await;
    for plugin in ["p", "q"] {
        assert_eq!(get_by(&rig, plugin).await.status(), 200, "{plugin}");
    }
    assert_eq!((rig.crashes_of("p"), rig.crashes_of("q")), (0, 0));
}

#[tokio::test]
async fn each_has_bounds_of_its_own() {
    let code = r#"(func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
        (i32.eqz (local.get $end)))"#;
    let plugins = [("p", json!({ "max_buffer": 4 })), ("q", json!({ "max_buffer": 400 }))];
    let rig = with(&filter(code), &plugins).await;
    let asked = async |plugin| rig.pass_by(plugin, post(&["three", "four"]), ok("")).await.status();
    assert_eq!((asked("p").await, asked("q").await), (413, 200));
}

#[tokio::test]
async fn each_is_timed_for_as_many_of_its_streams() {
    let rig = with(&filter(COUNTS), &[("p", json!({})), ("q", json!({}))]).await;
    // The numbers of one are odd then, and those of the other even.
    for _ in 0..48 {
        get_by(&rig, "p").await;
        get_by(&rig, "q").await;
    }
    for plugin in ["p", "q"] {
        let timed = rig.value(&format!("outrigger_wasm_stream_seconds_count{{plugin=\"{plugin}\"}}"));
        assert!((2..=4).contains(&timed.parse::<u32>().unwrap()), "{plugin}: {timed} of 48");
    }
}

#[tokio::test]
async fn one_that_refuses_its_configuration_is_named() {
    let refuses = r#"(func (export "proxy_on_configure") (param $id i32) (param $size i32) (result i32)
        (i32.eqz (local.get $size)))"#;
    let mut rig = Rig::empty();
    let plugins = [("p", json!({})), ("q", json!({ "config": "x" })), ("r", json!({}))];
    let refused = load(&mut rig, &filter(refuses), &plugins).await.unwrap_err();
    let message = "`proxy_on_configure` refused its configuration";
    assert_eq!(refused, [("plugins.q.file".to_owned(), message.to_owned())]);
}
