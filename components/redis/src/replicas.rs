//! Writes that are answered once the replicas have them.

use outrigger_component_api::{Error, ErrorKind, Result};
use redis::Value;

use crate::client::{Client, from_reading};
use crate::link::Links;
use crate::script::{Call, Script};

/// How long a write waits for the replicas, as Dapr's and Layotto's do.
const PATIENCE_MILLIS: u64 = 1000;

/// A connection of its own for writes that wait: `WAIT` holds up everything behind it, and counts the writes of its own
/// connection only.
pub(crate) struct Replicas {
    links: Links,
}

impl Replicas {
    pub(crate) fn new(client: Client) -> Self {
        Self { links: Links::new(client) }
    }

    /// Runs a script that writes, and waits until every replica that is connected has the write.
    pub(crate) async fn write(&self, script: &Script, call: &Call<'_>) -> Result<Value> {
        let answer = script.run(&self.links, call).await?;
        let key = call.keys.first().copied().unwrap_or_default();
        let connected = self.connected(key).await?;
        if connected == 0 {
            return Ok(answer);
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(connected).arg(PATIENCE_MILLIS);
        let reached: usize = number(&self.links.send_to(key, &wait).await?)?;
        if reached >= connected {
            return Ok(answer);
        }
        Err(Error::new(ErrorKind::Timeout, "written, but not every replica confirmed it in time")
            .with("confirmed", reached)
            .with("replicas", connected))
    }

    /// How many replicas the master of a key has.
    async fn connected(&self, key: &[u8]) -> Result<usize> {
        match self.links.send_to(key, &redis::cmd("ROLE")).await? {
            Value::Array(role) => match role.get(2) {
                Some(Value::Array(replicas)) => Ok(replicas.len()),
                // A replica: the write has failed already, or the roles have just changed.
                _ => Ok(0),
            },
            _ => Err(Error::internal("redis gave an answer of the wrong kind")),
        }
    }
}

fn number(value: &Value) -> Result<usize> {
    redis::from_redis_value_ref(value).map_err(from_reading)
}
