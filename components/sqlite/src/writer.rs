//! The thread that writes: takes everything that waits, applies it in one transaction, and answers after the commit.
//!
//! One sync pays for the whole group, and while it lasts the next group gathers: the busier the store, the cheaper
//! each write. The queue is bounded in requests and in bytes, so a slow disk slows its callers down instead of
//! filling memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use outrigger_component_api::{Error, Result};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::batch::Batch;
use crate::database::Database;
use crate::readers::Readers;
use crate::wake::{Bells, Channel};

/// The most requests that wait, and the most that share a transaction.
const QUEUE: usize = 1024;
/// The most that waits, in units of [`UNIT`] bytes: 64 MiB.
const QUEUE_UNITS: u32 = 64 << 10;
const UNIT: usize = 1 << 10;
/// How often writes also free expired rows.
const PURGE_EVERY: Duration = Duration::from_millis(200);

/// Something to do inside a transaction that others share.
pub(crate) trait Task: Send {
    /// Nobody waits for it any more, so nobody has to be able to rely on it.
    fn is_abandoned(&self) -> bool;

    /// It writes; false asks only that the file be open.
    fn writes(&self) -> bool {
        true
    }

    /// It has to be on the disk before it is answered. What does not is undone by a power cut, together with nothing
    /// that does.
    fn needs_disk(&self) -> bool {
        true
    }

    /// Does it and keeps the outcome. What was done in an earlier attempt has been undone.
    fn run(&mut self, batch: &mut Batch<'_>);

    /// Does it in transactions of its own, because something in the shared one did not fit.
    fn run_alone(&mut self, transact: &mut Transact<'_>) {
        if let Err(error) = transact(&mut |batch| self.run(batch)) {
            self.fail(error);
        }
    }

    /// It was not done.
    fn fail(&mut self, error: Error);

    /// Tells the caller, after the commit.
    fn answer(self: Box<Self>);
}

/// Runs something in a transaction and commits.
pub(crate) type Transact<'a> = dyn FnMut(&mut dyn FnMut(&mut Batch<'_>)) -> Result<()> + 'a;

/// A task that waits for its turn.
struct Request {
    task: Box<dyn Task>,
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
    pub(crate) fn start(
        database: Database,
        readers: Arc<OnceLock<Readers>>,
        bells: Arc<Bells>,
    ) -> Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread =
            Thread { database, readers, bells, connection: None, syncs: true, purge_at: Instant::now() };
        let thread =
            Builder::new().name("sqlite-writer".to_owned()).spawn(move || thread.run(requests)).map_err(
                |error| Error::unavailable("no thread can be started for the store").with_source(error),
            )?;
        let room = Arc::new(Semaphore::new(QUEUE_UNITS as usize));
        Ok(Self { queue: Some(queue), room, thread: Some(thread) })
    }

    /// Opens the file if it is not open yet.
    pub(crate) async fn open(&self) -> Result<()> {
        self.submit(0, Open::new).await
    }

    /// Hands a task over that nobody waits for, if there is room for it.
    pub(crate) fn post(&self, task: impl Task + 'static) {
        let room = Arc::clone(&self.room).try_acquire_many_owned(0);
        if let (Ok(room), Some(queue)) = (room, &self.queue) {
            let request = Request { task: Box::new(task), _room: room };
            if queue.try_send(request).is_err() {
                tracing::debug!("the store is too busy for a write that nobody waits for");
            }
        }
    }

    /// Hands a task over and waits for its answer. `bytes` is about how much it carries; what is bigger than all the
    /// room there is waits until it has all of it.
    pub(crate) async fn submit<T: Task + 'static, R>(
        &self,
        bytes: usize,
        task: impl FnOnce(oneshot::Sender<Result<R>>) -> T,
    ) -> Result<R> {
        let stopped = || Error::internal("the store's writer has stopped");
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(QUEUE_UNITS);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let request = Request { task: Box::new(task(reply)), _room: room };
        queue.send(request).await.map_err(|_| stopped())?;
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

/// Asks that the file be open.
struct Open {
    reply: oneshot::Sender<Result<()>>,
    outcome: Result<()>,
}

impl Open {
    fn new(reply: oneshot::Sender<Result<()>>) -> Self {
        Self { reply, outcome: Ok(()) }
    }
}

impl Task for Open {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
    fn writes(&self) -> bool {
        false
    }
    fn needs_disk(&self) -> bool {
        false
    }
    fn run(&mut self, _: &mut Batch<'_>) {}
    fn fail(&mut self, error: Error) {
        self.outcome = Err(error);
    }
    fn answer(self: Box<Self>) {
        // Whoever has stopped waiting misses the answer.
        drop(self.reply.send(self.outcome));
    }
}

/// What lives on the thread.
struct Thread {
    database: Database,
    readers: Arc<OnceLock<Readers>>,
    bells: Arc<Bells>,
    /// Opened when first needed, and again after a failure.
    connection: Option<Connection>,
    /// Whether its commits wait for the disk, as far as the configuration has them do so.
    syncs: bool,
    purge_at: Instant,
}

/// How a transaction went.
enum Attempt {
    /// These channels are to be rung.
    Committed(Vec<Channel>),
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
                tracing::error!("a group of writes ended in a panic");
                group.clear();
                self.connection = None;
            }
        }
    }

    /// Does the whole group and answers after the commit.
    fn serve(&mut self, group: &mut Vec<Request>) {
        group.retain(|request| !request.task.is_abandoned());
        let writes = group.iter().any(|request| request.task.writes());
        let needs_disk = group.iter().any(|request| request.task.needs_disk());
        let mut all = |batch: &mut Batch<'_>| group.iter_mut().for_each(|request| request.task.run(batch));
        let attempt = if writes { self.transact(needs_disk, &mut all) } else { self.only_open() };
        match self.rung(attempt) {
            Attempt::Committed(_) => {}
            Attempt::Failed(error) => {
                group.iter_mut().for_each(|request| request.task.fail(error.clone()));
            }
            Attempt::Spoiled(_) => group.iter_mut().for_each(|request| self.alone(&mut *request.task)),
        }
        group.drain(..).for_each(|request| request.task.answer());
    }

    /// A transaction for each thing that may fail by itself: slow, but only what does not fit is refused.
    fn alone(&mut self, task: &mut dyn Task) {
        let needs_disk = task.needs_disk();
        task.run_alone(&mut |work| {
            let attempt = self.transact(needs_disk, work);
            match self.rung(attempt) {
                Attempt::Committed(_) => Ok(()),
                // A failure of the transaction is here that of the one thing in it.
                Attempt::Failed(error) | Attempt::Spoiled(error) => Err(error),
            }
        });
    }

    /// Wakes those who wait for what was committed.
    fn rung(&self, attempt: Attempt) -> Attempt {
        if let Attempt::Committed(channels) = &attempt {
            channels.iter().for_each(|channel| self.bells.ring(*channel));
        }
        attempt
    }

    fn only_open(&mut self) -> Attempt {
        match self.open() {
            Ok(connection) => {
                self.connection = Some(connection);
                Attempt::Committed(Vec::new())
            }
            Err(error) => Attempt::Failed(error),
        }
    }

    /// One transaction.
    fn transact(&mut self, needs_disk: bool, work: &mut dyn FnMut(&mut Batch<'_>)) -> Attempt {
        let connection = match self.open() {
            Ok(connection) => connection,
            Err(error) => return Attempt::Failed(error),
        };
        let attempt = match self.sync(&connection, needs_disk) {
            Ok(()) => attempt(&connection, work, &mut self.purge_at),
            Err(error) => Attempt::Failed(error),
        };
        // A connection that failed for good is not trusted again.
        if !matches!(&attempt, Attempt::Failed(error) if !error.is_retryable()) {
            self.connection = Some(connection);
        }
        attempt
    }

    /// Has the next commit wait for the disk, or not.
    fn sync(&mut self, connection: &Connection, needs_disk: bool) -> Result<()> {
        if self.syncs != needs_disk {
            self.database.sync_commits(connection, needs_disk)?;
            self.syncs = needs_disk;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.syncs = true;
                self.database.open_writer()?
            }
        };
        if self.readers.get().is_none() {
            let readers = Readers::new(self.database.clone())?;
            self.readers.get_or_init(|| readers);
        }
        Ok(connection)
    }
}

fn attempt(connection: &Connection, work: &mut dyn FnMut(&mut Batch<'_>), purge_at: &mut Instant) -> Attempt {
    let mut batch = match Batch::begin(connection) {
        Ok(batch) => batch,
        Err(error) => return Attempt::Failed(error),
    };
    work(&mut batch);
    purge(&mut batch, purge_at);
    if let Some(error) = batch.lost() {
        return Attempt::Spoiled(error);
    }
    match batch.commit() {
        Ok(channels) => Attempt::Committed(channels),
        Err(error) => Attempt::Failed(error),
    }
}

/// Frees expired rows now and then, on the back of a write that is committed anyway.
fn purge(batch: &mut Batch<'_>, purge_at: &mut Instant) {
    let now = Instant::now();
    if now < *purge_at {
        return;
    }
    match batch.purge() {
        Ok(true) => {} // more is left: the next write goes on
        Ok(false) => *purge_at = now + PURGE_EVERY,
        Err(error) => {
            tracing::warn!(%error, "what has expired could not be freed");
            *purge_at = now + PURGE_EVERY;
        }
    }
}
