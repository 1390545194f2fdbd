//! Endpoints that are functions: picked, retried, timed, judged and counted like those behind a socket.

mod bodies;
mod shelf;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use http::{Method, header};
use outrigger_cluster::{Body, Checked, Clusters, Report, SendErrorKind, SendOptions, Standing};
use outrigger_telemetry::trace::TraceContext;
use serde_json::json;

use crate::backend::{Backend, Reply};
use crate::world::{get, metric, recompile, request, retry, status, the, until, within};
use shelf::{Shelf, answer, compile, with};

#[tokio::test]
async fn shares_of_an_address_and_a_function_are_exact() {
    let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
    let counts = shelf.answering("hello", 201);
    let endpoints = json!([{ "address": backend.address.to_string() }, { "function": "hello", "weight": 3 }]);
    let context = with(&shelf);
    let clusters = recompile(
        json!({ "endpoints": endpoints, "balance": "weighted" }),
        &Clusters::empty(context.clone()),
    );
    let cluster = the(&clusters);
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(status(&cluster, None).await.unwrap());
    }
    let served = |wanted: u16| answers.iter().filter(|status| **status == wanted).count();
    assert_eq!((served(200), served(201)), (10, 30));
    assert_eq!((backend.requests(), counts.calls.load(SeqCst)), (10, 30));
    let series = "outrigger_cluster_requests_total{cluster=\"backend\",class=\"2xx\"}";
    assert_eq!(metric(&context, series) as u32, 40);
    let listed: Vec<_> = cluster.snapshot().endpoints.into_iter().map(|e| (e.address, e.weight)).collect();
    assert_eq!(listed, [(backend.address.to_string(), 1), ("function:hello".to_owned(), 3)]);
}

#[tokio::test]
async fn a_function_gets_the_request_and_where_it_went_is_reported() {
    let shelf = Arc::new(Shelf::default());
    shelf.deploy("hello", |call, _| async move {
        let (parts, body) = call.request.into_parts();
        assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::POST, "http://backend.test/"));
        assert_eq!(parts.headers.get("x-kept").unwrap(), "yes");
        assert!(!parts.headers.contains_key("connection"), "it concerns one connection");
        assert_eq!(body.as_full().unwrap(), "asked", "what is in memory stays there");
        let left = call.deadline.remaining(Instant::now()).expect("a deadline");
        assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(1), "{left:?}");
        let trace = call.trace.map(|trace| trace.to_header());
        let mut response = answer(200, Body::full(trace.unwrap_or_default())).unwrap();
        response.headers_mut().insert("content-length", "7".parse().unwrap());
        response.headers_mut().insert("connection", "close".parse().unwrap());
        Ok(response)
    });
    let cluster = the(&compile(&shelf, json!({ "endpoints": [{ "function": "hello" }] })));
    let mut sent = request(Method::POST, Body::full("asked"));
    sent.head.headers.append(&"x-kept".parse().unwrap(), "yes").unwrap();
    sent.head.headers.append(&http::header::CONNECTION, "close").unwrap();
    let trace = TraceContext::root(false);
    sent.ext.trace = Some(Box::new(trace.clone()));
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: None };
    let mut report = Report::default();
    let response = cluster.send_reporting(&mut sent, &how, &mut report).await.unwrap();
    let fields: Vec<_> = response.head.headers.iter().map(|(name, _)| name.to_vec()).collect();
    assert_eq!(
        fields,
        Vec::<Vec<u8>>::new(),
        "neither a length that is not the body's nor a connection's field"
    );
    assert_eq!(response.body.collect(100).await.unwrap(), trace.to_header());
    assert_eq!(report.endpoint.unwrap().location().to_string(), "function:hello");
}

#[tokio::test]
async fn failures_are_answered_as_a_proxy_does() {
    let check = |kind: SendErrorKind, status: u16, reason: &'static str| async move {
        let shelf = Arc::new(Shelf::default());
        shelf.failing("hello", kind);
        let cluster = the(&compile(&shelf, json!({ "endpoints": [{ "function": "hello" }] })));
        let error = get(&cluster, None).await.unwrap_err();
        assert_eq!((error.kind.status().as_u16(), error.kind.reason()), (status, reason));
        assert_eq!(error.endpoint.unwrap().to_string(), "function:hello");
    };
    check(SendErrorKind::TryTimeout, 504, "per_try_timeout").await;
    check(SendErrorKind::Refused, 503, "upstream_refused").await;
    check(SendErrorKind::ConnectFailed, 503, "connect_failed").await;
    check(SendErrorKind::FunctionFailed, 500, "function_failed").await;
}

#[tokio::test]
async fn a_function_that_does_not_exist_is_passed_over_until_it_does() {
    let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
    let alone = the(&compile(&shelf, json!({ "endpoints": [{ "function": "later" }] })));
    assert_eq!(status(&alone, None).await, Err("connect_failed"));
    assert_eq!(alone.snapshot().endpoints[0].standing, Standing::Serving, "it may be there the next moment");
    let endpoints = json!([{ "function": "later", "weight": 9 }, backend.address.to_string()]);
    let mixed = the(&compile(&shelf, json!({ "endpoints": endpoints, "balance": "weighted" })));
    for _ in 0..10 {
        assert_eq!(status(&mixed, None).await, Ok(200), "the other one is asked");
    }
    let counts = shelf.answering("later", 201);
    let mut served = 0;
    for _ in 0..10 {
        served += u32::from(status(&mixed, None).await == Ok(201));
    }
    assert_eq!((served, counts.calls.load(SeqCst)), (9, 9), "asked as soon as it is there");
    assert_eq!(status(&alone, None).await, Ok(201));
    shelf.remove("later");
    assert_eq!(status(&alone, None).await, Err("connect_failed"));
}

#[tokio::test]
async fn who_was_tried_is_asked_again_before_a_function_that_does_not_exist() {
    let shelf = Arc::new(Shelf::default());
    let backend =
        Backend::scripted(|_, number| Reply::Status(if number == 0 { 503 } else { 200 }, "ok")).await;
    let endpoints = json!([{ "function": "later", "weight": 9 }, backend.address.to_string()]);
    let cluster = the(&compile(&shelf, json!({ "endpoints": endpoints, "balance": "weighted" })));
    let policy = retry(json!({ "attempts": 1, "on": ["gateway_error"] }));
    assert_eq!(status(&cluster, Some(&policy)).await, Ok(200));
    assert_eq!(backend.requests(), 2);
}

#[tokio::test]
async fn the_share_of_a_function_that_does_not_exist_goes_to_all_others() {
    let shelf = Arc::new(Shelf::default());
    let backends = [Backend::answering(200).await, Backend::answering(200).await];
    let [a, b] = backends.each_ref().map(|backend| backend.address.to_string());
    let endpoints = json!([{ "function": "later" }, a, b]);
    let cluster = the(&compile(&shelf, json!({ "endpoints": endpoints, "balance": "round_robin" })));
    for _ in 0..40 {
        assert_eq!(status(&cluster, None).await, Ok(200));
    }
    assert_eq!(backends.each_ref().map(Backend::requests), [20, 20]);
}

#[tokio::test]
async fn what_is_busy_or_fails_is_asked_elsewhere() {
    let check = |kind: SendErrorKind, on: &'static str, retried: bool| async move {
        let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
        let counts = shelf.failing("hello", kind);
        let endpoints = json!([backend.address.to_string(), { "function": "hello" }]);
        let config = json!({ "endpoints": endpoints, "balance": "round_robin" });
        let cluster = the(&compile(&shelf, config));
        let policy = retry(json!({ "attempts": 1, "on": [on] }));
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(status(&cluster, Some(&policy)).await);
        }
        assert!(counts.calls.load(SeqCst) >= 1, "the planted failure was met");
        assert_eq!(answers.iter().all(|answer| *answer == Ok(200)), retried, "{kind:?} {on}: {answers:?}");
    };
    check(SendErrorKind::Refused, "refused_stream", true).await;
    check(SendErrorKind::FunctionFailed, "reset", true).await;
    check(SendErrorKind::FunctionFailed, "5xx", true).await;
    check(SendErrorKind::FunctionFailed, "connect_failure", false).await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_ended_and_made_elsewhere() {
    let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
    let counts = shelf.hanging("hello");
    let endpoints = json!([{ "function": "hello" }, backend.address.to_string()]);
    let cluster = the(&compile(&shelf, json!({ "endpoints": endpoints, "balance": "round_robin" })));
    let policy = retry(json!({ "attempts": 1, "on": ["reset"], "per_try_timeout": "500ms" }));
    for _ in 0..2 {
        assert_eq!(status(&cluster, Some(&policy)).await, Ok(200));
    }
    // Whose turn is first is left to chance, and an attempt made elsewhere takes a turn as well.
    let calls = counts.calls.load(SeqCst);
    assert!((1..=2).contains(&calls), "{calls}");
    assert_eq!(counts.cancelled.load(SeqCst), calls);
    let alone = the(&compile(&shelf, json!({ "endpoints": [{ "function": "hello" }] })));
    let how = SendOptions { deadline: within(Duration::from_millis(500)), retry: None };
    let error = alone.send(request(Method::GET, Body::empty()), &how).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Timeout);
    assert_eq!(counts.cancelled.load(SeqCst), calls + 1);
}

#[tokio::test]
async fn a_function_whose_answers_fail_is_ejected() {
    let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
    let counts = shelf.failing("hello", SendErrorKind::FunctionFailed);
    let config = json!({ "endpoints": [{ "function": "hello" }, backend.address.to_string()],
        "balance": "round_robin", "health": { "passive": { "consecutive_5xx": 2, "base_ejection": "60s" } } });
    let cluster = the(&compile(&shelf, config));
    for _ in 0..10 {
        let _either = status(&cluster, None).await;
    }
    assert_eq!(counts.calls.load(SeqCst), 2);
    assert_eq!(cluster.snapshot().endpoints[0].standing, Standing::Ejected);
}

#[tokio::test]
async fn active_checks_ask_whether_it_is_there() {
    let shelf = Arc::new(Shelf::default());
    let counts = shelf.answering("hello", 500);
    let check = json!({ "type": "http", "path": "/", "interval": "10ms", "healthy": 1, "unhealthy": 1 });
    let config = json!({ "endpoints": [{ "function": "hello" }], "health": { "active": check } });
    let clusters = compile(&shelf, config);
    let cluster = the(&clusters);
    let checked = || cluster.snapshot().endpoints[0].checked;
    until("healthy", || checked() == Checked::Healthy).await;
    shelf.remove("hello");
    until("unhealthy", || checked() == Checked::Unhealthy).await;
    shelf.answering("hello", 200);
    until("healthy again", || checked() == Checked::Healthy).await;
    assert_eq!(counts.calls.load(SeqCst), 0, "it is not called for it");
}

#[tokio::test]
async fn there_are_no_connections_to_a_function() {
    let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
    let counts = shelf.answering("hello", 200);
    let alone = the(&compile(&shelf, json!({ "endpoints": [{ "function": "hello" }] })));
    let error = alone.connect(within(Duration::from_secs(5)), |_| false).await.unwrap_err();
    assert_eq!((error.kind, error.kind.reason()), (SendErrorKind::NoConnection, "no_connection"));
    assert!(error.to_string().contains("function:hello"), "{error}");
    let endpoints = json!([{ "function": "hello", "weight": 9 }, backend.address.to_string()]);
    let mixed = the(&compile(&shelf, json!({ "endpoints": endpoints, "balance": "weighted" })));
    for _ in 0..10 {
        let connected = mixed.connect(within(Duration::from_secs(5)), |_| false).await.unwrap();
        assert_eq!(connected.endpoint.location().to_string(), backend.address.to_string());
    }
    let tunnel = alone.send(request(Method::CONNECT, Body::empty()), &SendOptions::default()).await;
    assert_eq!(tunnel.unwrap_err().kind, SendErrorKind::NoConnection);
    let websocket = || {
        let mut request = request(Method::GET, Body::empty());
        request.head.headers.set_static(&header::CONNECTION, "upgrade");
        request.head.headers.set_static(&header::UPGRADE, "WebSocket");
        request
    };
    let refused = alone.send(websocket(), &SendOptions::default()).await.unwrap_err().kind;
    assert_eq!((refused, refused.status().as_u16()), (SendErrorKind::NoConnection, 501));
    for _ in 0..10 {
        let answer = mixed.send(websocket(), &SendOptions::default()).await.unwrap();
        assert_eq!(answer.head.status, 200, "whoever has connections is asked");
    }
    assert_eq!(counts.calls.load(SeqCst), 0);
}
