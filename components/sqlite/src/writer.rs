//! The thread that writes: takes everything that waits, applies it in one transaction, and answers after the commit.
//!
//! One sync pays for the whole group, and while it lasts the next group gathers: the busier the store, the cheaper
//! each write. The queue is bounded in requests and in bytes, so a slow disk slows its callers down instead of
//! filling memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
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

/// The answers to changes, one for each.
pub(crate) type Answers = Vec<Result<Option<Etag>>>;
/// The answer to a request: one error for all of it, or what became of each change.
type Outcome = Result<Answers>;

/// What callers ask of the thread. A request without changes asks only that the file be open.
struct Request {
    changes: Vec<Change>,
    /// All changes or none, instead of each on its own.
    atomic: bool,
    reply: oneshot::Sender<Outcome>,
    /// Given back when the request has been answered.
    _room: OwnedSemaphorePermit,
}

/// Owns the thread. Dropping it waits until the thread has worked off its queue.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. It opens the file before it answers its first request, and then fills in what reads.
    pub(crate) fn start(database: Database, readers: Arc<OnceLock<Readers>>) -> Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = Thread { database, readers, connection: None, purge_at: Instant::now() };
        let thread =
            Builder::new().name("sqlite-writer".to_owned()).spawn(move || thread.run(requests)).map_err(
                |error| Error::unavailable("no thread can be started for the store").with_source(error),
            )?;
        let room = Arc::new(Semaphore::new(QUEUE_UNITS as usize));
        Ok(Self { queue: Some(queue), room, thread: Some(thread) })
    }

    /// Opens the file if it is not open yet.
    pub(crate) async fn open(&self) -> Result<()> {
        self.ask(Vec::new(), false).await.map(drop)
    }

    /// Applies each change on its own.
    pub(crate) async fn each(&self, changes: Vec<Change>) -> Result<Answers> {
        self.ask(changes, false).await
    }

    /// Applies all changes or none.
    pub(crate) async fn all(&self, changes: Vec<Change>) -> Result<()> {
        self.ask(changes, true).await.map(drop)
    }

    async fn ask(&self, changes: Vec<Change>, atomic: bool) -> Outcome {
        let stopped = || Error::internal("the store's writer has stopped");
        let room = Arc::clone(&self.room).acquire_many_owned(units(&changes)).await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Request { changes, atomic, reply, _room: room }).await.map_err(|_| stopped())?;
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

/// The room changes take in the queue. What is bigger than all the room there is waits until it has all of it.
fn units(changes: &[Change]) -> u32 {
    let size = |change: &Change| match change {
        Change::Set { key, value, .. } => key.as_bytes().len() + value.len(),
        Change::Delete { key, .. } => key.as_bytes().len(),
    };
    let size: usize = changes.iter().map(size).sum();
    u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX).min(QUEUE_UNITS)
}

/// What lives on the thread.
struct Thread {
    database: Database,
    readers: Arc<OnceLock<Readers>>,
    /// Opened when first needed, and again after a failure.
    connection: Option<Connection>,
    purge_at: Instant,
}

/// How a transaction went.
enum Attempt {
    Committed(Vec<Outcome>),
    /// Nothing was applied, because of the transaction as a whole.
    Failed(Error),
    /// Nothing was applied, because one change made SQLite undo all of them.
    Spoiled(Error),
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

    /// Applies the whole group and answers after the commit.
    fn serve(&mut self, group: &mut Vec<Request>) {
        // Nobody waits for these any more, so nobody has to be able to rely on them.
        group.retain(|request| !request.reply.is_closed());
        let requests: Vec<_> =
            group.iter().map(|request| (request.changes.as_slice(), request.atomic)).collect();
        let outcomes = match self.transact(&requests) {
            Attempt::Committed(outcomes) => outcomes,
            Attempt::Failed(error) => requests.iter().map(|_| Err(error.clone())).collect(),
            Attempt::Spoiled(_) => {
                requests.iter().map(|(changes, atomic)| self.alone(changes, *atomic)).collect()
            }
        };
        for (request, outcome) in group.drain(..).zip(outcomes) {
            // Whoever has stopped waiting misses the answer; the write has happened all the same.
            drop(request.reply.send(outcome));
        }
    }

    /// A transaction for each thing that may fail by itself: slow, but only what does not fit is refused.
    fn alone(&mut self, changes: &[Change], atomic: bool) -> Outcome {
        let mut apply = |changes: &[Change]| match self.transact(&[(changes, atomic)]) {
            Attempt::Committed(outcomes) => outcomes.into_iter().next().unwrap_or(Ok(Vec::new())),
            Attempt::Failed(error) | Attempt::Spoiled(error) => Err(error),
        };
        if atomic {
            return apply(changes);
        }
        // A failure of the transaction is here that of the one change in it.
        Ok(changes
            .chunks(1)
            .flat_map(|change| apply(change).unwrap_or_else(|error| vec![Err(error)]))
            .collect())
    }

    /// One transaction over all requests.
    fn transact(&mut self, requests: &[(&[Change], bool)]) -> Attempt {
        let connection = match self.open() {
            Ok(connection) => connection,
            Err(error) => return Attempt::Failed(error),
        };
        let attempt = attempt(&connection, requests, &mut self.purge_at);
        // A connection that failed for good is not trusted again.
        if !matches!(&attempt, Attempt::Failed(error) if !error.is_retryable()) {
            self.connection = Some(connection);
        }
        attempt
    }

    fn open(&mut self) -> Result<Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.open_writer()?,
        };
        if self.readers.get().is_none() {
            let readers = Readers::new(self.database.clone())?;
            self.readers.get_or_init(|| readers);
        }
        Ok(connection)
    }
}

fn attempt(connection: &Connection, requests: &[(&[Change], bool)], purge_at: &mut Instant) -> Attempt {
    if requests.iter().all(|(changes, _)| changes.is_empty()) {
        return Attempt::Committed(requests.iter().map(|_| Ok(Vec::new())).collect());
    }
    let mut batch = match Batch::begin(connection) {
        Ok(batch) => batch,
        Err(error) => return Attempt::Failed(error),
    };
    let outcomes = requests.iter().map(|(changes, atomic)| match atomic {
        true => batch.apply_all(changes).map(|()| Vec::new()),
        false => Ok(changes.iter().map(|change| batch.apply(change)).collect()),
    });
    let outcomes = outcomes.collect();
    purge(&mut batch, purge_at);
    if let Some(error) = batch.lost() {
        return Attempt::Spoiled(error);
    }
    match batch.commit() {
        Ok(()) => Attempt::Committed(outcomes),
        Err(error) => Attempt::Failed(error),
    }
}

/// Frees expired rows now and then, on the back of a write that syncs anyway.
fn purge(batch: &mut Batch<'_>, purge_at: &mut Instant) {
    let now = Instant::now();
    if now < *purge_at {
        return;
    }
    match batch.purge() {
        Ok(true) => {} // more is left: the next write goes on
        Ok(false) => *purge_at = now + PURGE_EVERY,
        Err(error) => {
            tracing::warn!(%error, "expired state could not be freed");
            *purge_at = now + PURGE_EVERY;
        }
    }
}
