//! What is refused before anybody calls it.

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::component::{http, http_with};
use super::rig::{Rig, told};

const ANSWER: &str = "(call $reply (i32.const 200) @\"there\")";

#[tokio::test]
async fn what_is_no_function_is_refused_with_its_reason() {
    let rig = Rig::new();
    let check = async |module: &[u8], expected: &str| {
        let error = rig.refused(module, json!({})).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    };
    check(b"no module", "it is no WebAssembly component").await;
    check(&wat::parse_str("(module)").unwrap(), "it is no WebAssembly component").await;
    check(&wat::parse_str("(component)").unwrap(), "`outrigger:functions/http`").await;
    let shape = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\")))
        (instance $http (export \"handle\" (func $f)))
        (export \"outrigger:functions/http@0.1.0\" (instance $http)))";
    check(&wat::parse_str(shape).unwrap(), "it cannot be started").await;
    let besides = "(import \"test:unknown/thing@1.0.0\" \"do\" (func $do))";
    let unknown = http_with("import test:unknown/thing@1.0.0;", besides, &format!("(call $do) {ANSWER}"));
    check(&unknown, "test:unknown/thing@1.0.0").await;
    let large = vec![0; (32 << 20) + 1];
    check(&large, "larger than 32 MiB").await;
}

#[tokio::test]
async fn one_that_cannot_start_is_refused_with_its_reason() {
    let rig = Rig::new();
    let starts = |code: &str| http_with("", &format!("(func $start {code}) (start $start)"), ANSWER);
    let settings = json!({ "cpu": "50ms", "memory": 1 << 20 });
    let check = async |code: &str, expected: &str| {
        let error = rig.refused(&starts(code), settings.clone()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    };
    check("unreachable", "it cannot be started: it trapped: wasm trap: wasm `unreachable`").await;
    check("(loop (br 0))", "it computed for longer than 50ms").await;
    check(
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
        "denied more than",
    )
    .await;
    let function = rig.load(&starts(""), settings.clone()).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "there", "it was not the start as such");
    let error = rig.refused(&http(ANSWER), json!({ "memory": 65536 })).await;
    assert!(error.message().contains("memory"), "{error}");
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let rig = Rig::with(json!({}));
    for _ in 0..2 {
        let function = rig.load(&http(ANSWER), json!({})).await.unwrap();
        assert_eq!(told(&function, "").await.unwrap(), "there");
    }
    let files = std::fs::read_dir(rig.cache()).unwrap().map(|file| file.unwrap().file_name());
    let files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].ends_with("-component.aot"), "{files:?}");
}

#[tokio::test]
async fn one_of_many_parts_is_loaded_as_long_as_there_are_not_too_many() {
    let rig = Rig::new();
    let parts = |parts: usize| {
        let instances = "(core instance (instantiate $m))".repeat(parts);
        let text = format!(
            "(component (core module $m) {instances}
              (core module $n (func (export \"f\") (param i32 i32 i64) (result i32) unreachable)
                (memory (export \"memory\") 1)
                (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) unreachable))
              (core instance $i (instantiate $n))
              (type $tick (record (field \"name\" string) (field \"due\" u64)))
              (export $t \"tick\" (type $tick))
              (func $f (param \"tick\" $t) (result (result (error string)))
                (canon lift (core func $i \"f\") (memory (core memory $i \"memory\")) (realloc (core func $i \"realloc\"))))
              (instance $s (export \"tick\" (type $t)) (export \"handle\" (func $f)))
              (export \"outrigger:functions/schedule@0.1.0\" (instance $s)))"
        );
        wat::parse_str(&text).unwrap()
    };
    assert!(rig.load(&parts(20), json!({})).await.unwrap().triggers().schedule);
    let error = rig.refused(&parts(60), json!({})).await;
    assert!(error.message().contains("instances"), "{error}");
}
