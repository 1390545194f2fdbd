//! Requests with whole bodies, and calls by name.

use outrigger_blocks::{ErrorKind, function::Door};
use serde_json::json;

use super::component::{component, http};
use super::rig::{Rig, ask, ask_by, post, told};

#[tokio::test]
async fn a_request_arrives_whole_and_the_answer_leaves_whole() {
    let rig = Rig::new();
    let check = async |code: &str, expected: &str| {
        let function = rig.load(&http(code), json!({})).await.unwrap();
        let reply = ask(&function, post("/orders/7?full=1", "hello")).await.unwrap();
        assert_eq!((reply.status, reply.text.as_str()), (201, expected));
    };
    check("(call $reply (i32.const 201) (local.get $method) (local.get $method_n))", "POST").await;
    check("(call $reply (i32.const 201) (local.get $path) (local.get $path_n))", "/orders/7?full=1").await;
    check("(call $reply (i32.const 201) (local.get $authority) (local.get $authority_n))", "shop.example")
        .await;
    check("(call $reply (i32.const 201) (local.get $body) (local.get $body_n))", "hello").await;
    let back = "(drop (call $reply (i32.const 200) @\"\"))
        (i32.store (i32.const 20) (local.get $headers)) (i32.store (i32.const 24) (local.get $headers_n))
        (i32.const 16)";
    let function = rig.load(&http(back), json!({})).await.unwrap();
    let reply = ask(&function, post("/", "")).await.unwrap();
    assert_eq!((&reply.headers["x-first"], reply.headers.len()), (&"1".parse().unwrap(), 2));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let rig = Rig::new();
    let check = async |code: &str, expected: &str| {
        let function = rig.load(&http(code), json!({ "max_body": 10 })).await.unwrap();
        let error = told(&function, "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.message().contains(expected), "{error}");
    };
    check("(call $reply (i32.const 99) @\"\")", "a status").await;
    check("(call $reply (i32.const 200) @\"12345678901\")", "11 bytes; 10 are allowed").await;
    // One header, whose name is a space.
    let header = "(drop (call $reply (i32.const 200) @\"\"))
        (i32.store (i32.const 64) (i32.const 80)) (i32.store (i32.const 68) (i32.const 1))
        (i32.store (i32.const 72) (i32.const 80)) (i32.store (i32.const 76) (i32.const 0))
        (i32.store8 (i32.const 80) (i32.const 32))
        (i32.store (i32.const 20) (i32.const 64)) (i32.store (i32.const 24) (i32.const 1))
        (i32.const 16)";
    check(header, "a header that is none: \" \"").await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_answered_for_the_function() {
    let rig = Rig::new();
    let code = "(call $reply (i32.const 200) (local.get $body) (local.get $body_n))";
    let function = rig.load(&http(code), json!({ "max_body": 4 })).await.unwrap();
    assert_eq!(ask(&function, post("/", "1234")).await.unwrap().text, "1234");
    assert_eq!(ask(&function, post("/", "12345")).await.unwrap().status, 413);
}

const INVOKE: &str = r#"(func (export "outrigger:functions/invoke@0.1.0#handle")
    (param $caller i32) (param $caller_n i32) (param $method i32) (param $method_n i32)
    (param $type i32) (param $type_n i32) (param $data i32) (param $data_n i32)
    (param $metadata i32) (param $metadata_n i32) (result i32)"#;

/// Answers with the method, in the type it was asked in.
const NAMES: &str = "
    (if (i32.eqz (local.get $data_n)) (then (return (call $fail @\"there is nothing\"))))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $type)) (i32.store (i32.const 24) (local.get $type_n))
    (i32.store (i32.const 28) (local.get $method)) (i32.store (i32.const 32) (local.get $method_n))
    (i32.const 16)";

#[tokio::test]
async fn a_call_by_name_has_a_method_and_an_answer_or_an_error() {
    let rig = Rig::new();
    let module = component("export outrigger:functions/invoke@0.1.0;", &format!("{INVOKE} {NAMES})"));
    let function = rig.load(&module, json!({})).await.unwrap();
    for door in [Door::Invoke, Door::Route] {
        let mut request = post("/stock/reserve?id=7", "x");
        request.headers_mut().insert("content-type", "text/csv".parse().unwrap());
        let reply = ask_by(&function, door, request).await.unwrap();
        assert_eq!((reply.status, reply.text.as_str()), (200, "stock/reserve"), "it has nothing else");
        assert_eq!(reply.headers["content-type"], "text/csv");
        let reply = ask_by(&function, door, post("/stock/reserve", "")).await.unwrap();
        assert_eq!((reply.status, reply.text.as_str()), (500, "there is nothing"));
    }
}

#[tokio::test]
async fn each_door_leads_to_what_is_meant_for_it() {
    let rig = Rig::new();
    let http = "(func (export \"outrigger:functions/http@0.1.0#handle\")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (call $reply (i32.const 200) @\"http\"))";
    let world = "export outrigger:functions/http@0.1.0; export outrigger:functions/invoke@0.1.0;";
    let module = component(world, &format!("{http} {INVOKE} {NAMES})"));
    let function = rig.load(&module, json!({})).await.unwrap();
    assert!(function.triggers().http && function.triggers().invoke && !function.triggers().event);
    let by = async |door| ask_by(&function, door, post("/m", "x")).await.unwrap().text;
    assert_eq!((by(Door::Route).await.as_str(), by(Door::Invoke).await.as_str()), ("http", "m"));
}
