//! Connections: what both sides say goes by the filter.

use outrigger_http::Duplex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::guest::{filter, filter_with};
use crate::rig::{Rig, get, within};

/// The far ends, which speak, and the near ones, which whoever carries the connection reads.
struct Line {
    client: DuplexStream,
    server: DuplexStream,
    near: [Box<dyn Duplex>; 2],
}

fn line(rig: &Rig) -> Option<Line> {
    let tap = rig.plugins.modules()["p"].tap(&get("/").conn)?;
    let ((client, near_client), (server, near_server)) = (tokio::io::duplex(4096), tokio::io::duplex(4096));
    let near = tap.between(Box::new(near_client), Box::new(near_server));
    Some(Line { client, server, near })
}

async fn hear(near: &mut Box<dyn Duplex>, length: usize) -> String {
    let mut heard = vec![0; length];
    within(near.read_exact(&mut heard)).await.unwrap();
    String::from_utf8(heard).unwrap()
}

/// Holds what the client says back until there is a `!`, and puts `> ` before what the server says.
const MARKS: &str = r#"
    (func (export "proxy_on_downstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
      (call $is (call $bytes (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 12)) (i32.const 1))
      (if (i32.eqz (local.get $size)) (then (return (i32.const 0))))
      (call $ok (call $bytes (i32.const 2) (i32.sub (local.get $size) (i32.const 1)) (i32.const 1) (i32.const 8) (i32.const 12)))
      (if (i32.eq (i32.load8_u (i32.load (i32.const 8))) (i32.const 46)) (then
        (call $ok (call $close (i32.const 2)))
        (return (i32.const 1))))
      (i32.ne (i32.load8_u (i32.load (i32.const 8))) (i32.const 33)))
    (func (export "proxy_on_upstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
      (if (local.get $size)
        (then (call $ok (call $set_bytes (i32.const 3) (i32.const 0) (i32.const 0) @"> "))))
      (call $is (call $set_bytes (i32.const 1) (i32.const 0) (i32.const 0) @"x") (i32.const 2))
      (call $is (call $resume (i32.const 1)) (i32.const 1))
      (call $is (call $answer (i32.const 200) @"" @"" @"" (i32.const -1)) (i32.const 2))
      (i32.const 0))"#;

#[tokio::test]
async fn both_sides_go_by_the_filter() {
    let rig = Rig::with(&filter(MARKS), json!({})).await;
    let Line { mut client, mut server, near: [mut from_client, mut from_server] } = line(&rig).unwrap();
    client.write_all(b"hel").await.unwrap();
    let mut early = [0; 1];
    let waiting =
        tokio::time::timeout(std::time::Duration::from_millis(50), from_client.read(&mut early)).await;
    assert!(waiting.is_err(), "it is held back");
    client.write_all(b"lo!").await.unwrap();
    assert_eq!(hear(&mut from_client, 6).await, "hello!");
    server.write_all(b"welcome").await.unwrap();
    assert_eq!(hear(&mut from_server, 9).await, "> welcome");
    client.shutdown().await.unwrap();
    assert_eq!(within(from_client.read(&mut early)).await.unwrap(), 0, "the end is passed on");
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn a_filter_hangs_up() {
    let rig = Rig::with(&filter(MARKS), json!({})).await;
    let Line { mut client, server: _server, near: [mut from_client, mut from_server] } = line(&rig).unwrap();
    client.write_all(b"bye.").await.unwrap();
    for near in [&mut from_client, &mut from_server] {
        let error = within(near.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    }
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn more_than_may_be_held_back_is_not_read() {
    let rig = Rig::with(&filter(MARKS), json!({ "max_buffer": 10_000 })).await;
    let Line { mut client, server: _server, near: [mut from_client, _from_server] } = line(&rig).unwrap();
    let speaking = tokio::spawn(async move {
        let mut said = 0;
        while let Ok(Ok(())) =
            tokio::time::timeout(std::time::Duration::from_millis(200), client.write_all(&[b'a'; 1000])).await
        {
            said += 1000;
        }
        said
    });
    let reading =
        tokio::time::timeout(std::time::Duration::from_secs(1), from_client.read(&mut [0; 1])).await;
    assert!(reading.is_err());
    let said = speaking.await.unwrap();
    assert!((10_000..=20_000).contains(&said), "{said}");
}

#[tokio::test]
async fn a_connection_has_its_life() {
    let record = r#"(import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))"#;
    let code = r#"
    (func $step (param $digit i64)
      (call $ok (call $define_metric (i32.const 1) @"steps" (i32.const 32)))
      (call $ok (call $get_metric (i32.load (i32.const 32)) (i32.const 40)))
      (call $ok (call $record (i32.load (i32.const 32))
        (i64.add (i64.mul (i64.load (i32.const 40)) (i64.const 10)) (local.get $digit)))))
    (func (export "proxy_on_new_connection") (param i32) (result i32) (call $step (i64.const 1)) (i32.const 0))
    (func (export "proxy_on_downstream_connection_close") (param $id i32) (param $peer i32)
      (call $step (i64.extend_i32_u (i32.add (local.get $peer) (i32.const 1)))))
    (func (export "proxy_on_upstream_connection_close") (param $id i32) (param $peer i32)
      (call $step (i64.extend_i32_u (i32.add (local.get $peer) (i32.const 3)))))
    (func (export "proxy_on_done") (param i32) (result i32) (call $step (i64.const 5)) (i32.const 1))
    (func (export "proxy_on_log") (param i32) (call $step (i64.const 6)))
    (func (export "proxy_on_delete") (param i32) (call $step (i64.const 7)))"#;
    let rig = Rig::with(&filter_with(record, code), json!({})).await;
    let Line { client, server: _server, near } = line(&rig).unwrap();
    drop(client);
    let [mut from_client, from_server] = near;
    assert_eq!(within(from_client.read(&mut [0; 1])).await.unwrap(), 0);
    drop(from_client);
    drop(from_server);
    rig.until("outrigger_wasm_custom_steps 134567").await;
}

#[tokio::test]
async fn a_filter_that_fails_closes_or_is_left_out() {
    let traps =
        filter(r#"(func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) unreachable)"#);
    let rig = Rig::with(&traps, json!({})).await;
    let Line { mut server, near: [_, mut from_server], client: _client } = line(&rig).unwrap();
    server.write_all(b"x").await.unwrap();
    assert!(within(from_server.read(&mut [0; 1])).await.is_err());
    let rig = Rig::with(&traps, json!({ "failure": "open" })).await;
    let Line { mut server, near: [_from_client, mut from_server], client: _client } = line(&rig).unwrap();
    server.write_all(b"x").await.unwrap();
    assert_eq!(hear(&mut from_server, 1).await, "x");
    server.write_all(b"y").await.unwrap();
    assert_eq!(hear(&mut from_server, 1).await, "y");

    let refuses = filter(
        r#"(func (export "proxy_on_new_connection") (param i32) (result i32)
        (call $ok (call $close (i32.const 2))) (i32.const 1))"#,
    );
    assert!(line(&Rig::with(&refuses, json!({})).await).is_none());
}
