//! The commands `state.redis` sends for a get, through the same driver and nothing else.

use anyhow::{Context, Result};
use outrigger_component_api::{
    Component, DeleteOptions, Entry, Error, Etag, GetOptions, Key, SetOptions, StateStore, async_trait,
};
use redis::AsyncTypedCommands as _;
use redis::aio::MultiplexedConnection;
use tonic::codegen::Bytes;

/// One multiplexed connection.
pub(crate) struct Redis(MultiplexedConnection);

impl Redis {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let client = redis::Client::open(format!("redis://{address}/?protocol=resp3"))?;
        let connection = client.get_multiplexed_async_connection().await;
        Ok(Self(connection.with_context(|| format!("connecting to Redis at {address}"))?))
    }
}

#[async_trait]
impl Component for Redis {
    async fn ping(&self) -> outrigger_component_api::Result<()> {
        self.0.clone().ping().await.map(drop).map_err(failed)
    }
}

#[async_trait]
impl StateStore for Redis {
    async fn get(&self, key: &Key, _: GetOptions) -> outrigger_component_api::Result<Option<Entry>> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(key.as_bytes()).arg("data").arg("version");
        pipeline.cmd("PTTL").arg(key.as_bytes());
        type Answer = ((Option<Vec<u8>>, Option<u64>), i64);
        let answer: Answer = pipeline.query_async(&mut self.0.clone()).await.map_err(failed)?;
        let ((Some(value), Some(version)), _) = answer else { return Ok(None) };
        Ok(Some(Entry { value: value.into(), etag: Etag::from(version), expires: None }))
    }

    async fn set(&self, key: &Key, value: Bytes, _: SetOptions) -> outrigger_component_api::Result<Etag> {
        let fields = [(b"data".as_slice(), &*value), (b"version", b"1")];
        self.0.clone().hset_multiple(key.as_bytes(), &fields).await.map_err(failed)?;
        Ok(Etag::from(1))
    }

    async fn delete(&self, key: &Key, _: DeleteOptions) -> outrigger_component_api::Result<()> {
        self.0.clone().del(key.as_bytes()).await.map(drop).map_err(failed)
    }
}

fn failed(error: redis::RedisError) -> Error {
    Error::internal(error.to_string())
}
