//! `wasi:config/store`.

use serde_json::json;

use super::house::House;
use super::probe::call;

const STORE: &str = "wasi:config/store@0.2.0-rc.1";

#[tokio::test]
async fn a_function_is_told_what_its_settings_say() {
    let house = House::new();
    let calls =
        [call(STORE, "get").text("greeting"), call(STORE, "get").text("nothing"), call(STORE, "get-all")];
    let told = house.told_with(json!({ "config": { "greeting": "hello", "a": "b" } }), &calls).await;
    let at = told.result(0, 4).unwrap();
    assert_eq!((told.byte(at), told.text(at + 4).as_str()), (1, "hello"));
    assert_eq!(told.byte(told.result(1, 4).unwrap()), 0);
    let all = told.elements(told.result(2, 4).unwrap(), 16);
    let all: Vec<_> = all.into_iter().map(|at| format!("{}={}", told.text(at), told.text(at + 8))).collect();
    assert_eq!(all, ["a=b", "greeting=hello"]);
}
