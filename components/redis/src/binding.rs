//! The output binding on Redis: plain keys, written and read by name.

use std::sync::Arc;

use outrigger_component_api::{
    Backend, BindingRequest, BindingResponse, BuildContext, Component, Error, OutputBinding, Result,
    async_trait, unknown_operation,
};
use redis::Cmd;

use crate::client::{Client, from_reading};
use crate::config::RedisConfig;
use crate::link::Links;

const OPERATIONS: &[&str] = &["create", "get", "delete", "increment"];

/// Registers [`RedisBinding`] as `bindings.redis`.
pub struct RedisBindingBackend;

#[async_trait]
impl Backend for RedisBindingBackend {
    const TYPE: &'static str = "bindings.redis";
    const ABOUT: &'static str = "Writes, reads, deletes and counts plain Redis keys.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("redisHost", "localhost:6379")];
    type Config = RedisConfig;
    type Block = dyn OutputBinding;

    async fn build(config: RedisConfig, _: &BuildContext) -> Result<Arc<dyn OutputBinding>> {
        Ok(Arc::new(RedisBinding::new(&config)?))
    }
}

/// Redis by key. Every operation takes the metadata `key`; `create` and `increment` take `ttlInSeconds` too.
pub struct RedisBinding {
    links: Links,
}

impl RedisBinding {
    /// Reads the settings; connects to nothing.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        Ok(Self { links: Links::new(Client::new(&config.server())?) })
    }

    async fn increment(&self, key: &str, ttl: Option<u64>) -> Result<BindingResponse> {
        let answer = self.links.send(redis::cmd("INCR").arg(key)).await?;
        let number: i64 = redis::from_redis_value(answer).map_err(from_reading)?;
        if let Some(ttl) = ttl {
            self.links.send(redis::cmd("EXPIRE").arg(key).arg(ttl)).await?;
        }
        Ok(BindingResponse { data: number.to_string().into(), ..BindingResponse::default() })
    }
}

#[async_trait]
impl Component for RedisBinding {
    async fn ping(&self) -> Result<()> {
        self.links.ping().await
    }
}

#[async_trait]
impl OutputBinding for RedisBinding {
    fn operations(&self) -> &'static [&'static str] {
        OPERATIONS
    }

    async fn invoke(&self, request: BindingRequest) -> Result<BindingResponse> {
        let metadata = |name: &str| request.metadata.get(name).filter(|value| !value.is_empty());
        let key = || metadata("key").ok_or_else(|| Error::invalid("metadata has no key"));
        let ttl = || metadata("ttlInSeconds").map(|ttl| seconds(ttl)).transpose();
        match request.operation.as_str() {
            "create" => {
                let set = set(key()?, &request.data, ttl()?);
                self.links.send(&set).await.map(|_| BindingResponse::default())
            }
            "get" => {
                let answer = self.links.send(redis::cmd("GET").arg(key()?)).await?;
                let data: Option<Vec<u8>> = redis::from_redis_value(answer).map_err(from_reading)?;
                Ok(BindingResponse { data: data.unwrap_or_default().into(), ..BindingResponse::default() })
            }
            "delete" => {
                self.links.send(redis::cmd("DEL").arg(key()?)).await.map(|_| BindingResponse::default())
            }
            "increment" => self.increment(key()?, ttl()?).await,
            other => Err(unknown_operation(other, OPERATIONS)),
        }
    }
}

fn set(key: &str, value: &[u8], ttl: Option<u64>) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value);
    if let Some(ttl) = ttl {
        command.arg("EX").arg(ttl);
    }
    command
}

fn seconds(text: &str) -> Result<u64> {
    let seconds = text.trim().parse().ok().filter(|seconds| (1..1_000_000_000_000).contains(seconds));
    seconds.ok_or_else(|| {
        Error::invalid("ttlInSeconds is not a whole number of seconds above 0").with("given", text)
    })
}
