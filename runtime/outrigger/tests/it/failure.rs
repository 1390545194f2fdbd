//! Backends that die, hang or are all gone, under load and through the real program.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    backend::Backend,
    http::{get, metric},
    load::{Load, Seen, failures},
    program::{Folder, PATIENCE, Program},
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
    while backends[0].answered() <= 50 {
        assert!(load.now() < PATIENCE, "the one to die takes no part");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
        assert!(total > RATE as usize, "only {total} requests were made");
        assert!(failed.len() <= 3, "{} of {total} failed: {failed:#?}", failed.len());
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

const CHECKS: &str =
    "health: { active: { type: http, path: /healthz, interval: 500ms, timeout: 1s, unhealthy: 2 } }";

/// Pauses one of two under load; when it was out, if within `at_most`, and what clients saw from then on.
async fn pause_one_of_two(checks: &str, at_most: Duration) -> (Option<Duration>, Vec<Seen>) {
    let backends = [Backend::start(200).await, Backend::start(200).await];
    // In turn: a picker that looks at the requests under way would spare the paused one by itself.
    let cluster = format!("balance: round_robin, {checks}");
    let route = format!("{RETRY}, timeout: 10s");
    let (_folder, program) = proxy(&[&backends[0], &backends[1]], &cluster, &route);
    // More clients than can be stuck by the time it is out.
    let load = Load::start(program.web(), "/", 100, 400);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let paused = load.now();
    backends[0].pause();
    let admin = program.admin();
    let out = tokio::task::spawn_blocking(move || is_out_within(admin, at_most)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = paused + out.unwrap_or(at_most) + Duration::from_millis(100);
    (out, load.stop().await.into_iter().filter(|seen| seen.at > since).collect())
}

fn is_out_within(admin: SocketAddr, at_most: Duration) -> Option<Duration> {
    let started = Instant::now();
    while started.elapsed() < at_most {
        if get(admin, "/clusters").json()["clusters"][0]["usable"] == 1 {
            return Some(started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Everybody is served, and nobody waits for the one that is paused: that takes a route's ten seconds.
fn is_well_served(seen: &[Seen]) -> Result<(), String> {
    let bad: Vec<_> = seen.iter().filter(|s| s.failed() || s.took > Duration::from_secs(5)).collect();
    if bad.is_empty() && !seen.is_empty() { Ok(()) } else { Err(format!("{bad:?} of {}", seen.len())) }
}

#[test]
fn a_paused_backend_is_soon_out() {
    runtime().block_on(async {
        let (out, later) = pause_one_of_two(CHECKS, Duration::from_secs(15)).await;
        assert!(out.is_some(), "it was still asked after 15 s");
        assert_eq!(is_well_served(&later), Ok(()));
    });
}

/// Nobody checks it, so it stays and is asked: both checks of the test above find that.
#[test]
fn without_checks_a_paused_backend_stays() {
    runtime().block_on(async {
        let (out, later) = pause_one_of_two("", Duration::from_secs(5)).await;
        assert_eq!(out, None);
        is_well_served(&later).expect_err("all clients wait for the paused one");
    });
}

/// How the proxy answers when it can ask nobody: at once, with 503 and a reason.
fn refusals(web: SocketAddr) -> Result<(), String> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let asked = Instant::now();
        let answer = get(web, "/");
        times.push(asked.elapsed());
        let reason = answer.header("x-outrigger-reason").unwrap_or_default();
        if answer.status != 503 || !["connect_failed", "no_healthy_endpoint"].contains(&reason) {
            return Err(format!("{} {}", answer.head, answer.body));
        }
    }
    times.sort_unstable();
    // Many tests share two cores here: the start is what the proxy does, the rest is what the scheduler does. A wait
    // for anything would be in all of them.
    if times[times.len() / 4] < Duration::from_millis(100) { Ok(()) } else { Err(format!("slow: {times:?}")) }
}

#[test]
fn when_all_are_down_the_answer_is_quick_and_has_a_reason() {
    runtime().block_on(async {
        let backend = Backend::start(200).await;
        let (_folder, program) = proxy(&[&backend], "", "");
        backend.kill();
        assert_eq!(refusals(program.web()), Ok(()));
    });
}

/// One that lives, and one that is broken but there: the check takes neither for one that is down.
#[test]
fn a_backend_that_answers_is_not_taken_for_one_that_is_down() {
    runtime().block_on(async {
        for status in [200, 503] {
            let backend = Backend::start(status).await;
            let (_folder, program) = proxy(&[&backend], "", "");
            let found = refusals(program.web()).expect_err("it answers");
            assert!(found.starts_with(&format!("HTTP/1.1 {status} ")), "{found}");
        }
    });
}
