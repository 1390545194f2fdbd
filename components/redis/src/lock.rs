//! The lock block on Redis: the owner's name under the resource's key, with an expiry, as Dapr and Layotto keep it.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, Held, Key, Lease, LockCapabilities, LockStore, Result,
    async_trait,
};

use crate::client::{Client, from_reading};
use crate::config::RedisConfig;
use crate::key::beside;
use crate::link::Links;
use crate::script::{Argument, Call, Script};

/// Longer than anybody holds a lock, and short enough for Redis to count.
const LONGEST_TTL: Duration = Duration::from_secs(1_000_000_000_000);

/// Registers [`RedisLock`] as `lock.redis`.
pub struct RedisLockBackend;

#[async_trait]
impl Backend for RedisLockBackend {
    const TYPE: &'static str = "lock.redis";
    const ABOUT: &'static str = "Locks in Redis, with fencing tokens; not for safety across a fail-over.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("redisHost", "localhost:6379")];
    type Config = RedisConfig;
    type Block = dyn LockStore;

    async fn build(config: RedisConfig, _: &BuildContext) -> Result<Arc<dyn LockStore>> {
        Ok(Arc::new(RedisLock::new(&config)?))
    }
}

/// Locks in Redis.
///
/// A master that fails takes the leases it has not yet replicated with it, so after a fail-over two owners may believe
/// to hold one resource. Their tokens tell which came later.
pub struct RedisLock {
    links: Links,
    take: Script,
    keep: Script,
}

impl RedisLock {
    /// Reads the settings; connects to nothing.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        Ok(Self {
            links: Links::new(Client::new(&config.server())?),
            take: Script::new(include_str!("lock/take.lua")),
            keep: Script::new(include_str!("lock/keep.lua")),
        })
    }

    async fn keep(&self, resource: &Key, owner: &str, ttl: String) -> Result<Held> {
        let call = Call {
            keys: vec![resource.as_bytes()],
            arguments: vec![Argument::Bytes(owner.as_bytes()), Argument::Text(ttl)],
        };
        let answer = self.keep.run(&self.links, &call).await?;
        Ok(match redis::from_redis_value::<i64>(answer).map_err(from_reading)? {
            1 => Held::Yes,
            0 => Held::Nobody,
            _ => Held::Other,
        })
    }
}

#[async_trait]
impl Component for RedisLock {
    async fn ping(&self) -> Result<()> {
        self.links.ping().await
    }
}

#[async_trait]
impl LockStore for RedisLock {
    fn capabilities(&self) -> LockCapabilities {
        LockCapabilities { persistent: true, shared: true }
    }

    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>> {
        let place = beside(resource.as_bytes(), "token", self.links.client().is_cluster())?;
        let call = Call {
            keys: vec![resource.as_bytes(), &place],
            arguments: vec![Argument::Bytes(owner.as_bytes()), Argument::Text(millis(ttl))],
        };
        let answer = self.take.run(&self.links, &call).await?;
        match redis::from_redis_value::<String>(answer).map_err(from_reading)?.as_str() {
            "" => Ok(None),
            token => {
                let token = token.parse().map_err(|_| Error::internal("the last token is not a number"))?;
                Ok(Some(Lease { token }))
            }
        }
    }

    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held> {
        self.keep(resource, owner, "0".to_owned()).await
    }

    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held> {
        self.keep(resource, owner, millis(ttl)).await
    }
}

/// At least one: for Redis, none at all is an error.
fn millis(ttl: Duration) -> String {
    ttl.min(LONGEST_TTL).as_nanos().div_ceil(1_000_000).max(1).to_string()
}
