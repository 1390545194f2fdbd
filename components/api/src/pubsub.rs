//! The publish/subscribe block: topics whose messages reach every consumer group at least once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Component, Result};

/// A broker the application reaches by component name.
///
/// A *topic* is a name; it needs no creation. A *group* is a named set of subscribers that share a topic's messages:
/// each group gets every message, each message goes to one subscriber of the group at a time. Payloads are bytes; the
/// broker reads nothing into them. An empty topic or group is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
#[async_trait]
pub trait PubSub: Component {
    /// What this broker honours. The suite holds it to its word.
    fn capabilities(&self) -> PubSubCapabilities {
        PubSubCapabilities::default()
    }

    /// Appends a message to a topic. `Ok` means that it survives what the component promises to survive and will be
    /// delivered at least once to every group that exists. A broker that is full answers
    /// [`RateLimited`](crate::ErrorKind::RateLimited) rather than grow or forget what a group still waits for; what no
    /// group waits for makes room. A ttl is [`Unsupported`](crate::ErrorKind::Unsupported) unless declared.
    async fn publish(&self, topic: &str, message: Message) -> Result<()>;

    /// Appends messages in order and answers for each in the same order; one failure does not stop the rest. The outer
    /// error means that none was appended. The default publishes them one by one.
    async fn publish_bulk(&self, topic: &str, messages: Vec<Message>) -> Result<Vec<Result<()>>> {
        let mut results = Vec::with_capacity(messages.len());
        for message in messages {
            results.push(self.publish(topic, message).await);
        }
        Ok(results)
    }

    /// Joins a group. When this returns the group exists: whatever is published afterwards reaches it, also while it
    /// has no subscriber, as long as the component keeps messages. A group that is new starts where
    /// [`SubscribeOptions::start`] says; one that exists goes on where it stood. A credit of 0 is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>>;
}

/// What a broker honours. The default is a plain queue without memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PubSubCapabilities {
    /// Messages with a `ttl` are not delivered after it.
    pub ttl: bool,
    /// What is acknowledged survives the end of this process.
    pub persistent: bool,
    /// Other processes see the same topics.
    pub shared: bool,
    /// A new group with [`Start::Earliest`] sees what was published before it existed.
    pub replay: bool,
    /// A new group may begin with [`Start::Latest`]; without it, asking for that is
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    pub latest: bool,
    /// [`Delivery::attempt`] counts; without it, it is always 1.
    pub attempts: bool,
    /// A retry comes after the pause asked for; without it, the broker decides.
    pub pauses: bool,
    /// A subscriber is given messages while it asks for the next one; without it, whenever it has credit.
    pub pulled: bool,
}

impl PubSubCapabilities {
    /// The capability words front doors show, as the ecosystem spells them.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.ttl, "MESSAGE_TTL"),
            (self.persistent, "PERSISTENT"),
            (self.shared, "SHARED"),
            (self.replay, "REPLAY"),
        ]
        .into_iter()
        .filter_map(|(has, word)| has.then_some(word))
    }
}

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The payload, as published and as delivered.
    pub data: Bytes,
    /// Names and values that travel beside it.
    pub metadata: BTreeMap<String, String>,
    /// How long it is worth delivering; `None` is for ever.
    pub ttl: Option<Duration>,
}

impl Message {
    /// A message without metadata or expiry.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }
}

/// Where a group that is new begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what the topic still holds.
    #[default]
    Earliest,
    /// With what is published from now on.
    Latest,
}

/// Options of [`PubSub::subscribe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The consumer group; never empty.
    pub group: String,
    /// The most deliveries this subscription has unsettled at once: the bound on what is held in memory for it. What
    /// it has fetched ahead counts, since others of the group cannot have it. At least 1.
    pub credit: usize,
    /// Where a new group begins.
    pub start: Start,
    /// How long a delivery may stay unsettled before somebody of the group gets it again; a subscriber that is gone is
    /// noticed after this at the latest. Counted from when the subscription fetched it.
    pub processing_timeout: Duration,
    /// What the application sent along; brokers ignore what they do not know.
    pub metadata: BTreeMap<String, String>,
}

impl SubscribeOptions {
    /// The defaults for a group: 64 unsettled, from the earliest, one minute to settle.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            credit: 64,
            start: Start::default(),
            processing_timeout: Duration::from_secs(60),
            metadata: BTreeMap::new(),
        }
    }
}

/// One subscriber's place in a group. Dropping it leaves the group: what it has unsettled goes to others of the group,
/// or to whoever joins next. What it had fetched ahead and never handed out does not count as delivered.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// The next message, in the order of the topic as far as redelivery allows. Waits for one, and while the credit is
    /// used up. Dropping the future loses nothing. An error that is retryable leaves the subscription usable: it
    /// reconnects when it is asked again.
    async fn next(&mut self) -> Result<Delivery>;
}

/// One message handed to one subscriber. Dropping it unsettled is [`Outcome::Retry`] without a pause.
#[must_use = "a delivery that is not settled is delivered again"]
pub struct Delivery {
    /// The broker's id of the message: the same at each delivery, unique within the topic.
    pub id: String,
    /// Which delivery to this group this is, counted from 1. Those that were returned do not count.
    pub attempt: u32,
    pub message: Message,
    settle: Option<Box<dyn Settle>>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: the group does not see it again.
    Ack,
    /// Deliver it to the group again, not before `after` has passed, whoever leaves or joins meanwhile.
    Retry { after: Duration },
    /// It reached nobody: as [`Retry`](Self::Retry), but this delivery is not counted among the attempts.
    Return { after: Duration },
    /// Given up on: the group does not see it again.
    Drop,
}

/// The broker's side of a [`Delivery`].
#[async_trait]
pub trait Settle: Send + Sync + 'static {
    /// Records the outcome. `Ok` means that it holds. Dropping the future gives the credit back all the same; whether
    /// the outcome holds is then open.
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()>;

    /// The delivery was dropped: give the message back without waiting.
    fn abandon(self: Box<Self>);
}

impl Delivery {
    pub fn new(id: impl Into<String>, attempt: u32, message: Message, settle: impl Settle) -> Self {
        Self { id: id.into(), attempt, message, settle: Some(Box::new(settle)) }
    }

    /// Says what became of it. An error leaves the broker free to deliver it again. After the processing timeout, or
    /// the end of the subscription, somebody else may have the message: settling then is refused with
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition), or does what it says if nobody has.
    pub async fn settle(mut self, outcome: Outcome) -> Result<()> {
        match self.settle.take() {
            Some(settle) => settle.settle(outcome).await,
            None => Ok(()),
        }
    }

    /// [`Outcome::Ack`].
    pub async fn ack(self) -> Result<()> {
        self.settle(Outcome::Ack).await
    }

    /// [`Outcome::Retry`].
    pub async fn retry(self, after: Duration) -> Result<()> {
        self.settle(Outcome::Retry { after }).await
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.abandon();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
