//! State: keys and values in a store of the sidecar.

mod change;

use std::time::SystemTime;

use bytes::Bytes;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::state_options::StateConsistency;

use crate::{Client, Error, ErrorKind, Result};
pub(crate) use change::whole_seconds;
pub use change::{Delete, Transaction, Write};

/// One state store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateStore {
    client: Client,
    name: String,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Bytes,
    /// Names this version; give it to [`Write::if_match`] to write over this version only.
    pub etag: String,
    /// When the value will be gone, to the second; `None` is never.
    pub expires: Option<SystemTime>,
}

/// One answer of [`StateStore::get_bulk`].
#[derive(Debug)]
pub struct BulkEntry {
    pub key: String,
    /// The value, its absence, or why this one could not be read.
    pub entry: Result<Option<Entry>>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Whatever the store does when not told.
    #[default]
    Unspecified,
    Eventual,
    Strong,
}

impl StateStore {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// The name of the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key, or `None`.
    pub async fn get(&self, key: impl Into<String>) -> Result<Option<Entry>> {
        self.get_with(key, Consistency::Unspecified).await
    }

    /// The value of a key, as fresh as asked.
    pub async fn get_with(&self, key: impl Into<String>, consistency: Consistency) -> Result<Option<Entry>> {
        let consistency = consistency.into_proto().into();
        let request = proto::GetStateRequest {
            store_name: self.name.clone(),
            key: key.into(),
            consistency,
            ..Default::default()
        };
        let response = self.client.runtime().get_state(self.client.request(request)).await?.into_inner();
        entry(response.data, response.etag, &response.metadata)
    }

    /// The values of many keys, in the order asked, at most `parallelism` read at once by the sidecar.
    pub async fn get_bulk<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        parallelism: u16,
    ) -> Result<Vec<BulkEntry>> {
        let request = proto::GetBulkStateRequest {
            store_name: self.name.clone(),
            keys: keys.into_iter().map(Into::into).collect(),
            parallelism: parallelism.into(),
            ..Default::default()
        };
        let response = self.client.runtime().get_bulk_state(self.client.request(request)).await?.into_inner();
        Ok(response.items.into_iter().map(bulk_entry).collect())
    }

    /// Saves a value: `save(("key", "value"))`, or a [`Write`] with conditions.
    pub async fn save(&self, write: impl Into<Write>) -> Result<()> {
        self.save_bulk([write.into()]).await
    }

    /// Saves values one by one. Not a transaction: an error tells of the first that was refused, and the others are
    /// saved all the same.
    pub async fn save_bulk<W: Into<Write>>(&self, writes: impl IntoIterator<Item = W>) -> Result<()> {
        let states = writes.into_iter().map(|write| write.into().into_item()).collect();
        let request = proto::SaveStateRequest { store_name: self.name.clone(), states };
        self.client.runtime().save_state(self.client.request(request)).await?;
        Ok(())
    }

    /// Deletes a key: `delete("key")`, or a [`Delete`] with conditions. Deleting what is not there succeeds.
    pub async fn delete(&self, delete: impl Into<Delete>) -> Result<()> {
        let request = delete.into().into_request(self.name.clone());
        self.client.runtime().delete_state(self.client.request(request)).await?;
        Ok(())
    }

    /// Deletes keys one by one; as [`StateStore::save_bulk`].
    pub async fn delete_bulk<D: Into<Delete>>(&self, deletes: impl IntoIterator<Item = D>) -> Result<()> {
        let states = deletes.into_iter().map(|delete| delete.into().into_item()).collect();
        let request = proto::DeleteBulkStateRequest { store_name: self.name.clone(), states };
        self.client.runtime().delete_bulk_state(self.client.request(request)).await?;
        Ok(())
    }

    /// Starts a list of changes that happen together or not at all.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.client.clone(), self.name.clone())
    }
}

impl Consistency {
    fn into_proto(self) -> StateConsistency {
        match self {
            Self::Unspecified => StateConsistency::ConsistencyUnspecified,
            Self::Eventual => StateConsistency::ConsistencyEventual,
            Self::Strong => StateConsistency::ConsistencyStrong,
        }
    }
}

fn bulk_entry(item: proto::BulkStateItem) -> BulkEntry {
    let proto::BulkStateItem { key, data, etag, error, metadata } = item;
    let entry = match error.as_str() {
        "" => entry(data, etag, &metadata),
        _ => Err(Error::new(ErrorKind::Internal, error)),
    };
    BulkEntry { key, entry }
}

/// Every value has an etag, so that an empty one means that there is no value.
fn entry(
    value: Bytes,
    etag: String,
    metadata: &std::collections::BTreeMap<String, String>,
) -> Result<Option<Entry>> {
    if etag.is_empty() && value.is_empty() {
        return Ok(None);
    }
    let expires = metadata.get("ttlExpireTime").map(|time| humantime::parse_rfc3339(time)).transpose();
    let expires =
        expires.map_err(|error| Error::new(ErrorKind::Internal, format!("ttlExpireTime: {error}")))?;
    Ok(Some(Entry { value, etag, expires }))
}
