//! One file, opened when first needed, and what all blocks do with it: write through one thread, read through a few
//! connections, be woken when somebody has written.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use outrigger_component_api::{Error, Result};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::config::SqliteConfig;
use crate::database::Database;
use crate::readers::Readers;
use crate::wake::{Bells, Channel, Ear};
use crate::writer::{Task, Writer};

/// A file and the thread that writes to it.
///
/// Nothing is opened or created before the first call. Dropping the store waits for the writes under way; those
/// nobody waits for any more are not begun.
pub(crate) struct Store {
    database: Database,
    // Before the readers: the thread ends first.
    writer: OnceLock<Writer>,
    /// Filled by the writer's thread, once the file is open.
    readers: Arc<OnceLock<Readers>>,
    bells: Arc<Bells>,
    /// Held while the writer is started, so that there is one.
    starting: Mutex<()>,
}

impl Store {
    /// Settles where the file is; opens nothing.
    pub(crate) fn new(config: SqliteConfig) -> Result<Self> {
        let database = Database::new(config)?;
        Ok(Self {
            bells: Arc::new(Bells::new(database.path())),
            database,
            writer: OnceLock::new(),
            readers: Arc::default(),
            starting: Mutex::new(()),
        })
    }

    /// The store of these settings that others of this process use already, or else a new one: components on one file
    /// then share its thread and its commits, instead of waiting for each other's locks.
    pub(crate) fn shared(config: SqliteConfig) -> Result<Arc<Self>> {
        static STORES: LazyLock<Mutex<HashMap<Database, Weak<Store>>>> = LazyLock::new(Mutex::default);
        let database = Database::new(config.clone())?;
        let mut stores = STORES.lock();
        if let Some(store) = stores.get(&database).and_then(Weak::upgrade) {
            return Ok(store);
        }
        let store = Arc::new(Self::new(config)?);
        stores.retain(|_, store| store.strong_count() > 0);
        stores.insert(database, Arc::downgrade(&store));
        Ok(store)
    }

    /// Does something inside a transaction and answers after the commit; what fails leaves no trace. `bytes` is about
    /// how much it carries. It may be done again when the transaction had to be, after what it did was undone.
    pub(crate) async fn write<R: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut Batch<'_>) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.submit(bytes, |reply| Work { work, reply, outcome: None, needs_disk: true }).await
    }

    /// The same for what may be undone by a power cut, because it then happens again: it waits for no disk.
    pub(crate) async fn write_unsynced<R: Send + 'static>(
        &self,
        work: impl FnMut(&mut Batch<'_>) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.submit(0, |reply| Work { work, reply, outcome: None, needs_disk: false }).await
    }

    /// Does something without anybody waiting for it. It is not done at all when the writer's queue is full, so it may
    /// only be what happens by itself later on.
    pub(crate) fn post(&self, work: impl FnMut(&mut Batch<'_>) -> Result<()> + Send + 'static) {
        if let Some(writer) = self.writer.get() {
            writer.post(Posted { work, outcome: Ok(()) });
        }
    }

    /// The same for a task of one's own.
    pub(crate) async fn submit<T: Task + 'static, R>(
        &self,
        bytes: usize,
        task: impl FnOnce(oneshot::Sender<Result<R>>) -> T,
    ) -> Result<R> {
        self.writer()?.submit(bytes, task).await
    }

    /// Reads on this thread.
    pub(crate) async fn read<R>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R> {
        self.readers().await?.with(read)
    }

    /// What reads; the first caller has the file opened, on the writer's thread.
    pub(crate) async fn readers(&self) -> Result<&Readers> {
        if let Some(readers) = self.readers.get() {
            return Ok(readers);
        }
        self.writer()?.open().await?;
        tracing::debug!(file = %self.database.path().display(), "store file opened");
        self.readers.get().ok_or_else(|| Error::internal("the store is open but cannot be read"))
    }

    /// Hears every change on a channel that is committed after this returns, by whatever process.
    pub(crate) async fn listen(&self, channel: Channel) -> Result<Ear> {
        // The file, and with it the directory, is there once it has been opened.
        self.readers().await?;
        self.bells.listen(channel)
    }

    /// Whether the file still is the one that was opened, and answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.readers().await?.ping()
    }

    fn writer(&self) -> Result<&Writer> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let _starting = self.starting.lock();
        match self.writer.get() {
            Some(writer) => Ok(writer),
            None => {
                let (readers, bells) = (Arc::clone(&self.readers), Arc::clone(&self.bells));
                let writer = Writer::start(self.database.clone(), readers, bells)?;
                Ok(self.writer.get_or_init(|| writer))
            }
        }
    }
}

/// One thing to do, all or nothing, that nobody waits for.
struct Posted<F> {
    work: F,
    outcome: Result<()>,
}

impl<F: FnMut(&mut Batch<'_>) -> Result<()> + Send> Task for Posted<F> {
    fn is_abandoned(&self) -> bool {
        false
    }

    fn needs_disk(&self) -> bool {
        false
    }

    fn run(&mut self, batch: &mut Batch<'_>) {
        self.outcome = batch.all_or_nothing(&mut self.work);
    }

    fn fail(&mut self, error: Error) {
        self.outcome = Err(error);
    }

    fn answer(self: Box<Self>) {
        if let Err(error) = self.outcome {
            tracing::debug!(%error, "a write that nobody waits for failed");
        }
    }
}

/// One thing to do, all or nothing.
struct Work<R, F> {
    work: F,
    reply: oneshot::Sender<Result<R>>,
    outcome: Option<Result<R>>,
    needs_disk: bool,
}

impl<R: Send, F: FnMut(&mut Batch<'_>) -> Result<R> + Send> Task for Work<R, F> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn needs_disk(&self) -> bool {
        self.needs_disk
    }

    fn run(&mut self, batch: &mut Batch<'_>) {
        self.outcome = Some(batch.all_or_nothing(&mut self.work));
    }

    fn fail(&mut self, error: Error) {
        self.outcome = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or_else(|| Err(Error::internal("the store gave no answer")));
        // Whoever has stopped waiting misses the answer; it has happened all the same.
        drop(self.reply.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Synchronous;

    /// What SQLite does at the commit of the transaction this is asked in: 2 syncs the log, 1 only before it is merged.
    fn mode(batch: &mut Batch<'_>) -> Result<i64> {
        Ok(batch.find("PRAGMA synchronous", [], |row| row.get(0))?.expect("a row"))
    }

    #[tokio::test]
    async fn only_what_may_be_undone_does_not_wait_for_the_disk() {
        for (synchronous, synced, unsynced) in [(Synchronous::Full, 2, 1), (Synchronous::Off, 0, 0)] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = Some(directory.path().join("store.db"));
            let store =
                Store::new(SqliteConfig { path, synchronous, ..SqliteConfig::default() }).expect("valid");
            for _ in 0..2 {
                assert_eq!(store.write_unsynced(mode).await.expect("written"), unsynced);
                assert_eq!(store.write(0, mode).await.expect("written"), synced);
            }
            assert_eq!(store.write_unsynced(mode).await.expect("written"), unsynced);
            // In one transaction with others that need it, all of them wait.
            let (one, two) = futures_util::join!(store.write(0, mode), store.write_unsynced(mode));
            assert_eq!(one.expect("written"), synced);
            assert!([synced, unsynced].contains(&two.expect("written")));
        }
    }
}
