//! Calls to applications by name.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_blocks::{Caller, ErrorKind};
use outrigger_telemetry::trace::TraceContext;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::house::{House, invoke, refused};
use super::probe::{Call, Cell, call};

/// What each connection's first request said; it is answered with this.
pub(super) async fn server(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            heard.lock().push(String::from_utf8_lossy(&request[..read]).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

fn asked(app: &str, verb: &str, method: &str) -> Call {
    // Only a sidecar says in whose name it asks.
    let headers: &[&[Cell]] = &[
        &[Cell::Text("x-first"), Cell::Text("1")],
        &[Cell::Text("outrigger-passed-on"), Cell::Text("1")],
        &[Cell::Text("dapr-caller-app-id"), Cell::Text("billing")],
    ];
    call("outrigger:functions/invocation@0.1.0", "call")
        .text(app)
        .text(verb)
        .text(method)
        .list(headers)
        .text("body")
}

const ANSWER: &str =
    "HTTP/1.1 404 Not Found\r\nx-why: gone\r\ncontent-length: 5\r\nconnection: close\r\n\r\nnever";

#[tokio::test]
async fn an_app_is_called_by_its_name_and_any_answer_is_one() {
    let house = House::new();
    let (address, heard) = server(ANSWER).await;
    house.reaches(address);
    let calls = [
        asked("stock", "POST", "reserve/7?now=1"),
        asked("stock", "POST", "release"),
        asked("stock", "POST", "reserve/../release"),
        asked("other", "GET", ""),
        asked("nobody", "GET", ""),
        asked("stock", "A B", "reserve/7"),
    ];
    let grants = json!({ "grants": { "invoke": ["stock/reserve/*", "nobody"] } });
    let function = house.load(&calls, grants).await.unwrap();
    let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let told = invoke(&function, &Caller { trace, ..Caller::new("shop") }, &calls).await.unwrap();
    let at = told.result(0, 4).unwrap();
    assert_eq!((told.number(at) & 0xffff, told.text(at + 12).as_str()), (404, "never"));
    let headers = told.elements(at + 4, 16);
    let headers: Vec<_> = headers.into_iter().map(|at| (told.text(at), told.text(at + 8))).collect();
    assert!(headers.contains(&("x-why".to_owned(), "gone".to_owned())), "{headers:?}");
    refused(told.result(1, 4), ErrorKind::PermissionDenied, "grants.invoke does not name 'stock/release'");
    refused(told.result(2, 4), ErrorKind::PermissionDenied, "grants.invoke does not name");
    refused(told.result(3, 4), ErrorKind::PermissionDenied, "grants.invoke does not name 'other/'");
    refused(told.result(4, 4), ErrorKind::NotConfigured, "there is no app 'nobody'");
    refused(told.result(5, 4), ErrorKind::InvalidArgument, "verb 'A B'");
    let heard = heard.lock().clone();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let sent = heard[0].to_ascii_lowercase();
    for part in [
        "post /reserve/7?now=1 http/1.1\r\n",
        "\r\nx-first: 1\r\n",
        "\r\ndapr-caller-app-id: shop\r\n",
        "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-",
        "\r\n\r\nbody",
    ] {
        assert!(sent.contains(part), "{part:?} in {sent}");
    }
}

#[tokio::test]
async fn an_answer_is_no_larger_than_a_body_may_be() {
    let house = House::new();
    let (address, _) = server(ANSWER).await;
    house.reaches(address);
    let calls = [asked("stock", "GET", "")];
    // The image of the calls is a body, too.
    let told = house.told_with(json!({ "grants": { "invoke": ["*"] }, "max_body": 65_536 }), &calls).await;
    told.result(0, 4).unwrap();
    let long =
        Box::leak(format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70_000)).into());
    let house = House::new();
    house.reaches(server(long).await.0);
    let told = house.told_with(json!({ "grants": { "invoke": ["*"] }, "max_body": 65_536 }), &calls).await;
    refused(told.result(0, 4), ErrorKind::Internal, "larger than 65536 bytes");
}
