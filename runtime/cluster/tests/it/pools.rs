//! Connections between requests: kept, found dead, and let go.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::Method;
use outrigger_cluster::SendOptions;
use outrigger_http::Body;
use serde_json::json;

use crate::backend::{Backend, Reply};
use crate::world::{compile, get, request, status, the, until, within};

#[tokio::test]
async fn connections_are_reused() {
    let backend = Backend::answering(200).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    for _ in 0..50 {
        assert_eq!(status(&cluster, None).await, Ok(200));
    }
    assert_eq!((backend.requests(), backend.connections()), (50, 1));
    assert_eq!(cluster.snapshot().endpoints[0].idle, 1);
    assert_eq!(cluster.snapshot().connections, 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let backend = Backend::scripted(|_, _| Reply::ThenClose(200)).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    for _ in 0..20 {
        assert_eq!(status(&cluster, None).await, Ok(200), "POST or GET, retried or not");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let how = SendOptions { deadline: within(Duration::from_secs(1)), retry: None };
        let response = cluster.send(request(Method::POST, Body::full("x")), &how).await.unwrap();
        assert_eq!(response.head.status, 200);
        drop(response);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(backend.connections(), 40);
}

#[tokio::test]
async fn an_unfinished_body_does_not_poison_the_pool() {
    let backend =
        Backend::scripted(|_, number| if number == 0 { Reply::Stall } else { Reply::Status(200, "ok") })
            .await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    let response = get(&cluster, None).await.unwrap();
    assert_eq!(cluster.snapshot().requests, 1, "in progress until its body ends");
    drop(response);
    until("the end of the request", || cluster.snapshot().requests == 0).await;
    assert_eq!(cluster.snapshot().endpoints[0].active, 0);
    assert_eq!(status(&cluster, None).await, Ok(200));
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let backend = Backend::scripted(|_, _| Reply::Late(Duration::from_millis(20), 200)).await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()], "pool": { "idle_timeout": "750ms" },
    })));
    let all: Vec<_> = (0..4)
        .map(|_| Arc::clone(&cluster))
        .map(|c| tokio::spawn(async move { status(&c, None).await }))
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(200));
    }
    assert_eq!(cluster.snapshot().connections, 4);
    until("the reaping", || cluster.snapshot().connections == 0).await;
    until("the closes", || backend.counts.closed.load(SeqCst) == 4).await;
    assert_eq!(status(&cluster, None).await, Ok(200), "and again afterwards");
    until("the second reaping", || cluster.snapshot().connections == 0).await;
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_asked_for() {
    let backend = Backend::scripted(|_, _| Reply::Late(Duration::from_millis(20), 200)).await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()], "pool": { "max_idle": 1 },
    })));
    let all: Vec<_> = (0..4)
        .map(|_| Arc::clone(&cluster))
        .map(|c| tokio::spawn(async move { status(&c, None).await }))
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(200));
    }
    assert_eq!(cluster.snapshot().connections, 1);
}

#[tokio::test]
async fn l4_connections_go_to_the_next_endpoint_when_one_is_down() {
    let down = Backend::answering(200).await.kill().await;
    let up = Backend::answering(200).await;
    let cluster = the(&compile(json!({
        "endpoints": [down.to_string(), up.address.to_string()], "balance": "round_robin",
    })));
    for _ in 0..4 {
        let connected = cluster.connect(within(Duration::from_secs(1)), |_| false).await.unwrap();
        assert_eq!(connected.endpoint.location().to_string(), up.address.to_string());
        assert_eq!(connected.endpoint.active(), 1);
        assert_eq!(cluster.snapshot().requests, 1);
    }
    assert_eq!(cluster.snapshot().requests, 0);
}

#[tokio::test]
async fn each_worker_has_its_own_connections() {
    let backend = Backend::answering(200).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    let workers = outrigger_net::Workers::start(2).unwrap();
    for round in 0..10 {
        let cluster = Arc::clone(&cluster);
        let result = workers.spawn_on(round, async move { status(&cluster, None).await });
        assert_eq!(result.await.unwrap(), Ok(200));
    }
    assert_eq!(backend.connections(), 2);
    drop(cluster);
    assert!(workers.stop(Duration::from_secs(5)));
}
