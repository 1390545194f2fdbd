//! A stream of events over a broker that takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_api::access::Access;
use outrigger_blocks::BrokerComponent;
use outrigger_component_api::{
    Component, Delivery, Message, Outcome, PubSub, Result, Settle, SubscribeOptions, Subscription,
    async_trait,
};
use outrigger_memory::{MemoryPubSub, MemoryPubSubConfig};
use outrigger_sdk as sdk;
use tokio::sync::Barrier;
use tokio::time::timeout;

use crate::harness::Sidecar;

const SOON: Duration = Duration::from_secs(30);
const GROUP: usize = 8;

/// A broker in memory that notes outcomes in groups of [`GROUP`]: none before all are there.
struct Grouping {
    memory: MemoryPubSub,
    group: Arc<Group>,
}

struct Group {
    gathering: Barrier,
    noted: AtomicUsize,
}

struct GroupingSubscription(Box<dyn Subscription>, Arc<Group>);

struct Waiting(Delivery, Arc<Group>);

#[async_trait]
impl Component for Grouping {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PubSub for Grouping {
    async fn publish(&self, topic: &str, message: Message) -> Result<()> {
        self.memory.publish(topic, message).await
    }

    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>> {
        let subscription = self.memory.subscribe(topic, options).await?;
        Ok(Box::new(GroupingSubscription(subscription, Arc::clone(&self.group))))
    }
}

#[async_trait]
impl Subscription for GroupingSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        let delivery = self.0.next().await?;
        let (id, attempt, message) = (delivery.id.clone(), delivery.attempt, delivery.message.clone());
        Ok(Delivery::new(id, attempt, message, Waiting(delivery, Arc::clone(&self.1))))
    }
}

#[async_trait]
impl Settle for Waiting {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        let Self(delivery, group) = *self;
        group.gathering.wait().await;
        delivery.settle(outcome).await?;
        group.noted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn abandon(self: Box<Self>) {}
}

#[tokio::test]
async fn answers_are_noted_side_by_side_while_more_is_delivered() {
    let group = Arc::new(Group { gathering: Barrier::new(GROUP), noted: AtomicUsize::new(0) });
    let memory = MemoryPubSub::new(MemoryPubSubConfig::default()).unwrap();
    let sidecar = Sidecar::empty(Access::default());
    let broker = Grouping { memory, group: Arc::clone(&group) };
    sidecar.blocks.pubsub.brokers.replace([sidecar.seat::<BrokerComponent>("events", Arc::new(broker) as _)]);
    let served = sidecar.serve().await;
    let options = sdk::Options { endpoint: served.endpoint.clone(), ..sdk::Options::default() };
    let events = sdk::Client::connect_with(options).await.unwrap().pubsub("events");
    let mut subscription = events.subscribe("orders").await.unwrap();
    for number in 0..GROUP {
        events.publish("orders", number.to_string(), "text/plain").await.unwrap();
        let event = timeout(SOON, subscription.next()).await.expect("in time").unwrap().expect("an event");
        assert_eq!(event.data, number.to_string());
        assert_eq!(group.noted.load(Ordering::SeqCst), 0, "the group is not complete");
        subscription.settle(&event, sdk::Outcome::Done).await.unwrap();
    }
    let all = async {
        while group.noted.load(Ordering::SeqCst) < GROUP {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, all).await.expect("all are noted");
}
