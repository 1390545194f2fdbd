//! Messages and groups: appending, joining, and making room.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_component_api::{Error, ErrorKind, Message, Result, Start};
use rusqlite::params;

use crate::batch::Batch;
use crate::wake::Channel;

/// The most messages one publishing frees, so that it does not take long.
const FREED_AT_ONCE: i64 = 100;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) messages: i64,
    /// In milliseconds.
    pub(super) retention: i64,
}

/// A message as a row has it.
pub(super) struct Record {
    data: Bytes,
    /// A JSON object.
    metadata: String,
    /// In milliseconds.
    ttl: Option<i64>,
}

impl Record {
    pub(super) fn new(message: Message) -> Result<Self> {
        let metadata = serde_json::to_string(&message.metadata)
            .map_err(|error| Error::internal("metadata could not be written").with_source(error))?;
        // A ttl beyond what the column can count never ends.
        let ttl = message.ttl.and_then(|ttl| i64::try_from(ttl.as_millis()).ok());
        Ok(Self { data: message.data, metadata, ttl })
    }

    pub(super) fn size(&self) -> usize {
        self.data.len() + self.metadata.len()
    }
}

/// The metadata of a row.
pub(super) fn metadata(json: &str) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::DataLoss, "the metadata of a message is damaged").with_source(error)
    })
}

/// Appends a message, if there is room or some can be made.
pub(super) fn append(batch: &mut Batch<'_>, topic: &str, record: &Record, limits: Limits) -> Result<()> {
    make_room(batch, limits)?;
    let groups: i64 = batch
        .find("SELECT count(*) FROM topic_groups WHERE topic = ?1", [topic], |row| row.get(0))?
        .unwrap_or_default();
    let expires = record.ttl.and_then(|ttl| batch.now().checked_add(ttl));
    batch.execute(
        "INSERT INTO messages (topic, data, metadata, published, expires, waiting) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![topic, record.data.as_ref(), record.metadata, batch.now(), expires, groups],
    )?;
    if groups > 0 {
        batch.ring(Channel::PubSub);
    }
    Ok(())
}

/// Forgets what is too old; where there is no room then, what has expired, and what no group waits for.
fn make_room(batch: &Batch<'_>, limits: Limits) -> Result<()> {
    // Messages are in the order of their publishing: the first tells whether any is too old.
    let too_old = batch.now().saturating_sub(limits.retention);
    let first =
        batch.find("SELECT published FROM messages ORDER BY id LIMIT 1", [], |row| row.get::<_, i64>(0))?;
    if first.is_some_and(|first| first < too_old) {
        batch.execute(
            "DELETE FROM messages WHERE published < ?1 AND id IN (SELECT id FROM messages ORDER BY id LIMIT ?2)",
            params![too_old, FREED_AT_ONCE],
        )?;
    }
    if count(batch)? < limits.messages {
        return Ok(());
    }
    batch.execute(
        "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE expires <= ?1 LIMIT ?2)",
        params![batch.now(), FREED_AT_ONCE],
    )?;
    batch.execute(
        "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE waiting = 0 ORDER BY id LIMIT ?1)",
        [FREED_AT_ONCE],
    )?;
    if count(batch)? < limits.messages {
        return Ok(());
    }
    let message = "the broker is full: subscribers are slower than publishers, or a group has no subscriber";
    Err(Error::new(ErrorKind::RateLimited, message).with("maxMessages", limits.messages))
}

/// How many messages there are; triggers count them.
fn count(batch: &Batch<'_>) -> Result<i64> {
    let count = batch.find("SELECT value FROM counters WHERE name = 'messages'", [], |row| row.get(0))?;
    count.ok_or_else(|| Error::internal("a counter is missing"))
}

/// The number of a group, which is made if there is none.
pub(super) fn join(batch: &mut Batch<'_>, topic: &str, group: &str, start: Start) -> Result<i64> {
    let find = "SELECT id FROM topic_groups WHERE topic = ?1 AND name = ?2";
    if let Some(id) = batch.find(find, [topic, group], |row| row.get(0))? {
        return Ok(id);
    }
    let next = match start {
        Start::Earliest => 0,
        Start::Latest => {
            let last = "SELECT seq FROM sqlite_sequence WHERE name = 'messages'";
            batch.find(last, [], |row| row.get::<_, i64>(0))?.unwrap_or_default() + 1
        }
    };
    batch.execute(
        "UPDATE messages SET waiting = waiting + 1 WHERE topic = ?1 AND id >= ?2",
        params![topic, next],
    )?;
    let sql = "INSERT INTO topic_groups (topic, name, next) VALUES (?1, ?2, ?3) RETURNING id";
    let id = batch.find(sql, params![topic, group, next], |row| row.get(0))?;
    id.ok_or_else(|| Error::internal("the group was not made"))
}
