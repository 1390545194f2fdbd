//! What survives a reload, and what must not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_cluster::{Clusters, Standing};
use outrigger_resilience::BreakerState;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::world::{compile, config, context, recompile, status, the, until};

fn with(mut json: Value, key: &str, value: Value) -> Value {
    json[key] = value;
    json
}

#[tokio::test]
async fn an_unchanged_cluster_is_the_same_cluster() {
    let json = json!({ "endpoints": ["127.0.0.1:9"] });
    let before = compile(json.clone());
    let after = recompile(json.clone(), &before);
    assert!(Arc::ptr_eq(&the(&before), &the(&after)));
    let changed = recompile(with(json, "balance", json!("random")), &after);
    assert!(!Arc::ptr_eq(&the(&after), &the(&changed)));
}

#[tokio::test]
async fn an_open_breaker_survives_changes_elsewhere() {
    let backend = Backend::answering(503).await;
    let json =
        json!({ "endpoints": [backend.address.to_string()], "breaker": { "consecutive_failures": 2 } });
    let before = compile(json.clone());
    for _ in 0..2 {
        status(&the(&before), None).await.unwrap();
    }
    let state = |clusters: &Clusters| the(clusters).snapshot().breaker.unwrap().state;
    assert_eq!(state(&before), BreakerState::Open);
    let after = recompile(with(json.clone(), "connect_timeout", json!("2s")), &before);
    assert_eq!(state(&after), BreakerState::Open);
    assert_eq!(status(&the(&after), None).await, Err("breaker_open"));
    let other = recompile(with(json, "breaker", json!({ "consecutive_failures": 3 })), &after);
    assert_eq!(state(&other), BreakerState::Closed, "other settings, another breaker");
}

#[tokio::test]
async fn pools_survive_changes_elsewhere() {
    let backend = Backend::answering(200).await;
    let other = Backend::answering(200).await;
    let json = json!({ "endpoints": [backend.address.to_string()] });
    let before = compile(json.clone());
    assert_eq!(status(&the(&before), None).await, Ok(200));
    let both = json!([backend.address.to_string(), other.address.to_string()]);
    let after = recompile(with(json, "endpoints", both), &before);
    drop(before);
    for _ in 0..10 {
        assert_eq!(status(&the(&after), None).await, Ok(200));
    }
    assert_eq!(backend.connections(), 1, "the connection made before the reload is used after it");
}

#[tokio::test]
async fn connections_of_a_removed_endpoint_are_closed() {
    let (gone, stays) = (Backend::answering(200).await, Backend::answering(200).await);
    let json = json!({ "endpoints": [gone.address.to_string()] });
    let before = compile(json.clone());
    assert_eq!(status(&the(&before), None).await, Ok(200));
    let after = recompile(with(json, "endpoints", json!([stays.address.to_string()])), &before);
    drop(before);
    until("the close", || gone.counts.closed.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    assert_eq!(status(&the(&after), None).await, Ok(200));
}

#[tokio::test]
async fn standing_survives_changes_elsewhere() {
    let (bad, good) = (Backend::answering(500).await, Backend::answering(200).await);
    let json =
        json!({ "endpoints": [bad.address.to_string(), good.address.to_string()], "balance": "round_robin" });
    let before = compile(json.clone());
    for _ in 0..12 {
        status(&the(&before), None).await.unwrap();
    }
    let ejected = |clusters: &Clusters| {
        the(clusters).snapshot().endpoints.iter().filter(|e| e.standing == Standing::Ejected).count()
    };
    assert_eq!(ejected(&before), 1);
    let after = recompile(with(json, "balance", json!("random")), &before);
    assert_eq!(ejected(&after), 1);
    for _ in 0..20 {
        assert_eq!(status(&the(&after), None).await, Ok(200));
    }
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let backend = Backend::answering(200).await;
    let before = compile(json!({ "endpoints": [backend.address.to_string()] }));
    let mut bad = config(&json!({ "endpoints": ["127.0.0.1:1"], "connect_timeout": "0s" }));
    bad.extend(config(&json!({})).into_values().map(|empty| ("empty".to_owned(), empty)));
    let problems = Clusters::compile(&bad, &before).err().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["backend.connect_timeout", "empty.endpoints"]);
    assert_eq!(status(&the(&before), None).await, Ok(200));
}

#[tokio::test]
async fn many_reloads_lose_no_request() {
    let backends =
        [Backend::answering(200).await, Backend::answering(200).await, Backend::answering(200).await];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.to_string()).collect();
    let current = Arc::new(arc_swap::ArcSwap::from_pointee(compile(json!({ "endpoints": addresses[..1] }))));
    let users: Vec<_> = (0..4)
        .map(|_| {
            let current = Arc::clone(&current);
            tokio::spawn(async move {
                let mut sent = 0;
                for _ in 0..400 {
                    let cluster = the(&current.load());
                    assert_eq!(status(&cluster, None).await, Ok(200));
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for round in 0..100usize {
        let range = &addresses[..1 + round % 3];
        let next = recompile(json!({ "endpoints": range }), &current.load());
        current.store(Arc::new(next));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for user in users {
        assert_eq!(user.await.unwrap(), 400);
    }
    assert!(
        Clusters::compile(&BTreeMap::new(), &Clusters::empty(context())).unwrap().names().next().is_none()
    );
}
