//! Messages as entries of a stream: Dapr's fields `data` and `metadata`, and `expires` for those that do.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_component_api::{Error, Message, Result};
use redis::{Cmd, Value};
use tokio::time::Instant;

/// One entry of a stream, as it was read.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) message: Message,
    /// In milliseconds since 1970.
    expires: Option<u64>,
    /// When Redis gave it to us, at the earliest.
    pub(super) fetched: Instant,
}

impl Entry {
    /// Whether it is not worth delivering any more.
    pub(super) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|expires| now() >= expires)
    }

    /// An entry from its id and fields. One that was trimmed away has no fields.
    pub(super) fn read(id: Value, fields: Value, attempt: u32) -> Result<Option<Self>> {
        let id = text(id)?;
        let Value::Array(fields) = fields else { return Ok(None) };
        let mut entry =
            Self { id, attempt, message: Message::default(), expires: None, fetched: Instant::now() };
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            entry.add(&bytes(name)?, bytes(value)?);
        }
        Ok(Some(entry))
    }

    fn add(&mut self, name: &[u8], value: Vec<u8>) {
        match name {
            b"data" => self.message.data = value.into(),
            b"metadata" => match serde_json::from_slice(&value) {
                Ok(metadata) => self.message.metadata = metadata,
                Err(error) => tracing::warn!(id = self.id, %error, "metadata of a message is not readable"),
            },
            b"expires" => {
                self.expires = std::str::from_utf8(&value).ok().and_then(|millis| millis.parse().ok());
                let left = self.expires.map(|expires| Duration::from_millis(expires.saturating_sub(now())));
                self.message.ttl = left;
            }
            // Another program's.
            _ => {}
        }
    }
}

/// The command that appends a message.
pub(super) fn append(topic: &str, message: &Message, longest: Option<u64>) -> Result<Cmd> {
    let mut command = redis::cmd("XADD");
    command.arg(topic);
    if let Some(longest) = longest {
        command.arg("MAXLEN").arg("~").arg(longest);
    }
    command.arg("*").arg("data").arg(&message.data[..]);
    if !message.metadata.is_empty() {
        command.arg("metadata").arg(metadata(&message.metadata)?);
    }
    if let Some(ttl) = message.ttl {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        command.arg("expires").arg(now().saturating_add(ttl));
    }
    Ok(command)
}

fn metadata(metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    serde_json::to_vec(metadata)
        .map_err(|error| Error::internal("metadata could not be written").with_source(error))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The entries of a reply to `XREADGROUP` for one stream; none if the wait was in vain.
pub(super) fn entries(reply: Value) -> Result<Vec<(Value, Value)>> {
    let streams = match reply {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(streams) => streams.into_iter().map(|(_, entries)| entries).collect(),
        Value::Array(streams) => streams.into_iter().map(second).collect::<Result<Vec<_>>>()?,
        _ => return Err(unexpected()),
    };
    let mut all = Vec::new();
    for stream in streams {
        for entry in array(stream)? {
            all.push(pair(entry)?);
        }
    }
    Ok(all)
}

fn second(value: Value) -> Result<Value> {
    pair(value).map(|(_, second)| second)
}

fn pair(value: Value) -> Result<(Value, Value)> {
    let mut items = array(value)?.into_iter();
    match (items.next(), items.next()) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => Err(unexpected()),
    }
}

pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(unexpected()),
    }
}

pub(super) fn text(value: Value) -> Result<String> {
    String::from_utf8(bytes(value)?).map_err(|_| unexpected())
}

pub(super) fn number(value: &Value) -> Result<u64> {
    redis::from_redis_value_ref(value).map_err(|_| unexpected())
}

fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected()),
    }
}

pub(super) fn unexpected() -> Error {
    Error::internal("redis gave an answer of the wrong kind")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn words(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect())
    }

    fn read(fields: &[&str]) -> Entry {
        Entry::read(Value::SimpleString("1-1".to_owned()), words(fields), 2).expect("reads").expect("there")
    }

    #[test]
    fn entries_read_as_they_were_written_by_whomever() {
        let daprs = read(&["data", "payload", "metadata", r#"{"a":"b"}"#]);
        assert_eq!((daprs.id.as_str(), daprs.attempt), ("1-1", 2));
        assert_eq!(daprs.message.data, Bytes::from_static(b"payload"));
        assert_eq!(daprs.message.metadata, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let foreign = read(&["temperature", "21", "metadata", "not json"]);
        assert_eq!(foreign.message, Message::default());
        assert!(read(&["expires", "1"]).is_expired());
        assert!(!read(&["expires", "99999999999999"]).is_expired());
        assert!(!read(&["expires", "soon"]).is_expired());
        assert_eq!(Entry::read(Value::SimpleString("1-1".to_owned()), Value::Nil, 1).expect("reads"), None);
    }

    #[test]
    fn replies_of_both_protocols_read_the_same() {
        let entry = Value::Array(vec![Value::SimpleString("1-1".to_owned()), words(&["data", "x"])]);
        let old = Value::Array(vec![Value::Array(vec![
            Value::SimpleString("topic".to_owned()),
            Value::Array(vec![entry.clone()]),
        ])]);
        let new = Value::Map(vec![(Value::SimpleString("topic".to_owned()), Value::Array(vec![entry]))]);
        assert_eq!(entries(old).expect("reads"), entries(new).expect("reads"));
        assert_eq!(entries(Value::Nil).expect("reads"), []);
        entries(Value::Int(1)).expect_err("not a reply");
    }
}
