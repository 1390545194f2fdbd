//! Upper bounds: what is refused, what waits, and who gets the next place.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::backend::{Backend, Reply};
use crate::world::{compile, status, the, until};

async fn slow() -> Backend {
    Backend::scripted(|_, _| Reply::Late(Duration::from_millis(100), 200)).await
}

/// Sends `count` requests at once; the reasons of those that failed.
async fn at_once(cluster: &Arc<outrigger_cluster::Cluster>, count: usize) -> Vec<&'static str> {
    let send =
        |cluster: Arc<outrigger_cluster::Cluster>| tokio::spawn(async move { status(&cluster, None).await });
    let all: Vec<_> = (0..count).map(|_| send(Arc::clone(cluster))).collect();
    let mut failures = Vec::new();
    for one in all {
        if let Err(reason) = one.await.unwrap() {
            failures.push(reason);
        }
    }
    failures
}

#[tokio::test]
async fn more_requests_than_allowed_overflow() {
    let backend = slow().await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()], "limits": { "max_requests": 3 },
    })));
    assert_eq!(at_once(&cluster, 5).await, ["overflow", "overflow"]);
    assert_eq!(at_once(&cluster, 3).await, [""; 0], "places are given back");
}

#[tokio::test]
async fn requests_wait_for_a_connection_and_overflow_past_the_queue() {
    let backend = slow().await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()],
        "limits": { "max_connections": 2, "max_pending": 3 },
    })));
    assert_eq!(at_once(&cluster, 6).await, ["overflow"]);
    assert_eq!((backend.connections(), backend.requests()), (2, 5));
    assert_eq!(cluster.snapshot().pending, 0);
}

#[tokio::test]
async fn an_idle_connection_elsewhere_gives_up_its_place() {
    let (one, two) = (slow().await, slow().await);
    let cluster = the(&compile(json!({
        "endpoints": [one.address.to_string(), two.address.to_string()],
        "balance": "round_robin", "limits": { "max_connections": 1 },
    })));
    for _ in 0..4 {
        assert_eq!(status(&cluster, None).await, Ok(200));
    }
    assert_eq!((one.requests(), two.requests()), (2, 2));
    assert_eq!(cluster.snapshot().connections, 1);
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_nothing_behind() {
    let backend = slow().await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()], "limits": { "max_connections": 1 },
    })));
    let first = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move { status(&cluster, None).await }
    });
    until("the first request", || backend.requests() == 1).await;
    let second = tokio::time::timeout(Duration::from_millis(10), status(&cluster, None)).await;
    assert!(second.is_err());
    let third = tokio::time::timeout(Duration::from_secs(10), status(&cluster, None)).await;
    assert_eq!(third.unwrap(), Ok(200), "the wake-up is not lost with the one who left");
    assert_eq!(first.await.unwrap(), Ok(200));
    let status = cluster.snapshot();
    assert_eq!((status.pending, status.requests, status.connections), (0, 0, 1));
}
