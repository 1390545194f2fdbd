//! The state block on SQLite.

mod changes;

use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{
    Backend, BuildContext, BulkOptions, Change, Component, DeleteOptions, Entry, Error, Etag, GetOptions,
    Key, Result, SetOptions, StateCapabilities, StateStore, async_trait,
};

use crate::config::SqliteConfig;
use crate::store::Store;
use changes::{Answers, Changes};

/// Reads of a bulk that follow each other without letting other tasks of the thread run.
const READ_AT_ONCE: usize = 128;

/// Registers [`SqliteState`] as `state.sqlite`.
pub struct SqliteStateBackend;

#[async_trait]
impl Backend for SqliteStateBackend {
    const TYPE: &'static str = "state.sqlite";
    const ABOUT: &'static str =
        "State in a file that survives crashes and power cuts; several processes may share it.";
    type Config = SqliteConfig;
    type Block = dyn StateStore;

    async fn build(config: SqliteConfig, _: &BuildContext) -> Result<Arc<dyn StateStore>> {
        Ok(Arc::new(SqliteState { store: Store::shared(config)? }))
    }
}

/// A state store in an SQLite file. Nothing is opened or created before the first call.
pub struct SqliteState {
    store: Arc<Store>,
}

impl SqliteState {
    /// Settles where the file is; opens nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::new(config)?) })
    }

    async fn change(&self, changes: Vec<Change>, atomic: bool) -> Result<Answers> {
        let bytes = Changes::bytes(&changes);
        self.store.submit(bytes, |reply| Changes::new(changes, atomic, reply)).await
    }

    async fn change_one(&self, change: Change) -> Result<Option<Etag>> {
        let answers = self.change(vec![change], false).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(Error::internal("the store gave no answer")))
    }
}

#[async_trait]
impl Component for SqliteState {
    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }
}

#[async_trait]
impl StateStore for SqliteState {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities {
            etags: true,
            ttl: true,
            transactions: true,
            max_changes: None,
            binary_keys: true,
            persistent: true,
            fencing: true,
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        self.store.readers().await?.get(key)
    }

    async fn get_bulk(&self, keys: &[Key], _: BulkOptions) -> Result<Vec<Result<Option<Entry>>>> {
        let readers = self.store.readers().await?;
        let mut entries = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            if !entries.is_empty() {
                tokio::task::yield_now().await;
            }
            entries.extend(readers.get_bulk(keys)?.into_iter().map(Ok));
        }
        Ok(entries)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        let etag = self.change_one(Change::Set { key: key.clone(), value, options }).await?;
        etag.ok_or_else(|| Error::internal("the store gave no etag"))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.change_one(Change::Delete { key: key.clone(), options }).await.map(drop)
    }

    async fn write_bulk(&self, changes: Vec<Change>) -> Result<Answers> {
        if changes.is_empty() { Ok(Vec::new()) } else { self.change(changes, false).await }
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() { Ok(()) } else { self.change(changes, true).await.map(drop) }
    }
}
