//! The little there is of an operating system.

use serde_json::json;

use crate::guest::filter_with;
use crate::rig::Rig;

fn asking(module: &str, code: &str) -> Vec<u8> {
    let imports = [
        "fd_write (param i32 i32 i32 i32)",
        "clock_time_get (param i32 i64 i32)",
        "random_get (param i32 i32)",
        "environ_sizes_get (param i32 i32)",
        "args_sizes_get (param i32 i32)",
        "fd_prestat_get (param i32 i32)",
        "fd_fdstat_get (param i32 i32)",
        "poll_oneoff (param i32 i32 i32 i32)",
        "path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32)",
    ];
    let import = |line: &str| {
        let (name, parameters) = line.split_once(' ').unwrap();
        format!("(import \"{module}\" \"{name}\" (func ${name} {parameters} (result i32)))")
    };
    let imports: String = imports.into_iter().map(import).collect();
    let exit = format!("(import \"{module}\" \"proc_exit\" (func $proc_exit (param i32)))");
    filter_with(&format!("{imports}{exit}"), code)
}

#[tokio::test]
async fn both_names_of_wasi_are_served() {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let code = r#"
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (i32.store (i32.const 16) (i32.const 65600)) (i32.store (i32.const 20) (i32.const 5))
              (i32.store (i32.const 24) (i32.const 65600)) (i32.store (i32.const 28) (i32.const 7))
              (call $ok (call $fd_write (i32.const 1) (i32.const 16) (i32.const 2) (i32.const 8)))
              (call $is (i32.load (i32.const 8)) (i32.const 12))
              (call $is (call $fd_write (i32.const 3) (i32.const 16) (i32.const 2) (i32.const 8)) (i32.const 8))
              (call $is (call $fd_write (i32.const 1) (i32.const -1) (i32.const 2) (i32.const 8)) (i32.const 21))
              (call $is (call $fd_write (i32.const 1) (i32.const 16) (i32.const -1) (i32.const 8)) (i32.const 28))
              (call $ok (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 32)))
              (call $is (i64.gt_u (i64.load (i32.const 32)) (i64.const 1700000000000000000)) (i32.const 1))
              (call $ok (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 32)))
              (call $is (call $clock_time_get (i32.const 9) (i64.const 0) (i32.const 32)) (i32.const 28))
              (call $ok (call $random_get (i32.const 40) (i32.const 16)))
              (call $is (i64.ne (i64.load (i32.const 40)) (i64.load (i32.const 48))) (i32.const 1))
              (call $is (call $random_get (i32.const 40) (i32.const 65537)) (i32.const 28))
              (call $is (call $random_get (i32.const -4) (i32.const 16)) (i32.const 21))
              (call $ok (call $environ_sizes_get (i32.const 8) (i32.const 12)))
              (call $ok (i32.or (i32.load (i32.const 8)) (i32.load (i32.const 12))))
              (call $ok (call $args_sizes_get (i32.const 8) (i32.const 12)))
              (call $is (call $fd_prestat_get (i32.const 3) (i32.const 8)) (i32.const 8))
              (call $ok (call $fd_fdstat_get (i32.const 1) (i32.const 64)))
              (call $is (call $fd_fdstat_get (i32.const 3) (i32.const 64)) (i32.const 8))
              (call $ok (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)))
              (call $is (i32.load (i32.const 8)) (i32.const 1))
              (call $is (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 9999) (i32.const 8)) (i32.const 28))
              (call $is (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)) (i32.const 58))
              (i32.const 0))"#;
        let rig = Rig::with(&asking(module, code), json!({})).await;
        assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0), "{module}");
    }
}

#[tokio::test]
async fn an_exit_ends_the_instance_unless_it_is_how_a_program_ends() {
    let ends = r#"(func (export "_start") (call $proc_exit (i32.const CODE)))"#;
    let rig = Rig::with(&asking("wasi_snapshot_preview1", &ends.replace("CODE", "0")), json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
    let mut rig = Rig::empty();
    let failed = rig.load(&asking("wasi_snapshot_preview1", &ends.replace("CODE", "3")), json!({})).await;
    let [problem] = failed.unwrap_err().try_into().unwrap();
    assert!(problem.message.contains("the module exited with code 3"), "{}", problem.message);

    let later = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $proc_exit (i32.const 0)) (i32.const 0))"#;
    let rig = Rig::with(&asking("wasi_snapshot_preview1", later), json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (503, 1));
}
