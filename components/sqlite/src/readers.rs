//! Reading on the caller's thread: a few connections, each behind a lock that is normally free.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outrigger_component_api::{Entry, Error, Etag, Key, Result};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{CachedStatement, Connection, params};

use crate::database::Database;
use crate::failure::from_sqlite;

/// The workers of a default start, and some for everybody else.
const CONNECTIONS: usize = 4;

/// The connections that read, each opened when first needed.
pub(crate) struct Readers {
    database: Database,
    inode: u64,
    connections: [Mutex<Option<Connection>>; CONNECTIONS],
}

impl Readers {
    /// For a file that exists, with its tables.
    pub(crate) fn new(database: Database) -> Result<Self> {
        let inode = database.inode()?;
        Ok(Self { database, inode, connections: std::array::from_fn(|_| Mutex::new(None)) })
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.with(|connection| find(&mut select(connection)?, key, now_millis()))
    }

    /// In one transaction: not for the snapshot, but because taking and giving back the read lock costs more than
    /// finding a row.
    pub(crate) fn get_bulk(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut select = select(&transaction)?;
            let now = now_millis();
            keys.iter().map(|key| find(&mut select, key, now)).collect()
        })
    }

    /// Whether the file still is the one that was opened, and answers.
    pub(crate) fn ping(&self) -> Result<()> {
        if self.database.inode()? != self.inode {
            return Err(Error::unavailable(
                "the store's file was replaced while in use; restart to use the new one",
            ));
        }
        self.with(|connection| connection.query_row("SELECT count(*) FROM counters", [], |_| Ok(())))
    }

    pub(crate) fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut slot = self.free_slot();
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.database.open_reader()?,
        };
        let result = read(&connection);
        *slot = Some(connection);
        result.map_err(|error| from_sqlite(&error))
    }

    /// This thread's usual connection if it is free, else any free one, else the usual one when it becomes free:
    /// whoever holds it is in the middle of a read and not of a wait.
    #[expect(clippy::indexing_slicing, reason = "the remainder is below CONNECTIONS")]
    fn free_slot(&self) -> MutexGuard<'_, Option<Connection>> {
        let usual = this_thread();
        let candidates = (usual..usual + CONNECTIONS).map(|i| &self.connections[i % CONNECTIONS]);
        candidates
            .clone()
            .find_map(Mutex::try_lock)
            .unwrap_or_else(|| self.connections[usual % CONNECTIONS].lock())
    }
}

/// A number for each thread, so that threads spread over the connections.
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % CONNECTIONS));
    NUMBER.get()
}

fn select(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "SELECT value, version, expires FROM state WHERE key = ?1 AND (expires IS NULL OR expires > ?2)",
    )
}

fn find(select: &mut CachedStatement<'_>, key: &Key, now: i64) -> rusqlite::Result<Option<Entry>> {
    let mut rows = select.query(params![key.as_bytes(), now])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let value = Bytes::copy_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
    let version: i64 = row.get(1)?;
    let expires: Option<i64> = row.get(2)?;
    let expires = expires.and_then(|millis| {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
    });
    Ok(Some(Entry { value, etag: Etag::from(version.unsigned_abs()), expires }))
}

/// Milliseconds since 1970, as `expires` counts.
pub(crate) fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
