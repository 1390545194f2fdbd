//! Endpoints that die, hang or fail, and clusters that go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use outrigger_cluster::{Clusters, Standing};
use outrigger_resilience::RetryPolicy;
use serde_json::json;

use crate::backend::{Backend, Reply};
use crate::world::{compile, context, metric, recompile, retry, status, the, until};

/// 1,000 requests per second for `seconds`; failures with the time they happened at.
async fn load(
    cluster: &Arc<outrigger_cluster::Cluster>,
    policy: Option<&RetryPolicy>,
    length: Duration,
) -> (usize, Vec<(Duration, String)>) {
    let (started, sent, failures) =
        (Instant::now(), AtomicUsize::new(0), Arc::new(parking_lot::Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    // What a pause of ours has left out is not made up for all at once.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while started.elapsed() < length {
        tick.tick().await;
        for _ in 0..5 {
            let (cluster, policy, failures) = (Arc::clone(cluster), policy.cloned(), Arc::clone(&failures));
            sent.fetch_add(1, SeqCst);
            tasks.spawn(async move {
                let result = status(&cluster, policy.as_ref()).await;
                if result != Ok(200) {
                    failures.lock().push((started.elapsed(), format!("{result:?}")));
                }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
    tasks.join_all().await;
    let failures = failures.lock().clone();
    (sent.into_inner(), failures)
}

fn retries() -> RetryPolicy {
    retry(json!({ "attempts": 2, "on": ["connect_failure", "refused_stream", "reset", "gateway_error"] }))
}

/// Three backends with a little latency, one killed half a second in.
async fn kill_one_of_three(policy: Option<RetryPolicy>) -> (usize, Vec<(Duration, String)>, f64) {
    let script = |_: &str, _| Reply::Late(Duration::from_millis(2), 200);
    let backends =
        [Backend::scripted(script).await, Backend::scripted(script).await, Backend::scripted(script).await];
    let addresses = backends.each_ref().map(|backend| backend.address.to_string());
    let context = context();
    let clusters = recompile(json!({ "endpoints": addresses }), &Clusters::empty(context.clone()));
    let cluster = the(&clusters);
    let [victim, _b, _c] = backends;
    let killer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        victim.kill().await
    });
    let (sent, failures) = load(&cluster, policy.as_ref(), Duration::from_millis(2_500)).await;
    killer.await.unwrap();
    (
        sent,
        failures,
        metric(&context, "outrigger_cluster_requests_total{cluster=\"backend\",class=\"error\"}"),
    )
}

#[tokio::test]
async fn a_killed_backend_costs_no_client_a_request() {
    let (sent, failures, failed_attempts) = kill_one_of_three(Some(retries())).await;
    assert!(failed_attempts >= 1.0, "the death was met by at least one attempt");
    assert!(failures.len() * 1_000 < sent, "{} of {sent} failed: {:?}", failures.len(), failures.first());
    let late = failures.iter().filter(|(at, _)| *at > Duration::from_millis(1_500)).count();
    assert_eq!(late, 0, "none later than a second after the death");
}

/// The planted violation: the same without retries must lose requests, or the test above proves nothing.
#[tokio::test]
async fn without_retries_the_same_death_is_noticed() {
    let (_, failures, failed_attempts) = kill_one_of_three(None).await;
    assert!(!failures.is_empty());
    assert_eq!(failures.len() as f64, failed_attempts);
}

#[tokio::test]
async fn with_all_backends_down_the_answer_is_immediate() {
    let backends =
        [Backend::answering(200).await, Backend::answering(200).await, Backend::answering(200).await];
    let mut addresses = Vec::new();
    for backend in backends {
        addresses.push(backend.kill().await.to_string());
    }
    let cluster = the(&compile(json!({ "endpoints": addresses })));
    let policy = retries();
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let started = Instant::now();
        let reason = status(&cluster, Some(&policy)).await.unwrap_err();
        fastest = fastest.min(started.elapsed());
        assert!(["connect_failed", "no_healthy_endpoint"].contains(&reason), "{reason}");
    }
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}

#[tokio::test]
async fn a_backend_that_returns_is_used_again() {
    let gone = Backend::answering(200).await;
    let other = Backend::answering(200).await;
    let cluster = the(&compile(json!({
        "endpoints": [gone.address.to_string(), other.address.to_string()], "balance": "round_robin",
    })));
    let address = gone.kill().await;
    for _ in 0..4 {
        let _ = status(&cluster, None).await;
    }
    assert_eq!(cluster.snapshot().usable, 1);
    let back = Backend::on(address, |_, _| Reply::Status(200, "back")).await;
    let started = Instant::now();
    while back.requests() < 3 {
        status(&cluster, Some(&retries())).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(cluster.snapshot().endpoints.iter().all(|endpoint| endpoint.standing == Standing::Serving));
}

#[tokio::test]
async fn failing_answers_eject_up_to_the_cap() {
    let backends =
        [Backend::answering(500).await, Backend::answering(500).await, Backend::answering(200).await];
    let addresses = backends.each_ref().map(|backend| backend.address.to_string());
    let cluster = the(&compile(json!({ "endpoints": addresses, "balance": "round_robin" })));
    for _ in 0..60 {
        status(&cluster, None).await.unwrap();
    }
    let ejected = cluster.snapshot().endpoints.iter().filter(|e| e.standing == Standing::Ejected).count();
    assert_eq!(ejected, 1, "half of three, rounded down");
    let (first, second) = (backends[0].requests(), backends[1].requests());
    assert_eq!(first.min(second), 5, "five failures in a row were enough");
}

#[tokio::test]
async fn the_only_endpoint_is_never_ejected() {
    let backend = Backend::answering(500).await;
    let cluster = the(&compile(json!({ "endpoints": [backend.address.to_string()] })));
    for _ in 0..20 {
        assert_eq!(status(&cluster, None).await, Ok(500));
    }
}

#[tokio::test]
async fn a_hanging_backend_is_found_by_checks() {
    let hung = Backend::scripted(|_, _| Reply::Hang).await;
    let good = Backend::answering(200).await;
    let clusters = compile(json!({
        "endpoints": [hung.address.to_string(), good.address.to_string()],
        "health": { "active": { "type": "http", "path": "/healthz", "interval": "50ms", "timeout": "500ms" } },
    }));
    let cluster = the(&clusters);
    until("the check", || cluster.snapshot().usable == 1).await;
    for _ in 0..20 {
        assert_eq!(status(&cluster, None).await, Ok(200));
    }
}

#[tokio::test]
async fn a_check_names_the_host_it_is_told_to() {
    let usable = async |host: Option<&str>, expected: usize| {
        let particular = |head: &str, _| match head.contains("\r\nhost: inner.example\r\n") {
            true => Reply::Status(200, ""),
            false => Reply::Status(503, ""),
        };
        let backend = Backend::scripted(particular).await;
        let clusters = compile(json!({
            "endpoints": [backend.address.to_string()],
            "health": { "active": { "type": "http", "host": host, "interval": "20ms" } },
        }));
        let cluster = the(&clusters);
        until("checks", || backend.requests() > 5).await;
        until("their verdict", || cluster.snapshot().usable == expected).await;
    };
    usable(Some("inner.example"), 1).await;
    usable(None, 0).await;
}

#[tokio::test]
async fn checks_bring_a_backend_back() {
    let backend = Backend::answering(200).await;
    let address = backend.kill().await;
    let json = json!({
        "endpoints": [address.to_string()],
        "health": { "active": { "type": "tcp", "interval": "20ms", "healthy": 2, "unhealthy": 2 } },
    });
    let clusters = compile(json);
    let cluster = the(&clusters);
    until("the failing check", || cluster.snapshot().usable == 0).await;
    assert_eq!(status(&cluster, None).await, Err("no_healthy_endpoint"));
    let _back = Backend::on(address, |_, _| Reply::Status(200, "")).await;
    until("the passing checks", || cluster.snapshot().usable == 1).await;
    assert_eq!(status(&cluster, None).await, Ok(200));
}

#[tokio::test]
async fn an_open_breaker_answers_at_once() {
    let backend = Backend::answering(503).await;
    let cluster = the(&compile(json!({
        "endpoints": [backend.address.to_string()],
        "breaker": { "consecutive_failures": 3, "min_open": "2s", "max_open": "2s" },
    })));
    for _ in 0..3 {
        assert_eq!(status(&cluster, None).await, Ok(503));
    }
    assert_eq!(status(&cluster, None).await, Err("breaker_open"));
    assert_eq!(backend.requests(), 3);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert_eq!(status(&cluster, None).await, Ok(503), "the probe goes through");
    assert_eq!(status(&cluster, None).await, Err("breaker_open"));
}
