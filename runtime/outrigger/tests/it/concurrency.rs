//! Mutual exclusion, fencing, first writes and sequences under load, while what holds them is killed and started again.
//!
//! 32 clients write down what they asked and when; afterwards the history is held against what was promised. The same
//! clients also use a lock, a sequence and writes that are wrong on purpose, and those must be found out.

mod clients;
mod planted;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use outrigger_testkit::history::{self, Given, Held, Violation, Write};

use crate::program::{Folder, Program};
#[cfg(any(feature = "redis", feature = "etcd"))]
use crate::servers::Server;
use clients::Caller;

const CALLERS: usize = 32;
const OPERATIONS: usize = 100_000;
const RESTARTS: usize = 5;
/// How many weak numbers are taken at once.
const SEGMENT: usize = 100;
/// A run that does not get there in this time has hung.
const PATIENCE: Duration = Duration::from_secs(1200);

/// What the clients were told.
#[derive(Default)]
struct Histories {
    held: Vec<Held>,
    tokens: Vec<Given>,
    strong: Vec<Given>,
    weak: Vec<Given>,
    fenced: Vec<Write>,
    first: FirstWrites,
    /// Calls whose answer was lost.
    unanswered: usize,
    /// What a single client could see for itself.
    wrong: Vec<Violation>,
}

/// The keys of the first writes, by what their callers were told.
#[derive(Default)]
struct FirstWrites {
    won: Vec<String>,
    lost: Vec<String>,
    unknown: Vec<String>,
}

impl Histories {
    fn add(&mut self, other: Self) {
        self.held.extend(other.held);
        self.tokens.extend(other.tokens);
        self.strong.extend(other.strong);
        self.weak.extend(other.weak);
        self.fenced.extend(other.fenced);
        self.first.won.extend(other.first.won);
        self.first.lost.extend(other.first.lost);
        self.first.unknown.extend(other.first.unknown);
        self.unanswered += other.unanswered;
        self.wrong.extend(other.wrong);
    }

    /// By checker: what was found.
    fn violations(&self) -> [(&'static str, Vec<Violation>); 7] {
        let first = &self.first;
        [
            ("leases", history::leases_overlap(&self.held)),
            ("tokens", history::numbers_go_back(&self.tokens)),
            ("strong sequences", history::numbers_go_back(&self.strong)),
            ("weak sequences", history::numbers_go_back(&self.weak)),
            ("fenced writes", history::stale_writes(&self.fenced)),
            ("first writes", history::first_writes(&first.won, &first.lost, &first.unknown)),
            ("what one client saw", self.wrong.clone()),
        ]
    }
}

/// What all callers share.
struct Shared {
    began: Instant,
    answered: AtomicUsize,
    over: AtomicBool,
}

/// A sidecar at one address that can be killed and started again.
pub(crate) struct Sidecar {
    folder: Folder,
    program: Option<Program>,
}

impl Sidecar {
    /// With these `components`: `state`, `lock` and `sequencer`.
    pub(crate) fn start(components: &str) -> Self {
        let folder = Folder::bare().arguments(&["-c", "load.yaml"]);
        let listener =
            "api: { listeners: { main: { address: 'unix:api.sock' } } }\nadmin: { address: null }\n";
        folder.write("load.yaml", &format!("app: {{ id: load }}\n{listener}{components}"));
        let program = Some(folder.run());
        Self { folder, program }
    }

    pub(crate) fn restart(&mut self) {
        drop(self.program.take());
        self.program = Some(self.folder.run());
    }

    fn endpoint(&self) -> String {
        format!("unix:{}", self.folder.path("api.sock").display())
    }
}

/// Runs the load against a sidecar with these components, and calls `disturb` a few times meanwhile. Panics with what
/// was broken.
pub(crate) fn holds_under_load(components: &str, mut disturb: impl FnMut(&mut Sidecar)) {
    let mut sidecar = Sidecar::start(components);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let began = Instant::now();
    let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let shared = Arc::new(Shared { began, answered, over });
    let start = |number| {
        let caller = Caller::new(number, sidecar.endpoint(), Arc::clone(&shared));
        runtime.spawn(async move { caller.await.run().await })
    };
    let callers: Vec<_> = (0..CALLERS).map(start).collect();
    for round in 1..=RESTARTS + 1 {
        wait_for(&shared, OPERATIONS * round / (RESTARTS + 1));
        if round <= RESTARTS {
            disturb(&mut sidecar);
        }
    }
    shared.over.store(true, Ordering::SeqCst);
    let mut all = Histories::default();
    for caller in callers {
        all.add(runtime.block_on(caller).unwrap());
    }
    report(&shared, &all);
    for (checker, violations) in all.violations() {
        assert!(
            violations.is_empty(),
            "{checker}: {} violations, such as {:?}",
            violations.len(),
            violations[0]
        );
    }
    planted::is_found(&runtime, &sidecar.endpoint(), &shared);
}

fn wait_for(shared: &Shared, answered: usize) {
    while shared.answered.load(Ordering::SeqCst) < answered {
        let so_far = shared.answered.load(Ordering::SeqCst);
        assert!(shared.began.elapsed() < PATIENCE, "only {so_far} operations were answered");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What was run, for the record; a run in which nothing happened proves nothing.
fn report(shared: &Shared, all: &Histories) {
    let counts = [all.held.len(), all.tokens.len(), all.strong.len(), all.weak.len(), all.fenced.len()];
    let (won, lost) = (all.first.won.len(), all.first.lost.len());
    println!(
        "{} operations answered and {} not, in {:?}; leases, tokens, strong, weak, fenced: {counts:?}; first writes won \
         {won}, lost {lost}",
        shared.answered.load(Ordering::SeqCst),
        all.unanswered,
        shared.began.elapsed(),
    );
    assert!(counts.iter().all(|count| *count > 1000), "{counts:?}");
    assert!(won > 50 && lost > 1000, "{won} {lost}");
    assert!(all.unanswered > 0, "no call was under way when the backend went away");
}

/// The `components:` section with all three blocks on one technology.
fn components(technology: &str, settings: &str) -> String {
    format!(
        "components:
  state: {{ type: state.{technology}, settings: {{ {settings} }} }}
  lock: {{ type: lock.{technology}, settings: {{ {settings} }} }}
  sequencer: {{ type: sequencer.{technology}, settings: {{ {settings}, segmentSize: {SEGMENT} }} }}
"
    )
}

#[test]
fn promises_hold_on_sqlite_while_the_sidecar_is_killed() {
    holds_under_load(&components("sqlite", "path: kept.db"), Sidecar::restart);
}

#[cfg(feature = "redis")]
#[test]
fn promises_hold_on_redis_while_it_is_killed() {
    let Some(mut redis) = Server::durable_redis() else { return };
    redis.start();
    let settings = format!("redisHost: '127.0.0.1:{}'", redis.port());
    holds_under_load(&components("redis", &settings), |_| {
        redis.kill();
        redis.start();
    });
}

#[cfg(feature = "etcd")]
#[test]
fn promises_hold_on_etcd_while_it_is_killed() {
    let Some(mut etcd) = Server::etcd() else { return };
    etcd.start();
    let settings = format!("endpoints: '127.0.0.1:{}'", etcd.port());
    holds_under_load(&components("etcd", &settings), |_| {
        etcd.kill();
        etcd.start();
    });
}

/// The same against any backend: `OUTRIGGER_TEST_CONCURRENCY_COMPONENTS` is the `components:` section with `state`,
/// `lock` and `sequencer`, `OUTRIGGER_TEST_CONCURRENCY_DISTURB` the command that kills and starts the server behind
/// them.
#[test]
fn promises_hold_on_what_the_environment_names() {
    let variable = |name: &str| std::env::var(format!("OUTRIGGER_TEST_CONCURRENCY_{name}")).ok();
    let (Some(components), Some(disturb)) = (variable("COMPONENTS"), variable("DISTURB")) else {
        return eprintln!("skipped: no backend is named");
    };
    holds_under_load(&components, |_| {
        let status = Command::new("sh").args(["-c", &disturb]).status().unwrap();
        assert!(status.success(), "{disturb}: {status}");
    });
}
