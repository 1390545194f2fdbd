//! Writes that are answered once the replicas have them.

use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use redis::Value;
use tokio::runtime::{self, Handle};
use tokio::sync::Semaphore;

use crate::client::{Client, Connection, Slots, breaks, from_reading, from_redis, was_not_done};
use crate::link::Links;
use crate::script::{Call, Script};

/// How long a write waits for the replicas, as Dapr's and Layotto's do.
const PATIENCE: Duration = Duration::from_secs(1);
/// Writes under way at the same time, and connections kept for the next ones. More writes wait for their turn.
const AT_ONCE: usize = 32;

/// Connections for writes that wait. Each write has one to itself until it is confirmed: `WAIT` counts the writes of its
/// own connection only, and keeps whatever comes behind it waiting.
pub(crate) struct Replicas {
    client: Client,
    turns: Semaphore,
    idle: Mutex<Vec<Own>>,
}

/// A connection to one server that nobody else uses.
struct Own {
    connection: Connection,
    /// What the server held when the connection was made.
    slots: Slots,
    runtime: runtime::Id,
}

impl Replicas {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, turns: Semaphore::new(AT_ONCE), idle: Mutex::default() }
    }

    /// Runs a script that writes, and waits until every replica that is connected has the write. `wrote` tells by the
    /// script's answer whether there was one.
    pub(crate) async fn write(
        &self,
        links: &Links,
        script: &Script,
        call: &Call<'_>,
        wrote: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        // Turns end with their calls, which have deadlines.
        let _turn = self.turns.acquire().await.map_err(|_| Error::internal("writes have no turns"))?;
        let (mut own, answer) = self.run(links, script, call).await?;
        let confirmed = if wrote(&answer) { own.confirm().await? } else { Ok(()) };
        self.keep(own);
        confirmed.map(|()| answer)
    }

    /// Runs the script. What a cluster has moved is looked for again.
    async fn run(&self, links: &Links, script: &Script, call: &Call<'_>) -> Result<(Own, Value)> {
        let key = call.keys.first().copied().unwrap_or_default();
        let mut attempt = 0;
        loop {
            let mut own = self.take(links, key).await?;
            let error = match script.run_on(&mut own.connection, call).await {
                Ok(answer) => return Ok((own, answer)),
                Err(error) => error,
            };
            let moved = was_not_done(&error);
            if moved || breaks(&error) {
                // The others lead to the same server.
                self.idle.lock().clear();
            } else {
                self.keep(own);
            }
            if !moved || !self.client.is_cluster() || attempt == self.client.pace.retries {
                return Err(from_redis(error));
            }
            tokio::time::sleep(self.client.pace.pause(attempt)).await;
            attempt += 1;
        }
    }

    /// A connection to the server that holds `key`.
    async fn take(&self, links: &Links, key: &[u8]) -> Result<Own> {
        let runtime = Handle::current().id();
        let fits = |own: &Own| own.runtime == runtime && own.slots.hold(key) && !own.connection.is_lost();
        {
            let mut idle = self.idle.lock();
            if let Some(last) = idle.iter().rposition(fits) {
                return Ok(idle.remove(last));
            }
        }
        let master = self.client.master_of(key, links).await?;
        let connection = master.client.dial(master.client.pace.answer + PATIENCE).await?;
        Ok(Own { connection, slots: master.slots, runtime })
    }

    /// Keeps a connection for the next write. One whose call was given up is not kept: it may still be waiting.
    fn keep(&self, own: Own) {
        let mut idle = self.idle.lock();
        idle.retain(|own| !own.connection.is_lost());
        if idle.len() >= AT_ONCE {
            idle.remove(0);
        }
        idle.push(own);
    }
}

impl Own {
    /// Waits until the replicas have what was written on this connection. The outer error is the connection's.
    async fn confirm(&mut self) -> Result<Result<()>> {
        let connected = self.connected().await?;
        if connected == 0 {
            return Ok(Ok(()));
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(connected).arg(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX));
        let reached = self.connection.send(&wait).await.map_err(from_redis)?;
        let reached: usize = redis::from_redis_value(reached).map_err(from_reading)?;
        if reached >= connected {
            return Ok(Ok(()));
        }
        Ok(Err(Error::new(ErrorKind::Timeout, "written, but not every replica confirmed it in time")
            .with("confirmed", reached)
            .with("replicas", connected)))
    }

    /// How many replicas the server has.
    async fn connected(&mut self) -> Result<usize> {
        match self.connection.send(&redis::cmd("ROLE")).await.map_err(from_redis)? {
            Value::Array(role) => match role.get(2) {
                Some(Value::Array(replicas)) => Ok(replicas.len()),
                _ => Err(Error::unavailable("written, but this redis has ceased to be the master")),
            },
            _ => Err(Error::internal("redis gave an answer of the wrong kind")),
        }
    }
}
