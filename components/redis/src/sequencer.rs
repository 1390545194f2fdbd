//! The sequencer block on Redis: the last number given out, under the sequence's key.

use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, ErrorKind, Key, NextOptions, Result, Segment, Sequencer,
    SequencerCapabilities, async_trait,
};

use crate::client::{Client, from_reading};
use crate::config::RedisConfig;
use crate::link::Links;
use crate::script::{Argument, Call, Script};

/// Registers [`RedisSequencer`] as `sequencer.redis`.
pub struct RedisSequencerBackend;

#[async_trait]
impl Backend for RedisSequencerBackend {
    const TYPE: &'static str = "sequencer.redis";
    const ABOUT: &'static str = "Sequences in Redis, as durable as Redis is configured to be.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("redisHost", "localhost:6379")];
    type Config = RedisConfig;
    type Block = dyn Sequencer;

    async fn build(config: RedisConfig, _: &BuildContext) -> Result<Arc<dyn Sequencer>> {
        Ok(Arc::new(RedisSequencer::new(&config)?))
    }
}

/// Sequences in Redis.
pub struct RedisSequencer {
    links: Links,
    above: Script,
}

impl RedisSequencer {
    /// Reads the settings; connects to nothing.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        let links = Links::new(Client::new(&config.server())?);
        Ok(Self { links, above: Script::new(include_str!("sequencer/above.lua")) })
    }

    /// Takes some numbers in a row and gives the last of them.
    async fn take(&self, key: &Key, size: u32, options: NextOptions) -> Result<i64> {
        let answer = if options.bigger_than > 0 {
            if options.bigger_than.checked_add(size.into()).is_none() {
                return Err(Error::new(
                    ErrorKind::FailedPrecondition,
                    "the number is at the end of its range",
                ));
            }
            let arguments =
                vec![Argument::Text(options.bigger_than.to_string()), Argument::Text(size.to_string())];
            self.above.run(&self.links, &Call { keys: vec![key.as_bytes()], arguments }).await?
        } else {
            let mut command = redis::cmd("INCRBY");
            command.arg(key.as_bytes()).arg(size);
            self.links.send(&command).await?
        };
        redis::from_redis_value(answer).map_err(from_reading)
    }
}

#[async_trait]
impl Component for RedisSequencer {
    async fn ping(&self) -> Result<()> {
        self.links.ping().await
    }
}

#[async_trait]
impl Sequencer for RedisSequencer {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: true, bigger_than: true, persistent: true }
    }

    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        self.take(key, 1, options).await
    }

    async fn segment(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        if size == 0 {
            return Err(Error::invalid("a segment has at least one number"));
        }
        let last = self.take(key, size, options).await?;
        Ok(Segment { first: last - i64::from(size) + 1, last })
    }
}
