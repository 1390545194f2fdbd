//! Schedules on clocks that stand still unless they are told to go, alone and several with one lock store.

use std::collections::BTreeMap;

use http::{Request, Response};
use outrigger_cluster::Body;
use outrigger_component_api::{ComponentSpec, ErrorKind, LockStore, async_trait};
use outrigger_cron::Schedule as Cron;
use outrigger_memory::MemoryLock;
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::bindings::InputEvent;
use crate::fault::Fault;
use crate::function::{
    Door, Function, FunctionConfig, FunctionHost, Load, Origin, ReadTimes, Summons, Triggers,
};
use crate::guard::Policy;
use crate::lock::LockComponent;
use crate::pubsub::{Answer, Event};
use crate::stores::Member as _;

struct Read(Cron);

impl Times for Read {
    fn next(&self, after: SystemTime) -> Option<SystemTime> {
        self.0.following(after)
    }
}

/// What functions were called for, and how long they take for it.
#[derive(Default)]
struct Runs {
    /// Seconds since the beginning: when, and for when.
    calls: Mutex<Vec<(u64, u64)>>,
    slow: Mutex<Duration>,
    /// How it fails, first to last.
    fails: Mutex<Vec<ErrorKind>>,
    at_once: Mutex<(u32, u32)>,
}

struct Host(Arc<Runs>, Instant);
struct Fake(Arc<Runs>, Instant);

#[async_trait]
impl FunctionHost for Host {
    async fn load(&self, _: Load) -> Result<Arc<dyn Function>> {
        Ok(Arc::new(Fake(Arc::clone(&self.0), self.1)))
    }
}

#[async_trait]
impl Function for Fake {
    fn triggers(&self) -> Triggers {
        Triggers { schedule: true, ..Triggers::default() }
    }

    async fn serve(&self, _: &Caller<'_>, _: Door, _: Request<Body>) -> Result<Response<Body>> {
        Ok(Response::new(Body::empty()))
    }

    async fn event(&self, _: &Caller<'_>, _: &Event, _: u32) -> Result<Answer> {
        Ok(Answer::Success)
    }

    async fn schedule(&self, caller: &Caller<'_>, tick: &Tick) -> Result<()> {
        assert_eq!((caller.app_id, &*tick.name), ("shop", "night"));
        let fails =
            Some(&mut *self.0.fails.lock()).filter(|fails| !fails.is_empty()).map(|fails| fails.remove(0));
        if let Some(kind) = fails.filter(|kind| *kind != ErrorKind::Internal) {
            return Err(outrigger_component_api::Error::new(kind, "as told"));
        }
        let due = tick.due.duration_since(start()).unwrap_or_default().as_secs();
        self.0.calls.lock().push((self.1.elapsed().as_secs(), due));
        {
            let mut at_once = self.0.at_once.lock();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        let slow = *self.0.slow.lock();
        sleep(slow).await;
        self.0.at_once.lock().0 -= 1;
        fails.map_or(Ok(()), |kind| Err(outrigger_component_api::Error::new(kind, "as told")))
    }

    async fn binding(&self, _: &Caller<'_>, _: &InputEvent) -> Result<()> {
        Ok(())
    }
}

/// A whole hour.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// One sidecar: its clock may be set, forward or back.
struct Sidecar {
    blocks: Arc<Blocks>,
    metrics: Metrics,
    ahead: Arc<Mutex<i64>>,
    _summons: Summons,
}

/// Everything the sidecars of a test share.
struct World {
    runs: Arc<Runs>,
    locks: Arc<dyn LockStore>,
    origin: Instant,
}

impl World {
    fn new() -> Self {
        Self { runs: Arc::default(), locks: Arc::new(MemoryLock::new()), origin: Instant::now() }
    }

    async fn sidecar(&self, ahead: i64, schedule: serde_json::Value) -> Sidecar {
        let metrics = Metrics::new();
        let blocks = Arc::new(Blocks::new("shop", &metrics));
        let mut spec = ComponentSpec { name: "locks".to_owned(), ..ComponentSpec::default() };
        let component = LockComponent::from_spec(&mut spec, Policy::default(), blocks.meter()).unwrap();
        component.slot().ready(Arc::clone(&self.locks));
        blocks.lock.stores.replace([Arc::new(component)]);
        blocks.functions.run_on(Arc::new(Host(Arc::clone(&self.runs), self.origin)));
        let (origin, ahead) = (self.origin, Arc::new(Mutex::new(ahead)));
        let clock: Clock = Arc::new({
            let ahead = Arc::clone(&ahead);
            move || {
                let shown = i64::try_from(origin.elapsed().as_millis()).unwrap() + *ahead.lock() * 1000;
                let shown = Duration::from_millis(shown.unsigned_abs());
                // Never before the beginning by more than a test sets it back.
                if origin.elapsed().as_millis() as i64 + *ahead.lock() * 1000 < 0 {
                    start() - shown
                } else {
                    start() + shown
                }
            }
        });
        let read: ReadTimes =
            Arc::new(|text| Ok(Arc::new(Read(Cron::try_from(text.to_owned())?)) as Arc<dyn Times>));
        let summons = Summons::start(Arc::clone(&blocks), read, clock);
        let sidecar = Sidecar { blocks, metrics, ahead, _summons: summons };
        sidecar.deploy(schedule).await;
        sidecar
    }

    fn due(&self) -> Vec<u64> {
        self.runs.calls.lock().iter().map(|(_, due)| *due).collect()
    }
}

impl Sidecar {
    async fn deploy(&self, schedule: serde_json::Value) {
        let config: FunctionConfig =
            serde_json::from_value(json!({ "schedules": { "night": schedule } })).unwrap();
        self.blocks.functions.deploy("cart", "module".into(), config, Origin::Operator).await.unwrap();
    }

    fn count(&self, outcome: &str) -> u64 {
        let series = format!(
            "outrigger_function_ticks_total{{function=\"cart\",schedule=\"night\",outcome=\"{outcome}\"}} "
        );
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
    }
}

/// Passes the time, and lets what it wakes run.
async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_is_called_each_time_and_never_twice_at_once() {
    let world = World::new();
    *world.runs.slow.lock() = Duration::from_secs(25);
    let sidecar = world.sidecar(3, json!({ "schedule": "@every 10s" })).await;
    pass(100).await;
    assert_eq!(
        *world.runs.calls.lock(),
        [(7, 10), (37, 40), (67, 70), (97, 100)],
        "what it slept through is gone"
    );
    assert_eq!((world.runs.at_once.lock().1, sidecar.count("done")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn of_two_sidecars_one_calls_for_each_time() {
    let check = async |locked: bool, ahead: [i64; 2]| {
        let world = World::new();
        let schedule = match locked {
            true => json!({ "schedule": "@every 10s", "lock": "locks" }),
            false => json!({ "schedule": "@every 10s" }),
        };
        let one = world.sidecar(ahead[0], schedule.clone()).await;
        let other = world.sidecar(ahead[1], schedule).await;
        pass(605).await;
        let mut times = BTreeMap::<u64, u32>::new();
        world.due().into_iter().for_each(|due| *times.entry(due).or_default() += 1);
        let counted = ["done", "elsewhere"].map(|outcome| one.count(outcome) + other.count(outcome));
        let steady: Vec<_> = times.range(130..=500).map(|(_, calls)| *calls).collect();
        (steady, counted)
    };
    let (calls, [done, elsewhere]) = check(true, [0, 0]).await;
    assert_eq!(calls, vec![1; 38]);
    assert_eq!((done, elsewhere), (60, 60));
    for ahead in [[120, 0], [0, 120], [1, 0]] {
        assert_eq!(check(true, ahead).await.0, vec![1; 38], "clocks that differ: {ahead:?}");
    }
    assert_eq!(check(false, [0, 0]).await.0, vec![2; 38], "planted: without a lock both do");
}

#[tokio::test(start_paused = true)]
async fn who_wakes_up_late_does_not_repeat_what_was_done() {
    let world = World::new();
    let schedule = json!({ "schedule": "@every 1h", "lock": "locks" });
    let _steady = world.sidecar(0, schedule.clone()).await;
    let sleeper = world.sidecar(-240, schedule).await;
    pass(3600).await;
    assert_eq!(world.due(), [0, 3600], "for one of them it was not yet the hour it began at");
    pass(250).await;
    assert_eq!((world.due(), sleeper.count("elsewhere")), (vec![0, 3600], 1));
    // Its clock is right again, but too late for that time, and for each before it.
    pass(3000).await;
    *sleeper.ahead.lock() = 3600;
    pass(120).await;
    assert_eq!((world.due(), sleeper.count("missed")), (vec![0, 3600], 1));
}

#[tokio::test(start_paused = true)]
async fn of_many_missed_times_the_last_is_made_up_for() {
    let world = World::new();
    let sidecar = world.sidecar(0, json!({ "schedule": "@every 10s" })).await;
    pass(15).await;
    *sidecar.ahead.lock() = 200;
    pass(6).await;
    assert_eq!(*world.runs.calls.lock(), [(10, 10), (20, 220)]);
    *sidecar.ahead.lock() = -100_000;
    pass(61).await;
    assert!(world.due().len() > 2, "a clock that is set back is followed: {:?}", world.due());
}

#[tokio::test(start_paused = true)]
async fn a_lock_store_that_is_away_is_asked_again_and_nobody_calls_without_it() {
    let world = World::new();
    let schedule = json!({ "schedule": "@every 60s", "lock": "locks" });
    let sidecar = world.sidecar(0, schedule).await;
    sidecar.blocks.inject("locks", Some(Fault::Gone));
    pass(65).await;
    assert_eq!(world.due(), [0; 0]);
    sidecar.blocks.inject("locks", None);
    pass(20).await;
    assert_eq!(world.due(), [60], "as soon as it is back");
    sidecar.blocks.inject("locks", Some(Fault::Gone));
    pass(80).await;
    assert_eq!((world.due(), sidecar.count("missed")), (vec![60], 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_and_the_next_time_comes() {
    let world = World::new();
    *world.runs.fails.lock() = vec![ErrorKind::Internal, ErrorKind::RateLimited, ErrorKind::Unavailable];
    let sidecar = world.sidecar(0, json!({ "schedule": "@every 10s" })).await;
    pass(35).await;
    assert_eq!(world.due(), [10, 20, 30], "one that had no room is called once it has");
    assert_eq!((sidecar.count("failed"), sidecar.count("done")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn schedules_follow_what_is_deployed() {
    let world = World::new();
    let sidecar = world.sidecar(0, json!({ "schedule": "@every 10s" })).await;
    pass(15).await;
    sidecar.deploy(json!({ "schedule": "@every 10s" })).await;
    pass(10).await;
    assert_eq!(world.due(), [10, 20], "another version changes nothing");
    sidecar.deploy(json!({ "schedule": "@every 30s" })).await;
    pass(40).await;
    assert_eq!(world.due(), [10, 20, 30, 60]);
    sidecar.blocks.functions.remove("cart").unwrap();
    pass(100).await;
    assert_eq!(world.due(), [10, 20, 30, 60]);
}
