//! What filters write, in the log of the process.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::subscriber::DefaultGuard;

use crate::guest::{filter, filter_with};
use crate::rig::{PATIENCE, Rig, get, ok};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// What is logged on this thread until the guard goes.
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false);
        let subscriber = subscriber.with_writer(move || written.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines of filters.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(" wasm: ")).map(|line| line.trim().to_owned()).collect()
    }
}

const WRITE: &str =
    r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;
const PRINT: &str = r#"
    (func $print (param $fd i32) (param $at i32) (param $length i32)
      (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $length))
      (call $ok (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 24))))"#;

#[tokio::test]
async fn a_line_written_in_pieces_is_one() {
    let (log, _guard) = Log::begin();
    let code = format!(
        r#"{PRINT}
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $print (i32.const 2) @"goroutine")
          (call $print (i32.const 1) @"other\0a\0a")
          (call $print (i32.const 2) @" 1\0aand")
          (call $print (i32.const 2) @" its end")
          unreachable)"#
    );
    let rig = Rig::with(&filter_with(WRITE, &code), json!({})).await;
    assert_eq!(rig.get("/").await.status(), 503);
    let expected = ["INFO wasm: other", "ERROR wasm: goroutine 1", "ERROR wasm: and its end"];
    assert_eq!(log.lines(), expected.map(|line| format!("{line} plugin=\"p\"")));
}

#[tokio::test]
async fn a_line_without_an_end_is_written_as_far_as_one_may_go() {
    let (log, _guard) = Log::begin();
    let code = format!(
        r#"{PRINT}
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (memory.fill (i32.const 100000) (i32.const 120) (i32.const 40000))
          (call $print (i32.const 1) (i32.const 100000) (i32.const 40000))
          (i32.const 0))"#
    );
    let rig = Rig::with(&filter_with(WRITE, &code), json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
    let lengths: Vec<_> = log.lines().iter().map(|line| line.matches('x').count()).collect();
    assert_eq!(lengths, [16 << 10, 16 << 10], "what is left waits for its end");
}

#[tokio::test]
async fn lines_beyond_the_bound_are_counted_in_the_log() {
    let (log, _guard) = Log::begin();
    let code = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $n i32)
          (if (call $get (i32.const 0) @"x-many" (i32.const 8) (i32.const 12))
            (then (call $say @"one")) (else (loop
              (call $say @"many")
              (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 150))))))
          (i32.const 0))"#;
    let rig = Rig::with(&filter(code), json!({ "deadline": "1s" })).await;
    let mut request = get("/");
    request.head.headers.append(&"x-many".parse().unwrap(), "1").unwrap();
    rig.pass(request, ok("")).await;
    assert_eq!(log.lines().len(), 100);
    let since = Instant::now();
    while !log.lines().iter().any(|line| line.contains("dropped=")) {
        assert!(since.elapsed() < PATIENCE, "it is never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
        rig.get("/").await;
    }
    let told = log.lines().into_iter().find(|line| line.contains("dropped="));
    let dropped: u32 = told.unwrap().split_once("dropped=").unwrap().1.parse().unwrap();
    assert!(dropped >= 50, "{dropped}, with those of the questions since");
}
