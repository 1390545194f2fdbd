//! Data, queues and metrics between instances.

use serde_json::json;

use crate::guest::{filter, filter_with};
use crate::rig::Rig;

#[tokio::test]
async fn a_value_is_swapped_only_over_the_one_that_was_seen() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $is (call $get_shared @"key" (i32.const 8) (i32.const 12) (i32.const 16)) (i32.const 1))
          (call $ok (call $set_shared @"key" @"one" (i32.const 0)))
          (call $ok (call $get_shared @"key" (i32.const 8) (i32.const 12) (i32.const 16)))
          (call $is (call $set_shared @"key" @"two" (i32.const 99)) (i32.const 8))
          (call $ok (call $set_shared @"key" @"two" (i32.load (i32.const 16))))
          (call $is (call $set_shared @"key" @"three" (i32.load (i32.const 16))) (i32.const 8))
          (call $ok (call $get_shared @"key" (i32.const 8) (i32.const 12) (i32.const 16)))
          (call $ok (call $add (i32.const 0) @"x-value" (call $got)))
          (i32.const 0))"#,
        ),
        json!({}),
    )
    .await;
    assert_eq!((rig.get("/").await.asked("x-value").as_deref(), rig.crashes()), (Some("two"), 0));
}

#[tokio::test]
async fn a_queue_wakes_its_reader_in_another_plugin() {
    let import = r#"(import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))"#;
    let reader = filter_with(
        import,
        r#"
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (call $ok (call $register_queue @"q" (i32.const 16)))
          (call $is (call $dequeue (i32.load (i32.const 16)) (i32.const 8) (i32.const 12)) (i32.const 7))
          (i32.const 1))
        (func (export "proxy_on_queue_ready") (param $root i32) (param $queue i32)
          (call $ok (call $dequeue (local.get $queue) (i32.const 8) (i32.const 12)))
          (call $ok (call $define_metric (i32.const 0) @"items" (i32.const 32)))
          (call $ok (call $increment (i32.load (i32.const 32)) (i64.extend_i32_u (i32.load (i32.const 12)))))
          (call $is (call $increment (i32.load (i32.const 32)) (i64.const -1)) (i32.const 2)))"#,
    );
    let writer = filter(
        r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $is (call $resolve_queue @"nobody" @"q" (i32.const 16)) (i32.const 1))
          (call $ok (call $resolve_queue @"shared" @"q" (i32.const 16)))
          (call $ok (call $enqueue (i32.load (i32.const 16)) @"12345"))
          (call $is (call $enqueue (i32.const 99) @"x") (i32.const 1))
          (i32.const 0))"#,
    );
    let mut rig = Rig::empty();
    std::fs::write(rig.file("reader.wasm"), reader).unwrap();
    std::fs::write(rig.file("writer.wasm"), writer).unwrap();
    let config = json!({ "plugins": {
        "reader": { "file": rig.file("reader.wasm"), "vm_id": "shared" },
        "p": { "file": rig.file("writer.wasm") },
    } });
    rig.apply(config).await.unwrap();
    // The reader registers when its instance is made, which is not at once.
    tokio::task::yield_now().await;
    rig.get("/").await;
    rig.get("/").await;
    rig.until("outrigger_wasm_custom_items_total 10").await;
    assert_eq!(rig.crashes(), 0);
}

#[tokio::test]
async fn what_is_only_tried_out_leaves_no_trace() {
    let rig = Rig::with(
        &filter(
            r#"
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (if (i32.eqz (call $get_shared @"tried" (i32.const 8) (i32.const 12) (i32.const 16))) (then unreachable))
          (call $ok (call $set_shared @"tried" @"1" (i32.const 0)))
          (i32.const 1))"#,
        ),
        json!({}),
    )
    .await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
}
