//! The pub/sub block on SQLite: topics in a file that several processes of this host share.
//!
//! Publishing, claiming and settling are writes of the file's one thread, so each waits for a commit and many share
//! one. A claim does not wait for the disk: what a power cut undoes is claimed again. Whoever waits for messages sleeps
//! until it is woken by a commit, of whatever process, or until a delivery is due again; then it looks by reading, and
//! claims by writing only what there is.

mod claim;
mod member;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, Message, PubSub, PubSubCapabilities, Result, SubscribeOptions,
    Subscription, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::batch::Batch;
use crate::config::{SqliteConfig, Synchronous};
use crate::store::Store;
use crate::wake::Channel;
use member::Member;
use topics::{Limits, Record};

/// Registers [`SqlitePubSub`] as `pubsub.sqlite`.
pub struct SqlitePubSubBackend;

/// Settings of `pubsub.sqlite`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SqlitePubSubConfig {
    /// The database file. Default: `outrigger/outrigger.db` in `$XDG_DATA_HOME`, or else in `~/.local/share`: one file
    /// for all apps of a user on this host.
    pub path: Option<PathBuf>,
    /// Whether an acknowledged message survives a power cut. `full` (the default) waits for the disk before answering;
    /// `off` does not, and a crash of the host may lose acknowledged messages or damage the file.
    pub synchronous: Synchronous,
    /// How long a write waits for other processes that write to the same file. Default: 2s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub busy_timeout: Duration,
    /// The most the database file may grow to, in bytes; writes that need more are refused. 0 is no cap.
    /// Default: 10 GiB.
    pub max_size_bytes: u64,
    /// The most messages that wait, all topics of the file together; beyond it publishing is refused.
    /// Default: 1000000.
    pub max_messages: u64,
    /// How long a message waits for a group that does not take it; then it is forgotten. Default: 7days.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub retention: Duration,
}

impl Default for SqlitePubSubConfig {
    fn default() -> Self {
        let SqliteConfig { path, synchronous, busy_timeout, max_size_bytes } = SqliteConfig::default();
        Self {
            path,
            synchronous,
            busy_timeout,
            max_size_bytes,
            max_messages: 1_000_000,
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl SqlitePubSubConfig {
    fn split(self) -> Result<(SqliteConfig, Limits)> {
        let Self { path, synchronous, busy_timeout, max_size_bytes, max_messages, retention } = self;
        if max_messages == 0 {
            return Err(Error::invalid("maxMessages is at least 1").with("setting", "maxMessages"));
        }
        if retention.is_zero() {
            return Err(Error::invalid("retention is more than nothing").with("setting", "retention"));
        }
        let messages = i64::try_from(max_messages).unwrap_or(i64::MAX);
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let file = SqliteConfig { path, synchronous, busy_timeout, max_size_bytes };
        Ok((file, Limits { messages, retention }))
    }
}

#[async_trait]
impl Backend for SqlitePubSubBackend {
    const TYPE: &'static str = "pubsub.sqlite";
    const ABOUT: &'static str =
        "Topics in a file that survives crashes and power cuts; the processes of this host share them.";
    type Config = SqlitePubSubConfig;
    type Block = dyn PubSub;

    async fn build(config: SqlitePubSubConfig, _: &BuildContext) -> Result<Arc<dyn PubSub>> {
        let (file, limits) = config.split()?;
        Ok(Arc::new(SqlitePubSub { store: Store::shared(file)?, limits }))
    }
}

/// A broker in an SQLite file. Nothing is opened or created before the first call.
pub struct SqlitePubSub {
    store: Arc<Store>,
    limits: Limits,
}

impl SqlitePubSub {
    /// Settles where the file is; opens nothing.
    pub fn new(config: SqlitePubSubConfig) -> Result<Self> {
        let (file, limits) = config.split()?;
        Ok(Self { store: Arc::new(Store::new(file)?), limits })
    }
}

#[async_trait]
impl Component for SqlitePubSub {
    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }
}

#[async_trait]
impl PubSub for SqlitePubSub {
    fn capabilities(&self) -> PubSubCapabilities {
        PubSubCapabilities {
            ttl: true,
            persistent: true,
            shared: true,
            replay: true,
            latest: true,
            attempts: true,
            pauses: true,
            pulled: true,
        }
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<()> {
        named(topic)?;
        let (topic, limits, record) = (topic.to_owned(), self.limits, Record::new(message)?);
        self.store.write(record.size(), move |batch| topics::append(batch, &topic, &record, limits)).await
    }

    async fn publish_bulk(&self, topic: &str, messages: Vec<Message>) -> Result<Vec<Result<()>>> {
        named(topic)?;
        let (topic, limits) = (topic.to_owned(), self.limits);
        let records = messages.into_iter().map(Record::new).collect::<Result<Vec<_>>>()?;
        let size = records.iter().map(Record::size).sum();
        // One transaction. What is refused because there is no room writes nothing, so the others stand; what makes
        // SQLite undo the transaction takes all of them along.
        let append = move |batch: &mut Batch<'_>| {
            let append = |record| batch.guarded(|batch| topics::append(batch, &topic, record, limits));
            Ok(records.iter().map(append).collect())
        };
        self.store.write(size, append).await
    }

    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>> {
        named(topic)?;
        if options.group.is_empty() {
            return Err(Error::invalid("group is empty"));
        }
        if options.credit == 0 {
            return Err(Error::invalid("credit is at least 1"));
        }
        // Before the group is looked at: what is committed after that is heard.
        let ear = self.store.listen(Channel::PubSub).await?;
        let (topic, group, start) = (topic.to_owned(), options.group.clone(), options.start);
        let named = topic.clone();
        let group = self.store.write(0, move |batch| topics::join(batch, &named, &group, start)).await?;
        Ok(Box::new(Member::new(Arc::clone(&self.store), topic, group, &options, ear)))
    }
}

fn named(topic: &str) -> Result<()> {
    if topic.is_empty() { Err(Error::invalid("topic is empty")) } else { Ok(()) }
}
