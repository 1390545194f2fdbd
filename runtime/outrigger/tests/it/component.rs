//! Components in a few lines: they answer by doors, and take or fail what they are called for, by what they are given.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What every module has: a memory, room for what it is given, and an answer with a text to return.
const BASE: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func $reply (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (i32.const 200))
    (i64.store (i32.const 20) (i64.const 0))
    (i32.store (i32.const 28) (local.get $at))
    (i32.store (i32.const 32) (local.get $length))
    (i32.const 16))"#;

/// Exports every trigger. `http` answers `routed`, `invoke` answers `invoked`; an event that begins with `t` traps and
/// one with `d` is dropped; a run of a schedule whose name begins with `f` fails; bindings are taken.
const CODE: &str = r#"
  (data (i32.const 1024) "routed")
  (data (i32.const 1040) "invoked")
  (data (i32.const 1056) "text/plain")
  (data (i32.const 1072) "as told")
  (func (export "outrigger:functions/http@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $reply (i32.const 1024) (i32.const 6)))
  (func (export "outrigger:functions/invoke@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 1056))
    (i32.store (i32.const 24) (i32.const 10))
    (i32.store (i32.const 28) (i32.const 1040))
    (i32.store (i32.const 32) (i32.const 7))
    (i32.const 16))
  (func (export "outrigger:functions/event@0.1.0#handle") (param $event i32) (result i32)
    (local $first i32)
    (local.set $first (i32.load8_u (i32.load offset=32 (local.get $event))))
    (if (i32.eq (local.get $first) (i32.const 116)) (then unreachable))
    (i32.mul (i32.const 2) (i32.eq (local.get $first) (i32.const 100))))
  (func (export "outrigger:functions/schedule@0.1.0#handle") (param $name i32) (param i32 i64) (result i32)
    (i32.store (i32.const 16) (i32.eq (i32.load8_u (local.get $name)) (i32.const 102)))
    (i32.store (i32.const 20) (i32.const 1072))
    (i32.store (i32.const 24) (i32.const 7))
    (i32.const 16))
  (func (export "outrigger:functions/binding@0.1.0#handle") (param i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.const 16))"#;

/// Calls the function that the first letter of the body names, with the rest of it, and answers as that one does, or why
/// that was not called; at the end of the body it answers `end`.
const CALLS: &str = r#"
  (import "outrigger:functions/invocation@0.1.0" "call" (func $call
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (data (i32.const 1024) "end")
  (data (i32.const 1040) "POST")
  (func (export "outrigger:functions/http@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32) (param $body i32) (param $body_n i32) (result i32)
    (if (i32.eqz (local.get $body_n)) (then (return (call $reply (i32.const 1024) (i32.const 3)))))
    (call $call (local.get $body) (i32.const 1) (i32.const 1040) (i32.const 4) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.add (local.get $body) (i32.const 1))
      (i32.sub (local.get $body_n) (i32.const 1)) (i32.const 64))
    (if (result i32) (i32.load8_u (i32.const 64))
      (then (call $reply (i32.load (i32.const 72)) (i32.load (i32.const 76))))
      (else (call $reply (i32.load (i32.const 80)) (i32.load (i32.const 84))))))"#;

/// The function with every trigger.
pub(crate) fn all_triggers() -> Vec<u8> {
    let exports = ["http", "invoke", "event", "schedule", "binding"]
        .map(|trigger| format!("export outrigger:functions/{trigger}@0.1.0;"));
    component(&exports.concat(), CODE)
}

/// The function that calls others.
pub(crate) fn calling() -> Vec<u8> {
    let world = "import outrigger:functions/invocation@0.1.0; export outrigger:functions/http@0.1.0;";
    component(world, CALLS)
}

/// One that answers every request with a text.
pub(crate) fn answering(text: &str) -> Vec<u8> {
    answers(&format!(
        r#"(data (i32.const 1024) "{text}")
           (func (export "outrigger:functions/http@0.1.0#handle")
             (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
             (call $reply (i32.const 1024) (i32.const {length})))"#,
        length = text.len()
    ))
}

/// One with these fields, which answers requests.
pub(crate) fn answers(fields: &str) -> Vec<u8> {
    component("export outrigger:functions/http@0.1.0;", fields)
}

fn component(world: &str, fields: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wasm/wit")).unwrap();
    let text = format!("package test:it; world it {{ {world} }}");
    let package = resolve.push_str("test.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("it")).unwrap();
    let mut module = wat::parse_str(format!("(module {fields} {BASE})")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}
