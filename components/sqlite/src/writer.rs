//! The thread that writes: takes everything that waits, applies it in one transaction, and answers after the commit.
//!
//! One sync pays for the whole group, and while it lasts the next group gathers: the busier the store, the cheaper
//! each write. The queue is bounded in requests and in bytes, so a slow disk slows its callers down instead of
//! filling memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use outrigger_component_api::{Change, Error, Etag, Result};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::apply::Batch;
use crate::database::Database;
use crate::readers::Readers;

/// The most requests that wait, and the most that share a transaction.
const QUEUE: usize = 1024;
/// The most that waits, in units of [`UNIT`] bytes: 64 MiB.
const QUEUE_UNITS: u32 = 64 << 10;
const UNIT: usize = 1 << 10;
/// How often writes also free expired rows.
const PURGE_EVERY: Duration = Duration::from_millis(200);

type Reply<T> = oneshot::Sender<Result<T>>;
/// The answers to changes that were applied each on its own.
pub(crate) type Answers = Vec<Result<Option<Etag>>>;
/// Answers a request, once it is known how the commit went.
type Finish = Box<dyn FnOnce(Result<()>)>;

/// What callers ask of the thread.
enum Work {
    /// Open the file; nothing else.
    Open(Reply<Arc<Readers>>),
    /// Each change on its own, in order.
    Each(Vec<Change>, Reply<Answers>),
    /// All changes or none.
    All(Vec<Change>, Reply<()>),
}

struct Request {
    work: Work,
    /// Given back when the request has been applied or refused.
    _room: OwnedSemaphorePermit,
}

/// Owns the thread. Dropping it waits until the thread has worked off its queue.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(database: Database) -> Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = Thread { database, connection: None, readers: None, purge_at: Instant::now() };
        let thread =
            Builder::new().name("sqlite-writer".to_owned()).spawn(move || thread.run(requests)).map_err(
                |error| Error::unavailable("no thread can be started for the store").with_source(error),
            )?;
        let room = Arc::new(Semaphore::new(QUEUE_UNITS as usize));
        Ok(Self { queue: Some(queue), room, thread: Some(thread) })
    }

    /// Opens the file if it is not open yet.
    pub(crate) async fn open(&self) -> Result<Arc<Readers>> {
        self.ask(0, Work::Open).await
    }

    pub(crate) async fn each(&self, changes: Vec<Change>) -> Result<Answers> {
        self.ask(size(&changes), |reply| Work::Each(changes, reply)).await
    }

    pub(crate) async fn all(&self, changes: Vec<Change>) -> Result<()> {
        self.ask(size(&changes), |reply| Work::All(changes, reply)).await
    }

    async fn ask<T>(&self, size: usize, work: impl FnOnce(Reply<T>) -> Work) -> Result<T> {
        let stopped = || Error::internal("the store's writer has stopped");
        // What is bigger than all the room there is waits until it has all of it.
        let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX).min(QUEUE_UNITS);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Request { work: work(reply), _room: room }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}

/// Roughly the bytes that changes hold.
fn size(changes: &[Change]) -> usize {
    let size = |change: &Change| match change {
        Change::Set { key, value, .. } => key.as_bytes().len() + value.len(),
        Change::Delete { key, .. } => key.as_bytes().len(),
    };
    changes.iter().map(size).sum()
}

/// What lives on the thread.
struct Thread {
    database: Database,
    /// Opened when first needed, and again after a failure.
    connection: Option<Connection>,
    readers: Option<Arc<Readers>>,
    purge_at: Instant,
}

impl Thread {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::new();
        while requests.blocking_recv_many(&mut group, QUEUE) > 0 {
            // A panic costs the group it happened in: its callers see their reply dropped.
            if catch_unwind(AssertUnwindSafe(|| self.serve(&mut group))).is_err() {
                tracing::error!("a group of state writes ended in a panic");
                group.clear();
                self.connection = None;
            }
        }
    }

    /// One transaction for the whole group; answers only after the commit.
    fn serve(&mut self, group: &mut Vec<Request>) {
        let mut finish = Vec::with_capacity(group.len());
        let committed = self.commit(group, &mut finish);
        if let Err(error) = &committed {
            group.drain(..).for_each(|request| request.work.refuse(error.clone()));
        }
        for finish in finish {
            finish(committed.clone());
        }
    }

    /// Applies what can be applied, moving each request to how it is answered.
    fn commit(&mut self, group: &mut Vec<Request>, finish: &mut Vec<Finish>) -> Result<()> {
        let (connection, readers) = self.open()?;
        let mut batch = Batch::begin(&connection)?;
        finish.extend(group.drain(..).map(|request| request.work.apply(&mut batch, &readers)));
        self.purge(&mut batch);
        batch.commit()?;
        self.connection = Some(connection);
        Ok(())
    }

    /// The connection, taken out until a commit has gone well: one that failed is not trusted again.
    fn open(&mut self) -> Result<(Connection, Arc<Readers>)> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.open_writer()?,
        };
        let readers = match &self.readers {
            Some(readers) => Arc::clone(readers),
            None => Arc::clone(self.readers.insert(Arc::new(Readers::new(self.database.clone())?))),
        };
        Ok((connection, readers))
    }

    fn purge(&mut self, batch: &mut Batch<'_>) {
        let now = Instant::now();
        if now < self.purge_at {
            return;
        }
        match batch.purge() {
            Ok(true) => {} // more is left: the next write goes on
            Ok(false) => self.purge_at = now + PURGE_EVERY,
            // If the transaction is lost with it, the commit says so too.
            Err(error) => tracing::warn!(%error, "expired state could not be freed"),
        }
    }
}

impl Work {
    fn apply(self, batch: &mut Batch<'_>, readers: &Arc<Readers>) -> Finish {
        match self {
            Self::Open(reply) => {
                let readers = Arc::clone(readers);
                Box::new(move |committed| answer(reply, committed.map(|()| readers)))
            }
            // Nobody waits for these any more, so nobody has to be able to rely on them.
            Self::Each(_, reply) if reply.is_closed() => Box::new(move |_| drop(reply)),
            Self::All(_, reply) if reply.is_closed() => Box::new(move |_| drop(reply)),
            Self::Each(changes, reply) => {
                let answers = changes.iter().map(|change| batch.apply(change)).collect();
                Box::new(move |committed| answer(reply, committed.map(|()| answers)))
            }
            Self::All(changes, reply) => {
                let applied = batch.apply_all(&changes);
                Box::new(move |committed| answer(reply, committed.and(applied)))
            }
        }
    }

    /// For a request the transaction did not get to.
    fn refuse(self, error: Error) {
        match self {
            Self::Open(reply) => answer(reply, Err(error)),
            Self::Each(_, reply) => answer(reply, Err(error)),
            Self::All(_, reply) => answer(reply, Err(error)),
        }
    }
}

/// Whoever has stopped waiting misses the answer; the write has happened all the same.
fn answer<T>(reply: Reply<T>, result: Result<T>) {
    drop(reply.send(result));
}
