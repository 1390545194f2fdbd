//! The connection a member waits on for new messages.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{Error, Result};
use redis::{RedisError, Value};

use super::group::Group;
use super::message::{Entry, entries, text};
use crate::client::{Connection, breaks, from_redis, lacks_group};

/// How long Redis waits before it says that there is nothing: the one thing an idle member does.
const WAIT: Duration = Duration::from_secs(30);

/// How much of what was given to this member is read at once.
const PAGE: usize = 500;

/// Reads what no member of the group has had yet. A connection of its own, because Redis does nothing else on it while
/// it waits.
pub(super) struct Reader {
    group: Arc<Group>,
    consumer: Arc<str>,
    connection: Option<Connection>,
    /// Whether messages may have been given to us in answers that never arrived.
    lost_answers: bool,
    failures: u32,
}

/// What reading brought.
pub(super) enum Read {
    /// Messages that are new to the group, and none if the wait was in vain.
    New(Vec<Entry>),
    /// Messages that were given to this member, as far as Redis knows.
    Ours(Vec<String>),
}

impl Reader {
    pub(super) fn new(group: Arc<Group>, consumer: Arc<str>) -> Self {
        Self { group, consumer, connection: None, lost_answers: false, failures: 0 }
    }

    /// A reader for another runtime, or after an answer that nobody waited for.
    pub(super) fn anew(group: Arc<Group>, consumer: Arc<str>) -> Self {
        Self { lost_answers: true, ..Self::new(group, consumer) }
    }

    /// Waits for messages, at most so many.
    pub(super) async fn read(mut self, count: usize) -> (Self, Result<Read>) {
        let read = self.try_read(count).await;
        if read.is_err() {
            self.connection = None;
            self.lost_answers = true;
            self.failures = self.failures.saturating_add(1);
        } else {
            self.failures = 0;
        }
        (self, read)
    }

    async fn try_read(&mut self, count: usize) -> Result<Read> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
        }
        if self.lost_answers {
            let ours = self.ours().await?;
            self.lost_answers = false;
            return Ok(Read::Ours(ours));
        }
        let mut new = Vec::new();
        for (id, fields) in self.ask(">", count).await? {
            new.extend(Entry::read(id, fields, 1)?);
        }
        Ok(Read::New(new))
    }

    /// The ids of everything that was given to this member and not settled.
    async fn ours(&mut self) -> Result<Vec<String>> {
        let mut ids: Vec<String> = Vec::new();
        loop {
            let after = ids.last().map_or("0", String::as_str).to_owned();
            let more = self.ask(&after, PAGE).await?;
            if more.is_empty() {
                return Ok(ids);
            }
            for (id, _) in more {
                ids.push(text(id)?);
            }
        }
    }

    /// One attempt, after a pause that grows with the failures: whoever asks again at once does not make a storm.
    async fn connect(&self) -> Result<Connection> {
        let client = self.group.links.client();
        if let Some(attempt) = self.failures.checked_sub(1) {
            tokio::time::sleep(client.pace.pause(attempt)).await;
        }
        let connect = client.connect_for(WAIT + client.pace.answer);
        tokio::time::timeout(client.pace.dial, connect)
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("redis did not answer within dialTimeout")))
    }

    /// `>` waits for what is new; an id answers at once with what was given to this consumer after it.
    async fn ask(&mut self, from: &str, count: usize) -> Result<Vec<(Value, Value)>> {
        match self.try_ask(from, count).await {
            Err(error) if lacks_group(&error) => {
                self.group.create_again().await?;
                Ok(Vec::new())
            }
            Err(error) => {
                if breaks(&error) {
                    self.connection = None;
                }
                Err(from_redis(error))
            }
            Ok(reply) => entries(reply),
        }
    }

    async fn try_ask(&mut self, from: &str, count: usize) -> Result<Value, RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group.name).arg(&*self.consumer).arg("COUNT").arg(count);
        if from == ">" {
            command.arg("BLOCK").arg(u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX));
        }
        command.arg("STREAMS").arg(&self.group.topic).arg(from);
        match &mut self.connection {
            Some(connection) => connection.send(&command).await,
            None => Ok(Value::Nil),
        }
    }
}
