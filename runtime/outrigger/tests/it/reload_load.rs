//! Reloads under load: nobody notices, and what they do not touch goes on as it was.

use std::time::Duration;

use outrigger_sdk::{Client, Options};

use crate::{
    backend::Backend,
    http::{get, post},
    load::{Load, failures},
    program::{Folder, Program},
};

/// Requests a second.
const RATE: u32 = 2000;
const RELOADS: usize = 200;

/// The scene: three backends that answer, and one that always fails.
struct Scene {
    good: Vec<Backend>,
    bad: Backend,
}

/// What a reload may change about the things it must not disturb; the default is nothing.
#[derive(Clone, Copy)]
struct Touch {
    breaker_failures: u32,
    store_type: &'static str,
    bucket: usize,
}

const UNTOUCHED: Touch = Touch { breaker_failures: 3, store_type: "state.in-memory", bucket: 2 * HALF };

/// Tokens taken from the bucket before the reloads, and left in it.
const HALF: usize = 20;

impl Scene {
    async fn set() -> Self {
        let mut good = Vec::new();
        for _ in 0..3 {
            good.push(Backend::start(200).await);
        }
        Self { good, bad: Backend::start(503).await }
    }

    /// The `n`-th configuration: routes, endpoints and components come and go around those that stay.
    fn config(&self, n: usize, touch: Touch) -> String {
        let endpoints: Vec<_> =
            self.good.iter().take(2 + n % 2).map(|b| format!("'{}'", b.address)).collect();
        let endpoints = endpoints.join(", ");
        let routes: String = (0..n % 5)
            .map(|i| format!("  r{i}: {{ hosts: [r{i}.example], backends: [ {{ cluster: back }} ] }}\n"))
            .collect();
        let extra = if n.is_multiple_of(3) { "  extra: { type: state.in-memory }\n" } else { "" };
        let (good, bad) = (self.good[0].address, self.bad.address);
        let Touch { breaker_failures, store_type, bucket } = touch;
        format!(
            "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}
routes:
  all: {{ backends: [ {{ cluster: back }} ] }}
  broken: {{ match: [ {{ path: {{ prefix: /broken }} }} ], backends: [ {{ cluster: broken }} ] }}
  half: {{ match: [ {{ path: {{ prefix: /half }} }} ], backends: [ {{ cluster: half }} ] }}
  limited:
    match: [ {{ path: {{ prefix: /limited }} }} ]
    filters: {{ rate_limit: {{ capacity: {bucket}, refill_per_second: 0.0001 }} }}
    backends: [ {{ cluster: back }} ]
{routes}clusters:
  back: {{ endpoints: [ {endpoints} ] }}
  broken:
    endpoints: [ '{bad}' ]
    breaker: {{ consecutive_failures: {breaker_failures}, min_open: 1h, max_open: 1h }}
  half:
    endpoints: [ '{good}', '{bad}' ]
    balance: round_robin
    health: {{ passive: {{ consecutive_5xx: 2, base_ejection: 1h, max_ejection: 1h }} }}
components:
  kept: {{ type: {store_type} }}
{extra}"
        )
    }
}

/// What was still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Survived {
    breaker: bool,
    ejection: bool,
    store: bool,
    bucket: bool,
}

const ALL: Survived = Survived { breaker: true, ejection: true, store: true, bucket: true };

async fn store(program: &Program) -> Client {
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    Client::connect_with(options).await.unwrap()
}

/// Opens the breaker, has the bad endpoint ejected, saves a value and takes half of the tokens.
async fn prepare(program: &Program, scene: &Scene) {
    store(program).await.state("kept").save(("key", "value")).await.unwrap();
    for _ in 0..20 {
        get(program.web(), "/broken");
        get(program.web(), "/half");
    }
    assert!(scene.bad.answered() > 0);
    assert_eq!(taken(program, HALF), HALF);
    assert!(is_open(program, scene) && is_ejected(program, scene));
}

/// Asks what is still as [`prepare`] has left it. Takes what is left in the bucket.
async fn survived(program: &Program, scene: &Scene) -> Survived {
    Survived {
        breaker: is_open(program, scene),
        ejection: is_ejected(program, scene),
        store: store(program).await.state("kept").get("key").await.unwrap().is_some(),
        bucket: taken(program, 2 * HALF) == HALF,
    }
}

fn is_open(program: &Program, scene: &Scene) -> bool {
    let before = scene.bad.answered();
    let mut answers = (0..10).map(|_| get(program.web(), "/broken"));
    let refused = answers.all(|answer| answer.header("x-outrigger-reason") == Some("breaker_open"));
    refused && scene.bad.answered() == before
}

fn is_ejected(program: &Program, scene: &Scene) -> bool {
    let before = scene.bad.answered();
    let served = (0..10).all(|_| get(program.web(), "/half").status == 200);
    served && scene.bad.answered() == before
}

/// Asks so often, and says how often a token was left.
fn taken(program: &Program, often: usize) -> usize {
    (0..often).filter(|_| get(program.web(), "/limited").status == 200).count()
}

async fn reload(program: &Program, folder: &Folder, config: &str) {
    folder.configure(config);
    let admin = program.admin();
    let outcome = tokio::task::spawn_blocking(move || post(admin, "/reload", "")).await.unwrap();
    assert_eq!(outcome.status, 200, "{}\n{config}", outcome.body);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn two_hundred_reloads_fail_no_request_and_forget_nothing() {
    runtime().block_on(async {
        let scene = Scene::set().await;
        let folder = Folder::with(&scene.config(0, UNTOUCHED)).arguments(&["--no-watch"]);
        let program = folder.run();
        prepare(&program, &scene).await;
        let load = Load::start(program.web(), "/", RATE, 40);
        for n in 1..=RELOADS {
            reload(&program, &folder, &scene.config(n, UNTOUCHED)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = load.stop().await;
        assert_eq!(failures(&seen), [""; 0]);
        assert!(seen.len() > 10 * RELOADS, "the load was {} requests only", seen.len());
        assert_eq!(survived(&program, &scene).await, ALL);
        let metrics = get(program.admin(), "/metrics").body;
        assert!(metrics.contains(&format!("outrigger_reloads_total{{result=\"applied\"}} {RELOADS}\n")));
    });
}

/// The same questions after reloads that do touch them: the checker above must notice each loss.
#[test]
fn what_is_touched_starts_anew() {
    let cases = [
        (Touch { breaker_failures: 4, ..UNTOUCHED }, Survived { breaker: false, ..ALL }),
        (Touch { store_type: "state.sqlite", ..UNTOUCHED }, Survived { store: false, ..ALL }),
        (Touch { bucket: 2 * HALF + 1, ..UNTOUCHED }, Survived { bucket: false, ..ALL }),
    ];
    for (touch, expected) in cases {
        runtime().block_on(async {
            let scene = Scene::set().await;
            let folder = Folder::with(&scene.config(0, UNTOUCHED)).arguments(&["--no-watch"]);
            let program = folder.run();
            prepare(&program, &scene).await;
            reload(&program, &folder, &scene.config(0, touch)).await;
            assert_eq!(survived(&program, &scene).await, expected);
        });
    }
}

/// A restart instead of a reload: requests fail and everything is forgotten, and the checkers say so.
#[test]
fn a_restart_is_noticed() {
    runtime().block_on(async {
        let scene = Scene::set().await;
        let folder = Folder::with(&scene.config(0, UNTOUCHED)).arguments(&["--no-watch"]);
        let mut program = folder.run();
        prepare(&program, &scene).await;
        let load = Load::start(program.web(), "/", 500, 10);
        tokio::time::sleep(Duration::from_millis(300)).await;
        program.stop();
        let again = folder.run();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!failures(&load.stop().await).is_empty());
        assert_eq!(
            survived(&again, &scene).await,
            Survived { breaker: false, ejection: false, store: false, bucket: false }
        );
    });
}
