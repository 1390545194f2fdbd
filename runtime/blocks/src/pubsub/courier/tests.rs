//! The courier over the memory backend: what an application that is gone or slow does to stopping and reloading.

use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_component_api::{ComponentSpec, PubSub as Broker};
use outrigger_memory::{MemoryPubSub, MemoryPubSubConfig};
use outrigger_telemetry::Metrics;
use tokio::sync::Semaphore;

use super::*;
use crate::guard::Policy;
use crate::pubsub::{BrokerComponent, Publication};
use crate::stores::Member as _;

/// Longer than anything here may take, and less than the processing timeout.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a busy machine needs.
const PROMPTLY: Duration = Duration::from_secs(15);

/// An application that does with an event what its data say.
struct App {
    asked: AtomicUsize,
    taken: AtomicUsize,
    /// Lets it finish what is `slow`.
    leave: Semaphore,
}

#[async_trait]
impl AppEvents for App {
    async fn topics(&self, _: Deadline) -> Result<Vec<Topic>> {
        Ok(Vec::new())
    }

    async fn deliver(&self, _: &Topic, event: &Event, _: u32, _: Deadline) -> Result<Answer> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match event.data.as_ref() {
            b"gone" => return Err(Error::unavailable("nobody listens")),
            b"slow" => self.leave.acquire().await.expect("open").forget(),
            _ => {}
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(Answer::Success)
    }

    async fn gone(&self) {
        std::future::pending().await
    }
}

impl App {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), taken: AtomicUsize::new(0), leave: Semaphore::new(0) })
    }
}

async fn until(what: &str, count: &AtomicUsize, reaches: usize) {
    let reached = async {
        while count.load(Ordering::SeqCst) < reaches {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PROMPTLY, reached).await.unwrap_or_else(|_| panic!("{what}: {count:?} of {reaches}"));
}

/// Makes a new broker the one named `events`.
fn seat_broker(blocks: &Blocks) {
    let mut spec = ComponentSpec { name: "events".to_owned(), ..ComponentSpec::default() };
    let component = BrokerComponent::from_spec(&mut spec, Policy::default(), blocks.meter()).unwrap();
    let memory: Arc<dyn Broker> = Arc::new(MemoryPubSub::new(MemoryPubSubConfig::default()).unwrap());
    component.slot().ready(memory);
    blocks.pubsub.brokers.replace([Arc::new(component)]);
}

fn start(app: &Arc<App>) -> (Arc<Blocks>, Courier) {
    let blocks = Arc::new(Blocks::new("shop", &Metrics::new()));
    seat_broker(&blocks);
    let topic = Topic { pubsub: "events".to_owned(), topic: "orders".to_owned(), ..Topic::default() };
    let courier = Courier::start(Arc::clone(&blocks), Arc::clone(app) as _, vec![topic]);
    (blocks, courier)
}

async fn publish(blocks: &Blocks, data: &'static str) {
    let publication = Publication { data: data.into(), ..Publication::default() };
    blocks.pubsub.publish(&Caller::new("shop"), "events", "orders", &publication).await.unwrap();
}

/// How often those that are left in the topic have been delivered, this time included.
async fn attempts_of_what_is_left(blocks: &Blocks) -> Vec<u32> {
    let (caller, none) = (Caller::new("shop"), BTreeMap::new());
    let mut events = blocks.pubsub.subscribe(&caller, "events", "orders", &none).await.unwrap();
    let mut attempts = Vec::new();
    while let Ok(incoming) = timeout(Duration::from_millis(1500), events.next()).await {
        let incoming = incoming.unwrap();
        attempts.push(incoming.attempt);
        incoming.settle(Answer::Success).await;
    }
    attempts
}

#[tokio::test]
async fn stopping_does_not_wait_for_an_application_that_is_gone() {
    let app = App::new();
    let (blocks, courier) = start(&app);
    for _ in 0..3 {
        publish(&blocks, "gone").await;
    }
    until("asked, and asked again", &app.asked, 6).await;
    let asked = Instant::now();
    courier.drain(PATIENCE).await;
    assert!(asked.elapsed() < PROMPTLY, "{:?}", asked.elapsed());
    assert_eq!(attempts_of_what_is_left(&blocks).await, [1, 1, 1], "nobody has seen them");
}

#[tokio::test]
async fn stopping_waits_for_what_the_application_has() {
    let app = App::new();
    let (blocks, courier) = start(&app);
    publish(&blocks, "slow").await;
    until("given", &app.asked, 1).await;
    let mut draining = Box::pin(courier.drain(PATIENCE));
    assert!(timeout(Duration::from_millis(200), &mut draining).await.is_err(), "it is not done yet");
    app.leave.add_permits(1);
    timeout(PROMPTLY, draining).await.expect("done");
    assert_eq!(attempts_of_what_is_left(&blocks).await, [0_u32; 0]);
}

#[tokio::test]
async fn what_the_application_could_not_be_given_does_not_hold_up_another_broker() {
    let app = App::new();
    let (blocks, _courier) = start(&app);
    publish(&blocks, "gone").await;
    until("asked, and asked again", &app.asked, 2).await;
    seat_broker(&blocks);
    publish(&blocks, "new").await;
    until("the new broker's event", &app.taken, 1).await;
}
