//! Publish and subscribe, over the stream. Payloads go raw, so that they are bytes and metadata. The dialect counts no
//! deliveries, leaves the pause before a retry to the settings, begins every group with what there is, sends whenever there
//! is credit, and takes an empty group for the application's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_component_api::{
    Component, Delivery, Error, Message, Outcome, PubSub, PubSubCapabilities, Result, Settle, Start,
    SubscribeOptions, Subscription, async_trait,
};
use outrigger_memory::{MemoryPubSub, MemoryPubSubConfig};
use outrigger_sdk as sdk;
use outrigger_sqlite::{SqlitePubSub, SqlitePubSubConfig};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Kept, PATIENCE, Remote, error, new_file, nothing};
use crate::harness::Sidecar;

mod memory {
    use super::*;
    outrigger_testkit::pubsub_suite!(in_memory(MemoryPubSubConfig::default()));

    mod when_full {
        use super::*;
        outrigger_testkit::bounded_pubsub_suite!(in_memory(MemoryPubSubConfig {
            capacity: 500,
            ..MemoryPubSubConfig::default()
        }));
    }
}

mod sqlite {
    use super::*;
    outrigger_testkit::pubsub_suite!(remote(|| {
        let (file, folder) = new_file();
        let config = SqlitePubSubConfig { path: file.path, ..SqlitePubSubConfig::default() };
        (Arc::new(SqlitePubSub::new(config).unwrap()) as _, Box::new(folder) as _)
    }));
}

fn in_memory(config: MemoryPubSubConfig) -> Arc<dyn PubSub> {
    remote(move || (Arc::new(MemoryPubSub::new(config).unwrap()) as _, nothing()))
}

fn remote(build: impl FnOnce() -> (Arc<dyn PubSub>, Kept) + Send + 'static) -> Arc<dyn PubSub> {
    let seat = |sidecar: &Sidecar| {
        let (backend, kept) = build();
        sidecar.blocks.pubsub.brokers.replace([sidecar.seat("events", backend)]);
        kept
    };
    Arc::new(Remote::start(seat, |client| client.pubsub("events")))
}

const RAW: (&str, &str) = ("rawPayload", "true");
const TTL: &str = "ttlInSeconds";

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[async_trait]
impl Component for Remote<sdk::PubSub> {
    async fn ping(&self) -> Result<()> {
        self.publish("ping", Message::default()).await
    }
}

#[async_trait]
impl PubSub for Remote<sdk::PubSub> {
    fn capabilities(&self) -> PubSubCapabilities {
        PubSubCapabilities { ttl: true, replay: true, ..PubSubCapabilities::default() }
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<()> {
        let mut beside = metadata(&[RAW]);
        if let Some(ttl) = message.ttl {
            if ttl.is_zero() {
                // On the wire a ttl of zero is none.
                return Ok(());
            }
            beside.insert(TTL.to_owned(), ttl.as_secs().to_string());
        }
        beside.extend(message.metadata);
        let (topic, data) = (topic.to_owned(), message.data);
        let publish = |broker: sdk::PubSub| async move { broker.publish_with(topic, data, "", beside).await };
        self.call(publish).await
    }

    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>> {
        if options.group.is_empty() {
            return Err(Error::invalid("on the wire an empty group is the application's own"));
        }
        if options.start == Start::Latest {
            return Err(Error::unsupported("beginning with what comes"));
        }
        let credit = options.credit.to_string();
        let processing = format!("{}ms", options.processing_timeout.as_millis());
        let settings = metadata(&[
            RAW,
            ("consumerID", &options.group),
            ("concurrency", &credit),
            ("processingTimeout", &processing),
            ("redeliverInterval", "0s"),
        ]);
        let topic = topic.to_owned();
        let options = sdk::SubscribeOptions { metadata: settings, ..sdk::SubscribeOptions::default() };
        let subscription =
            self.call(|broker| async move { broker.subscribe_as(topic, options).await }).await?;
        Ok(Box::new(Member::of(subscription, self.runtime.clone())))
    }
}

/// One subscriber. Its stream is read on the remote runtime, and ends with the runtime that subscribed.
struct Member {
    events: mpsc::Receiver<sdk::Result<Option<sdk::Event>>>,
    settler: sdk::Settler,
    remote: Handle,
    leave: Option<oneshot::Sender<()>>,
    /// Told when the sidecar has heard everything.
    left: std::sync::mpsc::Receiver<()>,
    /// Lives as long as the runtime that subscribed.
    here: JoinHandle<()>,
}

impl Member {
    fn of(subscription: sdk::Subscription, remote: Handle) -> Self {
        let settler = subscription.settler();
        let (sender, events) = mpsc::channel(1);
        let (leave, told) = oneshot::channel();
        let (alive, gone) = oneshot::channel::<()>();
        let (done, left) = std::sync::mpsc::channel();
        remote.spawn(async move {
            let mut subscription = subscription;
            let reading = async {
                while let Ok(room) = sender.reserve().await {
                    room.send(subscription.next().await);
                }
            };
            tokio::select! {
                () = reading => {}
                _ = told => {}
                _ = gone => {}
            }
            drop(subscription.close().await);
            // Nobody may wait for it.
            let _waited_for = done.send(());
        });
        let here = tokio::spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        Self { events, settler, remote, leave: Some(leave), left, here }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.here.abort();
        drop(self.leave.take());
        // What was settled before counts before whoever joins next.
        let _told = self.left.recv_timeout(PATIENCE);
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery> {
        let ended = || Error::internal("the sidecar has ended the subscription");
        let event = self.events.recv().await.ok_or_else(ended)?.map_err(error)?.ok_or_else(ended)?;
        let mut metadata = event.metadata.clone();
        metadata.retain(|name, _| name != RAW.0 && name != TTL);
        let message = Message { data: event.data.clone(), metadata, ttl: None };
        let id = event.id.clone();
        let handed = Handed { event, settler: self.settler.clone(), remote: self.remote.clone() };
        Ok(Delivery::new(id, 1, message, handed))
    }
}

struct Handed {
    event: sdk::Event,
    settler: sdk::Settler,
    remote: Handle,
}

#[async_trait]
impl Settle for Handed {
    /// There is no answer to it. It is said to the end, also when nobody waits for that.
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        let outcome = match outcome {
            Outcome::Ack => sdk::Outcome::Done,
            Outcome::Retry { .. } | Outcome::Return { .. } => sdk::Outcome::Retry,
            Outcome::Drop => sdk::Outcome::Drop,
        };
        let Self { event, settler, remote } = *self;
        let said = remote.spawn(async move { settler.settle(&event, outcome).await });
        said.await.expect("the remote runtime lives as long as this").map_err(error)
    }

    fn abandon(self: Box<Self>) {
        let Self { event, settler, remote } = *self;
        remote.spawn(async move { drop(settler.settle(&event, sdk::Outcome::Retry).await) });
    }
}
