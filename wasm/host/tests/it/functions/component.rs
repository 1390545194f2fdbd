//! Components from the few lines of a core module that matter: memory and an allocator are put around them, `@"text"`
//! becomes the place and the length of that text, and the world says how the rest is meant.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::guest::with_texts;

/// Answers are put together from 16 on, what calls write goes to 64 and up.
const AROUND: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
        unreachable))
    (local.get $at))
  ;; The answer of `http`.
  (func $reply (param $status i32) (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (local.get $status))
    (i64.store (i32.const 20) (i64.const 0))
    (i32.store (i32.const 28) (local.get $at))
    (i32.store (i32.const 32) (local.get $length))
    (i32.const 16))
  ;; An error with this text, where an answer may be one.
  (func $fail (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (local.get $at))
    (i32.store (i32.const 24) (local.get $length))
    (i32.const 16))
  (func $done (result i32) (i32.store (i32.const 16) (i32.const 0)) (i32.const 16))
"#;

/// A component of this world.
pub(crate) fn component(world: &str, code: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
    resolve.push_str("wasi.wit", include_str!("wasi.wit")).unwrap();
    let tests = resolve.push_str("test.wit", &format!("package test:it; world it {{ {world} }}")).unwrap();
    let world = resolve.select_world(&[tests], Some("it")).unwrap();
    // Imports come first in a module.
    let (imports, code): (Vec<_>, Vec<_>) =
        code.lines().partition(|line| line.trim_start().starts_with("(import "));
    let text = with_texts(&format!("{AROUND} {}", code.join("\n")));
    let text = format!("(module {} {text})", imports.join("\n"));
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder.unwrap().encode().unwrap_or_else(|error| panic!("{error:?}"))
}

const HTTP: &str = r#"(func (export "outrigger:functions/http@0.1.0#handle")
    (param $method i32) (param $method_n i32) (param $path i32) (param $path_n i32)
    (param $authority i32) (param $authority_n i32) (param $headers i32) (param $headers_n i32)
    (param $body i32) (param $body_n i32) (result i32)"#;

/// A function of `http` that does this.
pub(crate) fn http(code: &str) -> Vec<u8> {
    component("export outrigger:functions/http@0.1.0;", &format!("{HTTP} {code})"))
}

/// The same, with more of a world and what belongs to it. Imports go on lines of their own.
pub(crate) fn http_with(world: &str, besides: &str, code: &str) -> Vec<u8> {
    let world = format!("export outrigger:functions/http@0.1.0; {world}");
    component(&world, &format!("{besides}\n{HTTP} {code})"))
}

/// Waits for so many milliseconds, then answers; with a body it waits for ten minutes.
pub(crate) fn sleeper(milliseconds: u64) -> Vec<u8> {
    let besides = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
        (global $timer (mut i32) (i32.const 0))"#;
    let code = format!(
        r#"(global.set $timer (call $after
             (select (i64.const 600000000000) (i64.const {milliseconds}000000) (local.get $body_n))))
           (call $block (global.get $timer))
           (call $drop (global.get $timer))
           (call $reply (i32.const 200) @"slept")"#
    );
    http_with("import wasi:clocks/monotonic-clock@0.2.0;", besides, &code)
}

/// Answers with the number of its calls, counted in its memory; a body of `!` is one too many.
pub(crate) fn counter() -> Vec<u8> {
    let code = r#"
        (if (i32.and (i32.eq (local.get $body_n) (i32.const 1))
                     (i32.eq (i32.load8_u (local.get $body)) (i32.const 33))) (then unreachable))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.const 64) (i32.add (i32.const 48) (global.get $calls)))
        (call $reply (i32.const 200) (i32.const 64) (i32.const 1))"#;
    http_with("", "(global $calls (mut i32) (i32.const 0))", code)
}
