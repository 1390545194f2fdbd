//! Events of a memory broker on their way to functions that do as the event says.

use std::time::Instant;

use http::{Request, Response};
use outrigger_cluster::Body;
use outrigger_component_api::{ComponentSpec, Error, ErrorKind, PubSub as Broker, Result, async_trait};
use outrigger_memory::{MemoryPubSub, MemoryPubSubConfig};
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::*;
use crate::bindings::InputEvent;
use crate::caller::Caller;
use crate::function::{Door, Function, FunctionConfig, FunctionHost, Load, Origin, Tick, Triggers};
use crate::guard::Policy;
use crate::pubsub::{Answer, BrokerComponent, Event, Events, Publication};
use crate::stores::Member as _;

/// What a busy machine needs.
const PROMPTLY: Duration = Duration::from_secs(30);
/// Published until it arrives.
const PROBE: &str = "probe";

/// What functions were given, as `version data attempt`, and what lets them finish what is `slow`.
struct Heard {
    given: Mutex<Vec<String>>,
    leave: Semaphore,
    /// How often one is busy before it takes something.
    busy: Mutex<u32>,
}

struct Host(Arc<Heard>);

struct Fake {
    version: Arc<str>,
    heard: Arc<Heard>,
}

#[async_trait]
impl FunctionHost for Host {
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>> {
        let version = String::from_utf8(load.module.bytes().to_vec()).unwrap().into();
        Ok(Arc::new(Fake { version, heard: Arc::clone(&self.0) }))
    }
}

#[async_trait]
impl Function for Fake {
    fn triggers(&self) -> Triggers {
        Triggers { event: &*self.version != "deaf", schedule: true, ..Triggers::default() }
    }

    async fn serve(&self, _: &Caller<'_>, _: Door, _: Request<Body>) -> Result<Response<Body>> {
        Err(Error::internal("nobody asks"))
    }

    async fn event(&self, caller: &Caller<'_>, event: &Event, attempt: u32) -> Result<Answer> {
        assert_eq!(caller.app_id, "shop", "it acts as the application");
        assert!(caller.deadline.instant().is_some(), "before somebody else gets it");
        let data = String::from_utf8(event.data.to_vec()).unwrap();
        if data == "busy" && std::mem::take(&mut *self.heard.busy.lock()) > 0 {
            return Err(Error::new(ErrorKind::RateLimited, "too many calls wait"));
        }
        self.heard.given.lock().push(format!("{} {data} {attempt}", self.version));
        match data.as_str() {
            "trap" if attempt < 3 => Err(Error::internal("it trapped")),
            "late" if attempt < 2 => Err(Error::new(ErrorKind::Timeout, "it took too long")),
            "again" if attempt < 2 => Ok(Answer::Retry),
            "never" => Err(Error::internal("it trapped")),
            "drop" => Ok(Answer::Drop),
            "slow" => {
                self.heard.leave.acquire().await.unwrap().forget();
                Ok(Answer::Success)
            }
            _ => Ok(Answer::Success),
        }
    }

    async fn schedule(&self, _: &Caller<'_>, _: &Tick) -> Result<()> {
        Ok(())
    }

    async fn binding(&self, _: &Caller<'_>, _: &InputEvent) -> Result<()> {
        Ok(())
    }
}

struct Stage {
    blocks: Arc<Blocks>,
    heard: Arc<Heard>,
    summons: Summons,
}

impl Stage {
    fn new() -> Self {
        let blocks = Arc::new(Blocks::new("shop", &Metrics::new()));
        let settings = json!({ "redeliverInterval": "10ms" });
        let settings = settings.as_object().unwrap().clone();
        let mut spec = ComponentSpec { name: "events".to_owned(), settings, ..ComponentSpec::default() };
        let component = BrokerComponent::from_spec(&mut spec, Policy::default(), blocks.meter()).unwrap();
        let memory: Arc<dyn Broker> = Arc::new(MemoryPubSub::new(MemoryPubSubConfig::default()).unwrap());
        component.slot().ready(memory);
        blocks.pubsub.brokers.replace([Arc::new(component)]);
        let heard =
            Arc::new(Heard { given: Mutex::default(), leave: Semaphore::new(0), busy: Mutex::default() });
        blocks.functions.run_on(Arc::new(Host(Arc::clone(&heard))));
        let read: ReadTimes = Arc::new(|_| Err("there are no schedules here".to_owned()));
        let clock: Clock = Arc::new(std::time::SystemTime::now);
        let summons = Summons::start(Arc::clone(&blocks), read, clock);
        Self { blocks, heard, summons }
    }

    async fn deploy(&self, version: &'static str, events: serde_json::Value) {
        let config: FunctionConfig = serde_json::from_value(json!({ "events": events })).unwrap();
        self.blocks.functions.deploy("cart", version.into(), config, Origin::Operator).await.unwrap();
    }

    /// With its subscription in place: what is published before that is not for it.
    async fn with_orders(metadata: serde_json::Value) -> Self {
        let stage = Self::new();
        stage.deploy("one", orders(metadata)).await;
        stage.until_subscribed().await;
        stage
    }

    async fn until_subscribed(&self) {
        let begun = Instant::now();
        let given = |probe: &str| self.heard.given.lock().iter().any(|line| line.contains(probe));
        let mut last = String::new();
        for number in 0.. {
            last = format!("{PROBE}-{number}-");
            self.publish("orders", &last).await;
            sleep(Duration::from_millis(5)).await;
            if given(PROBE) {
                break;
            }
            assert!(begun.elapsed() < PROMPTLY, "never subscribed");
        }
        while !given(&last) {
            assert!(begun.elapsed() < PROMPTLY, "{last} was not given");
            sleep(Duration::from_millis(5)).await;
        }
        // And settled.
        sleep(Duration::from_millis(50)).await;
    }

    async fn publish(&self, topic: &str, data: &str) {
        let publication = Publication { data: data.to_owned().into(), ..Publication::default() };
        self.blocks.pubsub.publish(&Caller::new("shop"), "events", topic, &publication).await.unwrap();
    }

    async fn subscribe(&self, topic: &str) -> Events {
        self.blocks.pubsub.subscribe(&Caller::new("shop"), "events", topic, &BTreeMap::new()).await.unwrap()
    }

    /// What it was given since it has subscribed: of the probes, more may come at any time.
    fn given(&self) -> Vec<String> {
        let given = self.heard.given.lock();
        given.iter().filter(|line| !line.contains(PROBE)).cloned().collect()
    }

    async fn until_given(&self, expected: &[&str]) {
        let begun = Instant::now();
        while self.given() != expected {
            assert!(begun.elapsed() < PROMPTLY, "{:?} is not {expected:?}", self.given());
            sleep(Duration::from_millis(2)).await;
        }
    }
}

fn orders(metadata: serde_json::Value) -> serde_json::Value {
    json!({ "orders": { "pubsub": "events", "topic": "orders", "metadata": metadata } })
}

#[tokio::test]
async fn what_a_function_fails_comes_again_with_its_count() {
    let stage = Stage::with_orders(json!({})).await;
    for (data, expected) in [
        ("fine", vec!["one fine 1"]),
        ("again", vec!["one again 1", "one again 2"]),
        ("late", vec!["one late 1", "one late 2"]),
        ("trap", vec!["one trap 1", "one trap 2", "one trap 3"]),
    ] {
        stage.publish("orders", data).await;
        stage.until_given(&expected).await;
        stage.heard.given.lock().clear();
    }
}

#[tokio::test]
async fn what_it_was_too_busy_for_is_not_counted() {
    let stage = Stage::with_orders(json!({ "maxRetries": "0" })).await;
    *stage.heard.busy.lock() = 1;
    stage.publish("orders", "busy").await;
    stage.until_given(&["one busy 1"]).await;
}

#[tokio::test]
async fn what_is_given_up_on_goes_to_the_dead_letters_with_its_reason() {
    let stage = Stage::with_orders(json!({ "maxRetries": "1", "deadLetterTopic": "dead" })).await;
    let mut dead = stage.subscribe("dead").await;
    for (data, reason, attempts) in
        [("never", "retries exhausted", "2"), ("drop", "dropped by the subscriber", "1")]
    {
        stage.publish("orders", data).await;
        let buried = timeout(PROMPTLY, dead.next()).await.expect(data).unwrap();
        assert_eq!(buried.event.data, data);
        let about = |name: &str| buried.event.metadata.get(name).map(String::as_str);
        assert_eq!((about("deadLetterReason"), about("deadLetterAttempts")), (Some(reason), Some(attempts)));
        buried.settle(Answer::Success).await;
    }
    assert_eq!(stage.given(), ["one never 1", "one never 2", "one drop 1"]);
}

#[tokio::test]
async fn the_application_and_a_function_get_a_copy_each() {
    let stage = Stage::with_orders(json!({})).await;
    let mut app = stage.subscribe("orders").await;
    stage.publish("orders", "both").await;
    let incoming = timeout(PROMPTLY, app.next()).await.expect("the application's").unwrap();
    assert_eq!(incoming.event.data, "both");
    incoming.settle(Answer::Success).await;
    stage.until_given(&["one both 1"]).await;
}

#[tokio::test]
async fn a_new_version_takes_over_without_losing_or_repeating_any() {
    let stage = Stage::with_orders(json!({})).await;
    const VERSIONS: [&str; 5] = ["two", "three", "four", "five", "six"];
    for version in VERSIONS {
        for number in 0..20 {
            stage.publish("orders", &format!("{version}-{number}")).await;
        }
        // Every other one also changes the subscription.
        let metadata = if version.len() == 3 { json!({}) } else { json!({ "concurrency": "4" }) };
        stage.deploy(version, orders(metadata)).await;
    }
    let begun = Instant::now();
    while stage.given().len() < 100 && begun.elapsed() < PROMPTLY {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(100)).await;
    let mut got: Vec<_> =
        stage.given().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    got.sort();
    let mut expected: Vec<_> = VERSIONS
        .iter()
        .flat_map(|version| (0..20).map(move |number| format!("{version}-{number}")))
        .collect();
    expected.sort();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn events_wait_for_a_function_that_was_taken_away() {
    let stage = Stage::with_orders(json!({})).await;
    stage.blocks.functions.remove("cart").unwrap();
    stage.publish("orders", "kept").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(stage.given(), [""; 0]);
    stage.deploy("deaf", orders(json!({}))).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(stage.given(), [""; 0], "one that takes no events gets none");
    stage.deploy("two", orders(json!({}))).await;
    stage.until_given(&["two kept 1"]).await;
}

#[tokio::test]
async fn stopping_waits_for_what_a_function_has() {
    let stage = Stage::with_orders(json!({})).await;
    stage.publish("orders", "slow").await;
    stage.until_given(&["one slow 1"]).await;
    let Stage { summons, heard, .. } = stage;
    let mut draining = Box::pin(summons.drain(PROMPTLY));
    assert!(timeout(Duration::from_millis(100), &mut draining).await.is_err(), "it is not done yet");
    heard.leave.add_permits(1);
    timeout(PROMPTLY, draining).await.expect("done");
}
