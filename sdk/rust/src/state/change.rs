//! What to write and under which condition.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::state_options::StateConcurrency;

use super::Consistency;
use crate::{Client, Result};

/// A value to save. Without conditions it wins over whatever is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    key: String,
    value: Bytes,
    ttl: Option<Duration>,
    condition: Condition,
}

/// A key to delete. Without conditions it is deleted whatever it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Condition {
    etag: Option<String>,
    fence: Option<u64>,
    first_write: bool,
    consistency: Consistency,
}

impl Write {
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }

    /// Only over this version; otherwise [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    #[must_use]
    pub fn if_match(mut self, etag: impl Into<String>) -> Self {
        self.condition.etag = Some(etag.into());
        self
    }

    /// Only if nobody wrote before: with an etag over that version, without one where there is no value.
    #[must_use]
    pub fn first_write(mut self) -> Self {
        self.condition.first_write = true;
        self
    }

    /// How long the value lives, in whole seconds: rounded up, at least one.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How durable the write must be before it is acknowledged.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.condition.consistency = consistency;
        self
    }

    /// Only while no holder with a larger token has written the key: [`Lock::fencing_token`](crate::Lock::fencing_token).
    /// Otherwise [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    #[must_use]
    pub fn fence(mut self, token: u64) -> Self {
        self.condition.fence = Some(token);
        self
    }

    pub(super) fn into_item(self) -> proto::StateItem {
        let mut metadata = self.condition.metadata();
        metadata.extend(self.ttl.map(|ttl| ("ttlInSeconds".to_owned(), whole_seconds(ttl).to_string())));
        let (etag, options) = self.condition.into_proto();
        proto::StateItem { key: self.key, value: self.value, etag, metadata, options }
    }
}

impl<K: Into<String>, V: Into<Bytes>> From<(K, V)> for Write {
    fn from((key, value): (K, V)) -> Self {
        Self::new(key, value)
    }
}

impl Delete {
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Only this version; otherwise [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    #[must_use]
    pub fn if_match(mut self, etag: impl Into<String>) -> Self {
        self.condition.etag = Some(etag.into());
        self
    }

    /// How durable the deletion must be before it is acknowledged.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.condition.consistency = consistency;
        self
    }

    /// Only while no holder with a larger token has written the key: [`Lock::fencing_token`](crate::Lock::fencing_token).
    /// Otherwise [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    #[must_use]
    pub fn fence(mut self, token: u64) -> Self {
        self.condition.fence = Some(token);
        self
    }

    pub(super) fn into_item(self) -> proto::StateItem {
        let metadata = self.condition.metadata();
        let (etag, options) = self.condition.into_proto();
        proto::StateItem { key: self.key, etag, options, metadata, ..Default::default() }
    }

    pub(super) fn into_request(self, store_name: String) -> proto::DeleteStateRequest {
        let metadata = self.condition.metadata();
        let (etag, options) = self.condition.into_proto();
        proto::DeleteStateRequest { store_name, key: self.key, etag, options, metadata }
    }
}

impl<K: Into<String>> From<K> for Delete {
    fn from(key: K) -> Self {
        Self::new(key)
    }
}

impl Condition {
    fn metadata(&self) -> BTreeMap<String, String> {
        self.fence.map(|token| ("fencingToken".to_owned(), token.to_string())).into_iter().collect()
    }

    fn into_proto(self) -> (Option<proto::Etag>, Option<proto::StateOptions>) {
        let concurrency = match self.first_write {
            true => StateConcurrency::ConcurrencyFirstWrite,
            false => StateConcurrency::ConcurrencyUnspecified,
        };
        let options = proto::StateOptions {
            concurrency: concurrency.into(),
            consistency: self.consistency.into_proto().into(),
        };
        (self.etag.map(|value| proto::Etag { value }), (options != Default::default()).then_some(options))
    }
}

/// A time as the wire has it: whole seconds, rounded up, at least one.
pub(crate) fn whole_seconds(ttl: Duration) -> u64 {
    ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1)
}

/// Changes that happen together or not at all, in the order added.
#[derive(Clone, Debug)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction {
    client: Client,
    store: String,
    operations: Vec<proto::TransactionalStateOperation>,
}

impl Transaction {
    pub(super) fn new(client: Client, store: String) -> Self {
        Self { client, store, operations: Vec::new() }
    }

    /// Adds a value to save.
    pub fn save(self, write: impl Into<Write>) -> Self {
        self.with("upsert", write.into().into_item())
    }

    /// Adds a key to delete.
    pub fn delete(self, delete: impl Into<Delete>) -> Self {
        self.with("delete", delete.into().into_item())
    }

    fn with(mut self, operation_type: &str, item: proto::StateItem) -> Self {
        let operation_type = operation_type.to_owned();
        self.operations.push(proto::TransactionalStateOperation { operation_type, request: Some(item) });
        self
    }

    /// Makes it happen. [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when a condition did not hold; then
    /// nothing has changed.
    pub async fn commit(self) -> Result<()> {
        let Self { client, store, operations } = self;
        let request =
            proto::ExecuteStateTransactionRequest { store_name: store, operations, ..Default::default() };
        client.runtime().execute_state_transaction(client.request(request)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_go_where_the_wire_wants_them() {
        let plain = Write::new("k", "v").into_item();
        assert_eq!(plain, proto::StateItem { key: "k".into(), value: "v".into(), ..Default::default() });
        let item =
            Write::new("k", "v").if_match("7").first_write().consistency(Consistency::Strong).into_item();
        assert_eq!(item.etag.unwrap().value, "7");
        let fenced = Delete::new("k").fence(7).into_item();
        assert_eq!(fenced.metadata.get("fencingToken").unwrap(), "7");
        let options = item.options.unwrap();
        assert_eq!(options.concurrency, i32::from(StateConcurrency::ConcurrencyFirstWrite));
        assert_eq!(options.consistency, i32::from(Consistency::Strong.into_proto()));
    }

    #[test]
    fn a_life_is_rounded_up_to_whole_seconds() {
        let check = |millis, seconds: &str| {
            let item = Write::new("k", "v").ttl(Duration::from_millis(millis)).into_item();
            assert_eq!(item.metadata.get("ttlInSeconds").unwrap(), seconds, "{millis}");
        };
        check(0, "1");
        check(1, "1");
        check(1_000, "1");
        check(1_001, "2");
    }
}
