//! A module from the few lines that matter: imports, memory, an allocator and a mark are put around them, and `@"text"`
//! becomes the place and the length of that text.

use std::fmt::Write as _;

/// Every import the tests use, with the name it goes by in them.
pub(crate) const IMPORTS: &[(&str, &str, usize)] = &[
    ("log", "proxy_log", 3),
    ("time", "proxy_get_current_time_nanoseconds", 1),
    ("tick", "proxy_set_tick_period_milliseconds", 1),
    ("done", "proxy_done", 0),
    ("effective", "proxy_set_effective_context", 1),
    ("resume", "proxy_continue_stream", 1),
    ("close", "proxy_close_stream", 1),
    ("answer", "proxy_send_local_response", 8),
    ("map_size", "proxy_get_header_map_size", 2),
    ("pairs", "proxy_get_header_map_pairs", 3),
    ("set_pairs", "proxy_set_header_map_pairs", 3),
    ("get", "proxy_get_header_map_value", 5),
    ("add", "proxy_add_header_map_value", 5),
    ("replace", "proxy_replace_header_map_value", 5),
    ("remove", "proxy_remove_header_map_value", 3),
    ("bytes", "proxy_get_buffer_bytes", 5),
    ("buffer_status", "proxy_get_buffer_status", 3),
    ("set_bytes", "proxy_set_buffer_bytes", 5),
    ("http_call", "proxy_http_call", 10),
    ("grpc_call", "proxy_grpc_call", 12),
    ("grpc_stream", "proxy_grpc_stream", 9),
    ("grpc_send", "proxy_grpc_send", 4),
    ("grpc_cancel", "proxy_grpc_cancel", 1),
    ("grpc_close", "proxy_grpc_close", 1),
    ("status", "proxy_get_status", 3),
    ("get_shared", "proxy_get_shared_data", 5),
    ("set_shared", "proxy_set_shared_data", 5),
    ("register_queue", "proxy_register_shared_queue", 3),
    ("resolve_queue", "proxy_resolve_shared_queue", 5),
    ("enqueue", "proxy_enqueue_shared_queue", 3),
    ("dequeue", "proxy_dequeue_shared_queue", 3),
    ("define_metric", "proxy_define_metric", 4),
    ("get_metric", "proxy_get_metric", 2),
    ("property", "proxy_get_property", 4),
    ("set_property", "proxy_set_property", 4),
    ("foreign", "proxy_call_foreign_function", 6),
];

const ALLOCATOR: &str = r#"
  (global $heap (mut i32) (i32.const 65536))
  (func (export "malloc") (param $n i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (i32.add (global.get $heap) (local.get $n)) (i32.const 4194304))
      (then (global.set $heap (i32.const 65536))))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $n)))
    (local.get $at))"#;

/// `$is` ends the guest unless two numbers are the same. What calls write goes to 8 and 12.
const HELPERS: &str = r#"
  (memory (export "memory") 64)
  (func $is (param i32 i32) (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
  (func $ok (param i32) (call $is (local.get 0) (i32.const 0)))
  (func $got (result i32 i32) (i32.load (i32.const 8)) (i32.load (i32.const 12)))
  (func $say (param i32 i32) (call $ok (call $log (i32.const 2) (local.get 0) (local.get 1))))
  (func $respond (param $status i32) (param $at i32) (param $length i32)
    (call $ok (call $answer (local.get $status) (i32.const 0) (i32.const 0)
      (local.get $at) (local.get $length) (i32.const 0) (i32.const 0) (i32.const -1))))
"#;

/// A filter of version 0.2.1.
pub(crate) fn filter(code: &str) -> Vec<u8> {
    filter_of("0_2_1", code)
}

pub(crate) fn filter_of(version: &str, code: &str) -> Vec<u8> {
    module(&format!("(func (export \"proxy_abi_version_{version}\")) {ALLOCATOR} {code}"))
}

/// The same with an import of its own.
pub(crate) fn filter_with(import: &str, code: &str) -> Vec<u8> {
    around(import, &format!("(func (export \"proxy_abi_version_0_2_1\")) {ALLOCATOR} {code}"))
}

/// Imports, memory and helpers around what makes a filter, or does not.
pub(crate) fn module(code: &str) -> Vec<u8> {
    around("", code)
}

fn around(import: &str, code: &str) -> Vec<u8> {
    let mut text = format!("(module\n{import}\n");
    for (name, import, parameters) in IMPORTS {
        let parameters = "i32 ".repeat(*parameters);
        let _ =
            writeln!(text, "(import \"env\" \"{import}\" (func ${name} (param {parameters}) (result i32)))");
    }
    let code = format!("{HELPERS} {code}");
    text.push_str(&with_texts(&code));
    text.push(')');
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// Puts each `@"text"` into a data segment, from address 1024 on.
pub(crate) fn with_texts(code: &str) -> String {
    let (mut out, mut data, mut at) = (String::new(), String::new(), 1024);
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("@\"") {
        let (text, after) = after.split_once('"').unwrap();
        // An escape is three characters of text and one byte of data.
        let length = text.len() - 2 * text.matches('\\').count();
        let _ = write!(out, "{before}(i32.const {at}) (i32.const {length})");
        let _ = writeln!(data, "(data (i32.const {at}) \"{text}\")");
        (at, rest) = (at + length, after);
    }
    out + rest + "\n" + &data
}
