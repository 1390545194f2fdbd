//! What is sent to a function and comes from it, piece by piece, and what ends a call.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Frame;
use outrigger_cluster::{Body, BodyError, LocalCall, SendError, SendErrorKind, SendOptions};
use outrigger_http::Response;
use serde_json::json;

use super::shelf::{Cancelled, Shelf, answer, compile};
use crate::backend::Backend;
use crate::world::{request, retry, status, the, until, within};

fn piece(text: &'static str) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn streamed(pieces: &[&'static str]) -> Body {
    let (sender, body) = Body::channel(pieces.len().max(1));
    for text in pieces {
        sender.send(piece(text)).await.unwrap();
    }
    body
}

async fn read(response: &mut Response) -> Option<Bytes> {
    response.body.frame().await.map(|frame| frame.unwrap().into_data().unwrap())
}

/// Sends back what it is sent, read on a thread of its own.
fn echo(shelf: &Shelf) {
    shelf.deploy("echo", |call: LocalCall, _| async move {
        let (sender, body) = Body::channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move {
                let mut asked = call.request.into_body();
                while let Some(frame) = asked.frame().await {
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                }
            });
        });
        answer(200, body)
    });
}

#[tokio::test]
async fn both_bodies_flow_at_once_and_in_other_threads() {
    let shelf = Arc::new(Shelf::default());
    echo(&shelf);
    let cluster = the(&compile(&shelf, json!({ "endpoints": [{ "function": "echo" }] })));
    let (sender, body) = Body::channel(1);
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: None };
    let mut response = cluster.send(request(Method::POST, body), &how).await.unwrap();
    for text in ["one", "two", "three"] {
        sender.send(piece(text)).await.unwrap();
        assert_eq!(read(&mut response).await.unwrap(), text, "before the next is sent");
    }
    assert_eq!(cluster.snapshot().requests, 1);
    drop(sender);
    assert_eq!(read(&mut response).await, None);
    assert_eq!(cluster.snapshot().requests, 0, "in progress until its end");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let shelf = Arc::new(Shelf::default());
    echo(&shelf);
    let cluster = the(&compile(&shelf, json!({ "endpoints": [{ "function": "echo" }] })));
    let (sender, body) = Body::channel(2);
    sender.send(piece("one")).await.unwrap();
    let sum = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("3"))]);
    sender.send(Ok(Frame::trailers(sum.clone()))).await.unwrap();
    drop(sender);
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: None };
    let mut response = cluster.send(request(Method::POST, body), &how).await.unwrap();
    assert_eq!(read(&mut response).await.unwrap(), "one");
    let last = response.body.frame().await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap(), sum);
    assert!(response.body.frame().await.is_none());
}

#[tokio::test]
async fn half_a_request_does_not_look_whole() {
    let shelf = Arc::new(Shelf::default());
    let (heard, mut ends) = tokio::sync::mpsc::unbounded_channel();
    shelf.deploy("reader", move |call, _| {
        let heard = heard.clone();
        async move {
            // Goes on by itself, as other threads do.
            let reading = tokio::spawn(async move {
                let end = call.request.into_body().collect(100).await;
                let failed = end.is_err();
                heard.send(end.map_err(|error| error.to_string())).unwrap();
                failed
            });
            match reading.await.unwrap() {
                true => Err(SendError::new(SendErrorKind::FunctionFailed)),
                false => answer(200, Body::empty()),
            }
        }
    });
    let cluster = the(&compile(&shelf, json!({ "endpoints": [{ "function": "reader" }] })));
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: None };
    let whole = streamed(&["a", "b"]).await;
    assert_eq!(cluster.send(request(Method::POST, whole), &how).await.unwrap().head.status, 200);
    assert_eq!(ends.recv().await.unwrap().unwrap(), "ab", "one that is whole does");

    let (sender, body) = Body::channel(2);
    sender.send(piece("a")).await.unwrap();
    sender.send(Err(BodyError::Disconnected)).await.unwrap();
    let error = cluster.send(request(Method::POST, body), &how).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::RequestBody, "the client's fault, not the function's");
    assert!(ends.recv().await.unwrap().unwrap_err().contains("closed the connection"));

    let (sender, body) = Body::channel(2);
    sender.send(piece("a")).await.unwrap();
    let how = SendOptions { deadline: within(Duration::from_millis(500)), retry: None };
    let error = cluster.send(request(Method::POST, body), &how).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Timeout);
    assert!(ends.recv().await.unwrap().unwrap_err().contains("abandoned"));
    assert!(sender.is_closed(), "nobody reads it any more");
}

#[tokio::test]
async fn a_body_a_function_has_read_is_sent_again_in_full() {
    let (backend, shelf) = (Backend::answering(200).await, Arc::new(Shelf::default()));
    let counts = shelf.deploy("hello", |call, _| async move {
        let mut body = call.request.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
        Err(SendError::new(SendErrorKind::FunctionFailed))
    });
    let endpoints = json!([{ "function": "hello" }, backend.address.to_string()]);
    let cluster = the(&compile(&shelf, json!({ "endpoints": endpoints, "balance": "round_robin" })));
    let policy = retry(json!({ "attempts": 1, "on": ["reset"] }));
    for retry in [Some(&policy), Some(&policy), None, None] {
        let how = SendOptions { deadline: within(Duration::from_secs(5)), retry };
        let body = streamed(&["one ", "two ", "three"]).await;
        let result = cluster.send(request(Method::POST, body), &how).await;
        assert!(result.is_ok() || retry.is_none(), "{result:?}");
        if let Ok(response) = result {
            response.body.collect(100).await.unwrap();
        }
    }
    // Whose turn is first is left to chance, and an attempt made elsewhere takes a turn as well.
    let calls = counts.calls.load(SeqCst);
    assert!((2..=3).contains(&calls), "the planted failure was met, with a policy and without: {calls}");
    assert_eq!(*backend.counts.bodies.lock(), ["one two three"; 3]);
}

#[tokio::test]
async fn whoever_goes_away_ends_the_call() {
    let shelf = Arc::new(Shelf::default());
    let counts = shelf.hanging("hello");
    let cluster = the(&compile(&shelf, json!({ "endpoints": [{ "function": "hello" }] })));
    let sending = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move { cluster.send(request(Method::GET, Body::empty()), &SendOptions::default()).await }
    });
    until("the call", || counts.calls.load(SeqCst) == 1).await;
    assert_eq!((cluster.snapshot().requests, counts.cancelled.load(SeqCst)), (1, 0));
    sending.abort();
    until("its end", || counts.cancelled.load(SeqCst) == 1).await;
    assert_eq!(cluster.snapshot().requests, 0);

    let counts = shelf.deploy("hello", |_, counts| async move {
        let (sender, body) = Body::channel(1);
        tokio::spawn(async move {
            let _cancelled = Cancelled(counts);
            sender.closed().await;
        });
        answer(200, body)
    });
    let response = cluster.send(request(Method::GET, Body::empty()), &SendOptions::default()).await.unwrap();
    assert_eq!((cluster.snapshot().requests, counts.cancelled.load(SeqCst)), (1, 0));
    drop(response);
    until("its end", || counts.cancelled.load(SeqCst) == 1).await;
    assert_eq!(cluster.snapshot().requests, 0);
}

#[tokio::test]
async fn limits_count_answers_until_their_end() {
    let shelf = Arc::new(Shelf::default());
    echo(&shelf);
    let config = json!({ "endpoints": [{ "function": "echo" }], "limits": { "max_requests": 1 } });
    let cluster = the(&compile(&shelf, config));
    let (sender, body) = Body::channel(1);
    let first = cluster.send(request(Method::POST, body), &SendOptions::default()).await.unwrap();
    assert_eq!(status(&cluster, None).await, Err("overflow"));
    drop(sender);
    first.body.collect(100).await.unwrap();
    assert_eq!(status(&cluster, None).await, Ok(200));
}
