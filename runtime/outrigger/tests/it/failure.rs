//! Backends that die, hang or are all gone, under load and through the real program.

use std::time::{Duration, Instant};

use crate::{
    backend::Backend,
    http::{get, metric},
    load::{Load, Seen, failures},
    program::{Folder, Program, eventually},
};

const RATE: u32 = 1000;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A proxy over these backends; `more` goes into the cluster, `retry` into the route.
fn proxy(backends: &[&Backend], more: &str, retry: &str) -> (Folder, Program) {
    let endpoints: Vec<_> = backends.iter().map(|b| format!("'{}'", b.address)).collect();
    let folder = Folder::with(&format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}
routes: {{ all: {{ backends: [ {{ cluster: back }} ], {retry} }} }}
clusters: {{ back: {{ endpoints: [ {} ], {more} }} }}
",
        endpoints.join(", ")
    ));
    let program = folder.run();
    (folder, program)
}

const RETRY: &str = "retry: { attempts: 3, on: [connect_failure, reset, gateway_error] }";

/// Kills one of three under load and returns what clients saw, split at one second after.
async fn kill_one_of_three(retry: &str) -> (Vec<Seen>, Vec<Seen>, u64) {
    let backends = [Backend::start(200).await, Backend::start(200).await, Backend::start(200).await];
    let (_folder, program) = proxy(&[&backends[0], &backends[1], &backends[2]], "", retry);
    let load = Load::start(program.web(), "/", RATE, 20);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(backends[0].answered() > 50, "the one to die takes part");
    let killed = load.now();
    backends[0].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, after): (Vec<_>, Vec<_>) =
        load.stop().await.into_iter().partition(|seen| seen.at < killed + Duration::from_secs(1));
    let retries = metric(program.admin(), "outrigger_cluster_retries_total");
    (before, after, retries)
}

#[test]
fn one_of_three_dies_and_hardly_anybody_notices() {
    runtime().block_on(async {
        let (before, after, retries) = kill_one_of_three(RETRY).await;
        let (total, failed) = (before.len() + after.len(), failures(&before));
        assert!(total > RATE as usize * 3, "only {total} requests were made");
        assert!(failed.len() * 1000 < total, "{} of {total} failed: {failed:#?}", failed.len());
        assert_eq!(failures(&after), [""; 0], "a second later nobody notices");
        assert!(retries > 0, "the failed attempts were retried");
    });
}

/// The same death without retries is noticed, so the test above measures something.
#[test]
fn without_retries_the_death_is_noticed() {
    runtime().block_on(async {
        let (before, _, retries) = kill_one_of_three("").await;
        assert!(!failures(&before).is_empty(), "nobody noticed a backend die with requests under way");
        assert_eq!(retries, 0);
    });
}

#[test]
fn a_paused_backend_is_out_within_five_seconds() {
    runtime().block_on(async {
        let backends = [Backend::start(200).await, Backend::start(200).await];
        let checks = "health: { active: { type: http, path: /healthz, interval: 500ms, timeout: 300ms, unhealthy: 2 } }";
        let (_folder, program) = proxy(&[&backends[0], &backends[1]], checks, &format!("{RETRY}, timeout: 10s"));
        let load = Load::start(program.web(), "/", 200, 20);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let paused = load.now();
        backends[0].pause();
        let admin = program.admin();
        let out = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            eventually("the paused backend is out", || {
                let clusters = get(admin, "/clusters").json();
                (clusters["clusters"][0]["usable"] == 1).then_some(())
            });
            started.elapsed()
        });
        let out = out.await.unwrap();
        assert!(out < Duration::from_secs(5), "{out:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = load.stop().await;
        let later: Vec<_> = seen.into_iter().filter(|s| s.at > paused + out + Duration::from_millis(100)).collect();
        assert!(!later.is_empty());
        assert_eq!(failures(&later), [""; 0]);
        let slow: Vec<_> = later.iter().filter(|s| s.took > Duration::from_secs(1)).collect();
        assert!(slow.is_empty(), "{slow:?}");
    });
}

#[test]
fn when_all_are_down_the_answer_is_quick_and_has_a_reason() {
    runtime().block_on(async {
        let backend = Backend::start(200).await;
        let (_folder, program) = proxy(&[&backend], "", "");
        backend.kill();
        let web = program.web();
        let mut times = Vec::new();
        for _ in 0..50 {
            let asked = Instant::now();
            let answer = get(web, "/");
            times.push(asked.elapsed());
            assert_eq!(answer.status, 503, "{} {}", answer.head, answer.body);
            let reason = answer.header("x-outrigger-reason").unwrap_or_default();
            assert!(["connect_failed", "no_healthy_endpoint"].contains(&reason), "{}", answer.head);
        }
        times.sort_unstable();
        // Many tests share two cores here: the middle is what the proxy does, the end is what the scheduler does.
        assert!(times[times.len() / 2] < Duration::from_millis(5), "{times:?}");
    });
}
