//! One request at a time: what is sent, repeated and reported.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use outrigger_cluster::{Report, SendErrorKind, SendOptions};
use outrigger_http::Body;
use serde_json::json;

use crate::backend::{Backend, Reply};
use crate::world::{compile, request, retry, status, the, until, within};

#[tokio::test]
async fn a_request_brings_its_response() {
    let backend = Backend::answering(201).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: None };
    let mut report = Report::default();
    let mut sent = request(Method::POST, Body::full("hello"));
    let response = cluster.send_reporting(&mut sent, &how, &mut report).await.unwrap();
    assert_eq!(response.head.status, 201);
    assert_eq!(response.body.collect(100).await.unwrap(), "ok");
    assert_eq!(*backend.counts.bodies.lock(), ["hello"]);
    assert_eq!(report.attempts, 1);
    assert_eq!(report.endpoint.unwrap().location().to_string(), backend.address.to_string());
}

#[tokio::test]
async fn failures_say_whose_they_are() {
    let check = |reply: Reply, expected: SendErrorKind| async move {
        // Only what never comes is waited for until then.
        let patience = Duration::from_millis(if matches!(reply, Reply::Hang) { 200 } else { 10_000 });
        let backend = Backend::scripted(move |_, _| reply.clone()).await;
        let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
        let how = SendOptions { deadline: within(patience), retry: None };
        let error = cluster.send(request(Method::GET, Body::empty()), &how).await.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
        assert_eq!(error.endpoint.unwrap().to_string(), backend.address.to_string());
    };
    check(Reply::Close, SendErrorKind::Reset).await;
    check(Reply::Hang, SendErrorKind::Timeout).await;
    check(
        Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
        SendErrorKind::Protocol,
    )
    .await;
    check(Reply::Raw("nonsense\r\n\r\n"), SendErrorKind::Protocol).await;
}

#[tokio::test]
async fn statuses_are_retried_elsewhere_when_asked_for() {
    let bad = Backend::answering(503).await;
    let good = Backend::answering(200).await;
    let endpoints = json!([bad.address.to_string(), good.address.to_string()]);
    let cluster = the(&compile(json!({ "endpoints": endpoints, "balance": "round_robin" })));
    let policy = retry(json!({ "attempts": 1, "on": ["gateway_error"] }));
    for _ in 0..4 {
        assert_eq!(status(&cluster, Some(&policy)).await, Ok(200));
    }
    assert!(bad.requests() >= 1, "the planted failure was met");
    let unwanted = retry(json!({ "attempts": 1, "on": ["connect_failure"] }));
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(status(&cluster, Some(&unwanted)).await.unwrap());
    }
    assert!(statuses.contains(&503), "not retried for another reason: {statuses:?}");
}

#[tokio::test]
async fn a_streamed_body_is_sent_again_in_full() {
    let backend =
        Backend::scripted(|_, number| if number == 0 { Reply::Close } else { Reply::Status(200, "") }).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    let policy = retry(json!({ "attempts": 1, "on": ["reset"] }));
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: Some(&policy) };
    let (sender, body) = Body::channel(4);
    for part in ["one ", "two ", "three"] {
        sender.send(Ok(Frame::data(Bytes::from_static(part.as_bytes())))).await.unwrap();
    }
    drop(sender);
    let response = cluster.send(request(Method::POST, body), &how).await.unwrap();
    assert_eq!(response.head.status, 200);
    assert_eq!(*backend.counts.bodies.lock(), ["one two three", "one two three"]);
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_sent_again() {
    let backend = Backend::scripted(|_, _| Reply::Close).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    let policy = retry(json!({ "attempts": 3, "on": ["reset"] }));
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: Some(&policy) };
    let (sender, body) = Body::channel(8);
    for _ in 0..5 {
        sender.send(Ok(Frame::data(Bytes::from(vec![b'x'; 16 * 1024])))).await.unwrap();
    }
    drop(sender);
    let error = cluster.send(request(Method::POST, body), &how).await.unwrap_err();
    assert_eq!((error.kind, backend.requests()), (SendErrorKind::Reset, 1));
}

#[tokio::test]
async fn one_slow_attempt_does_not_use_up_the_deadline() {
    let slow = Backend::scripted(|_, _| Reply::Hang).await;
    let fast = Backend::answering(200).await;
    let endpoints = json!([slow.address.to_string(), fast.address.to_string()]);
    let cluster = the(&compile(json!({ "endpoints": endpoints, "balance": "round_robin" })));
    let policy = retry(json!({ "attempts": 1, "on": ["reset"], "per_try_timeout": "500ms" }));
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(status(&cluster, Some(&policy)).await, Ok(200));
    }
    assert!(slow.requests() >= 1);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_budget_bounds_retries() {
    let backend = Backend::answering(503).await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()],
        "retry_budget": { "ratio": 0.1, "min_per_second": 0 },
        "health": { "passive": { "consecutive_5xx": 0, "consecutive_gateway": 0 } },
    })));
    let policy = retry(json!({ "attempts": 1, "on": ["5xx"], "backoff": { "base": "0s", "max": "0s" } }));
    for _ in 0..100 {
        assert_eq!(status(&cluster, Some(&policy)).await, Ok(503));
    }
    assert_eq!(backend.requests(), 110);
}

#[tokio::test]
async fn a_cancelled_request_is_cancelled_upstream() {
    let backend = Backend::scripted(|_, _| Reply::Hang).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    let how = SendOptions { deadline: within(Duration::from_secs(60)), retry: None };
    let sending = cluster.send(request(Method::GET, Body::empty()), &how);
    // The end of the wait cancels the request.
    tokio::select! {
        _answered = sending => panic!("it hangs"),
        () = until("the request", || backend.requests() == 1) => {}
    }
    until("the close", || backend.counts.closed.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    assert_eq!(cluster.snapshot().requests, 0);
    assert_eq!(cluster.snapshot().connections, 0);
}
