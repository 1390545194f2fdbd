//! A broker in memory: every group's backlog is bounded together with all others, and gone with the process.

mod group;
mod member;
mod room;
mod topic;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, ErrorKind, Message, PubSub, PubSubCapabilities, Result,
    SubscribeOptions, Subscription, async_trait,
};
use parking_lot::{Mutex, RwLock};
use schemars::JsonSchema;
use serde::Deserialize;

use member::Member;
use room::{Room, size};
use topic::Topic;

/// More groups than this are a mistake: each topic keeps a place for each of its groups.
const GROUPS: usize = 10_000;

/// Registers [`MemoryPubSub`] as `pubsub.in-memory`.
pub struct MemoryPubSubBackend;

/// Settings of `pubsub.in-memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MemoryPubSubConfig {
    /// The most messages that wait, all topics together; beyond it publishing is refused. Default: 100000.
    pub capacity: usize,
    /// The most bytes that wait, all topics together. Default: 64 MiB.
    pub capacity_bytes: usize,
}

impl Default for MemoryPubSubConfig {
    fn default() -> Self {
        Self { capacity: 100_000, capacity_bytes: 64 << 20 }
    }
}

#[async_trait]
impl Backend for MemoryPubSubBackend {
    const TYPE: &'static str = "pubsub.in-memory";
    const ALIASES: &'static [&'static str] = &["pubsub.memory", "in-memory"];
    const ABOUT: &'static str = "Topics in this process's memory; what waits is lost when it ends.";
    type Config = MemoryPubSubConfig;
    type Block = dyn PubSub;

    async fn build(config: MemoryPubSubConfig, _: &BuildContext) -> Result<Arc<dyn PubSub>> {
        Ok(Arc::new(MemoryPubSub::new(config)?))
    }
}

/// A broker in memory.
pub struct MemoryPubSub(Arc<Topics>);

/// What the broker and its members share.
struct Topics {
    by_name: RwLock<HashMap<String, Arc<Mutex<Topic>>>>,
    room: Room,
    members: AtomicU64,
}

impl MemoryPubSub {
    /// An empty broker; one that could hold nothing is refused.
    pub fn new(config: MemoryPubSubConfig) -> Result<Self> {
        if config.capacity == 0 || config.capacity_bytes == 0 {
            return Err(Error::invalid("capacity and capacityBytes are at least 1"));
        }
        let room = Room::new(config.capacity, config.capacity_bytes);
        Ok(Self(Arc::new(Topics { by_name: RwLock::default(), room, members: AtomicU64::new(0) })))
    }
}

impl Topics {
    /// The topic of this name, made if there is none. Runs `with` while it cannot be removed.
    fn with<R>(&self, name: &str, with: impl Fn(&mut Topic) -> R) -> R {
        if let Some(topic) = self.by_name.read().get(name) {
            return with(&mut topic.lock());
        }
        let mut topics = self.by_name.write();
        let topic = topics.entry(name.to_owned()).or_default();
        with(&mut topic.lock())
    }

    /// Room for one more message, if need be by forgetting what nobody waits for.
    fn make_room(&self, bytes: usize) -> Result<()> {
        if self.room.take(bytes) {
            return Ok(());
        }
        let mut topics = self.by_name.write();
        topics.retain(|_, topic| {
            let mut topic = topic.lock();
            topic.expire(&self.room);
            while self.room.is_short_of(bytes) && topic.forget_unheard(&self.room) {}
            !topic.is_unused()
        });
        if self.room.take(bytes) { Ok(()) } else { Err(self.full(bytes)) }
    }

    fn full(&self, bytes: usize) -> Error {
        if bytes > self.room.bytes() {
            return Error::invalid("the message is bigger than all the room there is")
                .with("bytes", bytes)
                .with("capacityBytes", self.room.bytes());
        }
        let message =
            "the broker is full: subscribers are slower than publishers, or a group has no subscriber";
        Error::new(ErrorKind::RateLimited, message)
    }

    fn groups(&self) -> usize {
        self.by_name.read().values().map(|topic| topic.lock().groups()).sum()
    }
}

#[async_trait]
impl Component for MemoryPubSub {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PubSub for MemoryPubSub {
    fn capabilities(&self) -> PubSubCapabilities {
        PubSubCapabilities {
            ttl: true,
            persistent: false,
            shared: false,
            replay: true,
            latest: true,
            attempts: true,
            pauses: true,
            pulled: true,
        }
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<()> {
        named(topic)?;
        let bytes = size(&message);
        self.0.make_room(bytes)?;
        // The closure may run once only, but which branch runs it is decided inside.
        let message = Mutex::new(Some(message));
        self.0.with(topic, |topic| {
            if let Some(message) = message.lock().take() {
                topic.append(message, bytes);
            }
        });
        Ok(())
    }

    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>> {
        named(topic)?;
        if options.group.is_empty() {
            return Err(Error::invalid("group is empty"));
        }
        if options.credit == 0 {
            return Err(Error::invalid("credit is at least 1"));
        }
        if self.0.groups() >= GROUPS {
            let message = format!("there are {GROUPS} groups already");
            return Err(Error::new(ErrorKind::RateLimited, message).permanent());
        }
        let id = self.0.members.fetch_add(1, Ordering::Relaxed);
        let (wake, news) = self.0.with(topic, |topic| topic.join(&options.group, id, options.start));
        Ok(Box::new(Member { topics: Arc::clone(&self.0), topic: topic.to_owned(), options, id, wake, news }))
    }
}

fn named(topic: &str) -> Result<()> {
    if topic.is_empty() { Err(Error::invalid("topic is empty")) } else { Ok(()) }
}
