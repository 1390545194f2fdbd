//! Requests through `wasi:http/outgoing-handler`, with the handles a fresh instance gives out: the first is 1, and the one
//! given back last is given out first.

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use outrigger_blocks::{Caller, ErrorKind};

use super::house::{House, invoke};
use super::invocation::server;
use super::probe::{Call, Told, call};
use crate::rig::within;

const TYPES: &str = "wasi:http/types@0.2.0";
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.0";
const POLL: &str = "wasi:io/poll@0.2.0";
const STREAMS: &str = "wasi:io/streams@0.2.0";

/// Cases of the error.
const DESTINATION_NOT_FOUND: u8 = 2;
const REQUEST_DENIED: u8 = 15;
const RESPONSE_TIMEOUT: u8 = 33;

/// Makes a request for a cluster, number 1.
fn request(authority: &str) -> Vec<Call> {
    vec![
        call(TYPES, "[constructor]fields"),
        call(TYPES, "[constructor]outgoing-request").number(1),
        call(TYPES, "[method]outgoing-request.set-authority").number(1).some().text(authority),
        call(TYPES, "[method]outgoing-request.set-path-with-query").number(1).some().text("/p?q"),
    ]
}

/// Waits for an answer, and makes it the handle `next`.
fn answer(future: u64, next: u64) -> Vec<Call> {
    vec![
        call(TYPES, "[method]future-incoming-response.subscribe").number(future),
        call(POLL, "[method]pollable.block").number(next),
        call(POLL, "[resource-drop]pollable").number(next),
        call(TYPES, "[method]future-incoming-response.get").number(future),
    ]
}

/// What the answer is, asked for in this call: an error's case, or none.
fn failure(told: &Told, call: usize) -> Option<u8> {
    let at = Told::answer(call);
    assert_eq!((told.byte(at), told.byte(at + 8)), (1, 0), "it is there, and for the first time");
    (told.byte(at + 16) == 1).then(|| told.byte(at + 24))
}

fn to_backend() -> Value {
    json!({ "http": ["backend", "nobody"] })
}

#[tokio::test]
async fn a_cluster_that_is_granted_is_sent_a_body_and_answers_with_one() {
    let house = House::new();
    let (address, heard) =
        server("HTTP/1.1 201 Created\r\ncontent-length: 6\r\nconnection: close\r\n\r\nthanks").await;
    house.reaches(address);
    let mut calls = request("backend");
    calls.extend([
        // POST is the third of the methods.
        call(TYPES, "[method]outgoing-request.set-method").number(1).number(2).number(0).number(0),
        call(TYPES, "[method]outgoing-request.body").number(1),
        call(HANDLER, "handle").number(1).none(1),
        call(TYPES, "[method]outgoing-body.write").number(2),
        call(STREAMS, "[method]output-stream.blocking-write-and-flush").number(3).text("hello"),
        call(STREAMS, "[resource-drop]output-stream").number(3),
        call(TYPES, "[static]outgoing-body.finish").number(2).none(1),
    ]);
    calls.extend(answer(1, 2));
    calls.extend([
        call(TYPES, "[method]incoming-response.status").number(2),
        call(TYPES, "[method]incoming-response.consume").number(2),
        call(TYPES, "[method]incoming-body.stream").number(3),
        call(STREAMS, "[method]input-stream.blocking-read").number(4).number(100),
    ]);
    let told = house.told(to_backend(), &calls).await;
    assert_eq!(failure(&told, 14), None);
    assert_eq!(told.number(Told::answer(15)), 201);
    assert_eq!(told.text(told.result(18, 4).unwrap()), "thanks");
    let heard = heard.lock().concat().to_ascii_lowercase();
    for part in ["post /p?q http/1.1\r\n", "\r\nhost: backend\r\n", "transfer-encoding: chunked"] {
        assert!(heard.contains(part), "{part:?} in {heard}");
    }
}

#[tokio::test]
async fn nobody_asks_in_the_name_of_another() {
    let house = House::new();
    let (address, heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    house.reaches(address);
    let mut calls = request("backend");
    let said = |name| call(TYPES, "[method]fields.append").number(1).text(name).text("billing");
    calls.splice(1..1, ["outrigger-passed-on", "Dapr-Caller-App-Id", "x-first"].map(said));
    calls.push(call(HANDLER, "handle").number(1).none(1));
    calls.extend(answer(1, 2));
    let told = house.told(to_backend(), &calls).await;
    assert_eq!(failure(&told, 11), None);
    let heard = heard.lock().concat().to_ascii_lowercase();
    assert!(heard.contains("\r\nx-first: billing\r\n"), "{heard}");
    assert!(!heard.contains("outrigger-") && !heard.contains("dapr-"), "{heard}");
}

#[tokio::test]
async fn what_is_not_granted_or_not_there_is_refused() {
    let house = House::new();
    let (address, heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    house.reaches(address);
    let check = async |grants: Value, authority: &str, expected: u8, why: &str| {
        let mut calls = request(authority);
        calls.push(call(HANDLER, "handle").number(1).none(1));
        calls.extend(answer(1, 2));
        let told = house.told(grants, &calls).await;
        assert_eq!(failure(&told, 8), Some(expected), "{authority}");
        assert!(house.lines().iter().any(|(_, line)| line.contains(why)), "{why}: {:?}", house.lines());
    };
    check(to_backend(), "other", REQUEST_DENIED, "grants.http does not name 'other'").await;
    check(json!({}), "backend", REQUEST_DENIED, "grants.http does not name 'backend'").await;
    check(to_backend(), "nobody", DESTINATION_NOT_FOUND, "there is no cluster 'nobody'").await;
    check(to_backend(), "backend:80", REQUEST_DENIED, "grants.http does not name 'backend:80'").await;
    assert_eq!(heard.lock().len(), 0);
}

/// Takes a request, says this much, and then waits for the other side to go.
async fn silent(says: &'static str) -> (std::net::SocketAddr, tokio::sync::oneshot::Receiver<()>) {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gone, left) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(says.as_bytes()).await.unwrap();
        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
        let _nobody_waits = gone.send(());
    });
    (address, left)
}

/// Options that give it this long for its head, and for each piece of its body; they are number 2 beside the request.
fn options(head: u64, pieces: u64) -> Vec<Call> {
    vec![
        call(TYPES, "[constructor]request-options"),
        call(TYPES, "[method]request-options.set-first-byte-timeout").number(2).some().number(head),
        call(TYPES, "[method]request-options.set-between-bytes-timeout").number(2).some().number(pieces),
    ]
}

#[tokio::test]
async fn an_answer_is_waited_for_as_long_as_asked() {
    const SECOND: u64 = 1_000_000_000;
    let house = House::new();
    let (address, left) = silent("").await;
    house.reaches(address);
    let mut calls = request("backend");
    calls.extend(options(2 * SECOND, 60 * SECOND));
    calls.push(call(HANDLER, "handle").number(1).some().number(2));
    // The request and its options are given away, in this order.
    calls.extend(answer(2, 1));
    let told = house.told(to_backend(), &calls).await;
    assert_eq!(failure(&told, 11), Some(RESPONSE_TIMEOUT));
    within(left).await.unwrap();

    let house = House::new();
    let (address, left) = silent("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome").await;
    house.reaches(address);
    let mut calls = request("backend");
    calls.extend(options(60 * SECOND, SECOND));
    calls.push(call(HANDLER, "handle").number(1).some().number(2));
    calls.extend(answer(2, 1));
    calls.extend([
        call(TYPES, "[method]incoming-response.consume").number(1),
        call(TYPES, "[method]incoming-body.stream").number(3),
        call(STREAMS, "[method]input-stream.blocking-read").number(4).number(4),
        call(STREAMS, "[method]input-stream.blocking-read").number(4).number(5),
    ]);
    let told = house.told(to_backend(), &calls).await;
    assert_eq!(failure(&told, 11), None);
    assert_eq!(told.text(told.result(14, 4).unwrap()), "some");
    assert_eq!(told.byte(Told::answer(15)), 1, "the rest never came");
    within(left).await.unwrap();
}

#[tokio::test]
async fn a_request_is_given_up_with_the_call() {
    let house = House::new();
    let (address, left) = silent("").await;
    house.reaches(address);
    let mut calls = request("backend");
    calls.push(call(HANDLER, "handle").number(1).none(1));
    calls.extend(answer(1, 2));
    let settings = json!({ "grants": to_backend(), "deadline": "3s" });
    let function = house.load(&calls, settings).await.unwrap();
    let error = invoke(&function, &Caller::new("shop"), &calls).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    within(left).await.unwrap();
}
