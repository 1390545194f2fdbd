//! The state block on SQLite.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use outrigger_component_api::{
    Backend, BuildContext, BulkOptions, Change, Component, DeleteOptions, Entry, Error, Etag, GetOptions,
    Key, Result, SetOptions, StateCapabilities, StateStore, async_trait,
};
use parking_lot::Mutex;

use crate::config::SqliteConfig;
use crate::database::Database;
use crate::readers::Readers;
use crate::writer::{Answers, Writer};

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
        Ok(Arc::new(SqliteState::new(config)?))
    }
}

/// A state store in an SQLite file.
///
/// Nothing is opened or created before the first call. Dropping the store waits for the writes under way; those
/// nobody waits for any more are not begun.
pub struct SqliteState {
    database: Database,
    // Before the readers: the thread ends first.
    writer: OnceLock<Writer>,
    /// Filled by the writer's thread, once the file is open.
    readers: Arc<OnceLock<Readers>>,
    /// Held while the writer is started, so that there is one.
    starting: Mutex<()>,
}

impl SqliteState {
    /// Settles where the file is; opens nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        let database = Database::new(config)?;
        Ok(Self { database, writer: OnceLock::new(), readers: Arc::default(), starting: Mutex::new(()) })
    }

    fn writer(&self) -> Result<&Writer> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let _starting = self.starting.lock();
        match self.writer.get() {
            Some(writer) => Ok(writer),
            None => {
                let writer = Writer::start(self.database.clone(), Arc::clone(&self.readers))?;
                Ok(self.writer.get_or_init(|| writer))
            }
        }
    }

    /// What reads; the first caller has the file opened, on the writer's thread.
    async fn readers(&self) -> Result<&Readers> {
        if let Some(readers) = self.readers.get() {
            return Ok(readers);
        }
        self.writer()?.open().await?;
        tracing::debug!(file = %self.database.path().display(), "state file opened");
        self.readers.get().ok_or_else(|| Error::internal("the store is open but cannot be read"))
    }

    /// One change through the bulk path of the writer.
    async fn change(&self, change: Change) -> Result<Option<Etag>> {
        let answers = self.writer()?.each(vec![change]).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(Error::internal("the store gave no answer")))
    }
}

#[async_trait]
impl Component for SqliteState {
    async fn ping(&self) -> Result<()> {
        self.readers().await?.ping()
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
            fencing: false,
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        self.readers().await?.get(key)
    }

    async fn get_bulk(&self, keys: &[Key], _: BulkOptions) -> Result<Vec<Result<Option<Entry>>>> {
        let readers = self.readers().await?;
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
        let etag = self.change(Change::Set { key: key.clone(), value, options }).await?;
        etag.ok_or_else(|| Error::internal("the store gave no etag"))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.change(Change::Delete { key: key.clone(), options }).await.map(drop)
    }

    async fn write_bulk(&self, changes: Vec<Change>) -> Result<Answers> {
        if changes.is_empty() { Ok(Vec::new()) } else { self.writer()?.each(changes).await }
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() { Ok(()) } else { self.writer()?.all(changes).await }
    }
}
