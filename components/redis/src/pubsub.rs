//! The publish/subscribe block on Redis: a stream per topic, read through consumer groups.

mod group;
mod member;
mod message;
mod reader;
mod settle;

use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, Message, PubSub, PubSubCapabilities, Result, Start,
    SubscribeOptions, Subscription, async_trait,
};

use self::group::{Group, Groups};
use self::member::Member;
use self::message::append;
use crate::client::{Client, from_redis, has_group};
use crate::config::RedisPubSubConfig;
use crate::link::Links;

/// What one pipeline carries at most.
const PIPELINE: usize = 128;

/// Registers [`RedisPubSub`] as `pubsub.redis`.
pub struct RedisPubSubBackend;

#[async_trait]
impl Backend for RedisPubSubBackend {
    const TYPE: &'static str = "pubsub.redis";
    const ABOUT: &'static str = "Topics as Redis streams, read through consumer groups.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("redisHost", "localhost:6379")];
    type Config = RedisPubSubConfig;
    type Block = dyn PubSub;

    async fn build(config: RedisPubSubConfig, _: &BuildContext) -> Result<Arc<dyn PubSub>> {
        Ok(Arc::new(RedisPubSub::new(config)?))
    }
}

/// A broker in Redis.
///
/// A stream keeps what was published, also after every group has it, until `maxLenApprox` or somebody else trims it. A
/// message that was trimmed away before a group got it is lost to that group.
pub struct RedisPubSub {
    links: Arc<Links>,
    groups: Arc<Groups>,
    config: RedisPubSubConfig,
}

impl RedisPubSub {
    /// Reads the settings; connects to nothing.
    pub fn new(config: RedisPubSubConfig) -> Result<Self> {
        let links = Arc::new(Links::new(Client::new(&config.server())?));
        Ok(Self { groups: Arc::new(Groups::new(Arc::clone(&links))), links, config })
    }

    /// The options as the component's settings change them.
    fn settled(&self, options: SubscribeOptions) -> SubscribeOptions {
        let limit = self.config.concurrency.map_or(usize::MAX, |limit| limit.get() as usize);
        SubscribeOptions {
            group: self.config.consumer_id.clone().unwrap_or(options.group),
            credit: options.credit.min(limit),
            processing_timeout: self.config.processing_timeout.unwrap_or(options.processing_timeout),
            ..options
        }
    }
}

#[async_trait]
impl Component for RedisPubSub {
    async fn ping(&self) -> Result<()> {
        self.links.ping().await
    }
}

#[async_trait]
impl PubSub for RedisPubSub {
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
        check_name("topic", topic)?;
        self.links.send(&append(topic, &message, self.config.max_len_approx)?).await.map(drop)
    }

    async fn publish_bulk(&self, topic: &str, messages: Vec<Message>) -> Result<Vec<Result<()>>> {
        check_name("topic", topic)?;
        let mut answers = Vec::with_capacity(messages.len());
        for messages in messages.chunks(PIPELINE) {
            let mut pipeline = redis::Pipeline::with_capacity(messages.len());
            for message in messages {
                pipeline.add_command(append(topic, message, self.config.max_len_approx)?);
            }
            match self.links.send_all(&pipeline).await {
                Ok(more) => {
                    answers.extend(more.into_iter().map(|answer| answer.map(drop).map_err(from_redis)))
                }
                Err(error) if answers.is_empty() => return Err(error),
                // What was appended before keeps its answer.
                Err(error) => answers.extend(messages.iter().map(|_| Err(error.clone()))),
            }
        }
        Ok(answers)
    }

    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>> {
        let options = self.settled(options);
        check_name("topic", topic)?;
        check_name("group", &options.group)?;
        if options.credit == 0 {
            return Err(Error::invalid("credit is 0: the subscription could never get a message"));
        }
        let group = self.groups.find(topic, &options.group);
        create(&self.links, &group, options.start).await?;
        Ok(Box::new(Member::join(group, &options, &self.config)))
    }
}

fn check_name(what: &'static str, name: &str) -> Result<()> {
    if name.is_empty() { Err(Error::invalid(format!("{what} is empty"))) } else { Ok(()) }
}

/// Makes sure that a group is there, and its stream.
async fn create(links: &Links, group: &Group, start: Start) -> Result<()> {
    let from = match start {
        Start::Earliest => "0",
        Start::Latest => "$",
    };
    let mut command = redis::cmd("XGROUP");
    command.arg("CREATE").arg(&group.topic).arg(&group.name).arg(from).arg("MKSTREAM");
    match links.try_send(&command).await? {
        Err(error) if !has_group(&error) => Err(from_redis(error)),
        _ => Ok(()),
    }
}
