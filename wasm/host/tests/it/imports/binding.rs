//! Operations of other systems.

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::house::{House, refused};
use super::probe::{Call, Cell, call};

fn invoke(component: &str, operation: &str, data: &str) -> Call {
    let call =
        call("outrigger:functions/bindings@0.1.0", "invoke").text(component).text(operation).text(data);
    call.list(&[&[Cell::Text("tone"), Cell::Text("low")]])
}

#[tokio::test]
async fn an_operation_is_answered_or_refused() {
    let house = House::new();
    let calls = [
        invoke("main", "say", "hello"),
        invoke("main", "say", "hello, everybody"),
        invoke("main", "sing", "hello"),
        invoke("other", "say", "hello"),
    ];
    let told = house.told(json!({ "bindings": ["main"] }), &calls).await;
    let at = told.result(0, 4).unwrap();
    assert_eq!(told.text(at), "hello");
    let metadata = told.elements(at + 8, 16);
    assert_eq!((told.text(metadata[0]), told.text(metadata[0] + 8)), ("tone".to_owned(), "low".to_owned()));
    refused(told.result(1, 4), ErrorKind::Internal, "binding 'main': that is too much: hello, everybody");
    refused(
        told.result(2, 4),
        ErrorKind::InvalidArgument,
        "operation 'sing' does not exist here; there are: say",
    );
    refused(told.result(3, 4), ErrorKind::PermissionDenied, "grants.bindings does not name 'other'");
}
