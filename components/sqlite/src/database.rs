//! Opening the file: where it lies, how SQLite is set up, and which tables it has.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::config::{SqliteConfig, Synchronous};
use crate::failure::{from_io, from_sqlite};

/// "OUTR": tells our file from any other SQLite database.
const APPLICATION_ID: i32 = 0x4F55_5452;
/// The layout of `state` this program reads and writes.
const STATE_SCHEMA: i64 = 1;
/// A WAL that grew beyond this in a burst is cut back at the next checkpoint.
const WAL_KEPT_BYTES: i64 = 16 << 20;
/// Reads happen on the caller's thread. They only ever wait while another process recovers the file after a crash.
const READ_BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// More than the number of statements we have.
const STATEMENTS: usize = 32;

/// How to open connections to one file.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    file: PathBuf,
    config: SqliteConfig,
}

impl Database {
    /// Settles where the file is; opens nothing.
    pub(crate) fn new(config: SqliteConfig) -> Result<Self> {
        Ok(Self { file: config.file()?, config })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// Creates the file and its tables where they are missing, and returns the connection that writes.
    pub(crate) fn open_writer(&self) -> Result<Connection> {
        create_file(&self.file).map_err(|error| from_io(&self.file, &error))?;
        let mut connection = self.connect(self.config.busy_timeout)?;
        ours_or_new(&connection)?;
        enter_wal(&connection)?;
        self.set_up(&connection).map_err(|error| from_sqlite(&error))?;
        create_tables(&mut connection)?;
        Ok(connection)
    }

    /// A connection that only reads. The tables must exist.
    pub(crate) fn open_reader(&self) -> Result<Connection> {
        let connection = self.connect(READ_BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true).map_err(|error| from_sqlite(&error))?;
        Ok(connection)
    }

    /// Which file this is, as long as it is there. It has to be the one that was opened: writes to a file that was
    /// deleted or replaced since go nowhere.
    pub(crate) fn inode(&self) -> Result<u64> {
        fs::metadata(&self.file).map(|metadata| metadata.ino()).map_err(|error| from_io(&self.file, &error))
    }

    fn connect(&self, busy_timeout: Duration) -> Result<Connection> {
        // No SQLITE_OPEN_CREATE: the file was created with the right mode before.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(&self.file, flags)?;
            connection.busy_timeout(busy_timeout)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            Ok(connection)
        };
        open().map_err(|error| from_sqlite(&error))
    }

    fn set_up(&self, connection: &Connection) -> rusqlite::Result<()> {
        let synchronous = match self.config.synchronous {
            Synchronous::Full => "full",
            Synchronous::Off => "off",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // macOS only: there, fsync alone leaves the data in the drive's cache.
        connection.pragma_update(None, "fullfsync", self.config.synchronous == Synchronous::Full)?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
        if self.config.max_size_bytes > 0 {
            let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = self.config.max_size_bytes.div_ceil(page.max(1).into());
            connection.pragma_update(None, "max_page_count", u32::try_from(pages).unwrap_or(u32::MAX - 1))?;
        }
        Ok(())
    }
}

/// Refuses a database of another program before anything in it is changed.
fn ours_or_new(connection: &Connection) -> Result<()> {
    let look = || -> rusqlite::Result<(i32, bool)> {
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let empty =
            connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
        Ok((id, empty))
    };
    match look().map_err(|error| from_sqlite(&error))? {
        (APPLICATION_ID, _) | (0, true) => Ok(()),
        _ => Err(Error::new(
            ErrorKind::FailedPrecondition,
            "path names the SQLite database of another program",
        )),
    }
}

/// SQLite stays in another mode without an error where WAL cannot work.
fn enter_wal(connection: &Connection) -> Result<()> {
    let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
    match mode.map_err(|error| from_sqlite(&error))?.as_str() {
        "wal" => Ok(()),
        mode => {
            let message =
                "the store's file system cannot share memory between processes; is it a network drive?";
            Err(Error::new(ErrorKind::FailedPrecondition, message).with("journal_mode", mode))
        }
    }
}

/// In one transaction, so that of several processes that start at once one creates and the others find.
fn create_tables(connection: &mut Connection) -> Result<()> {
    let begin = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begin.map_err(|error| from_sqlite(&error))?;
    match state_schema(&transaction).map_err(|error| from_sqlite(&error))? {
        None => create_state(&transaction)
            .and_then(|()| transaction.commit())
            .map_err(|error| from_sqlite(&error)),
        Some(STATE_SCHEMA) => transaction.rollback().map_err(|error| from_sqlite(&error)),
        Some(version) => {
            let message = "the store was written by a newer version of this program";
            Err(Error::new(ErrorKind::FailedPrecondition, message).with("schema", version))
        }
    }
}

fn state_schema(transaction: &Transaction<'_>) -> rusqlite::Result<Option<i64>> {
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schemas (block TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID",
    )?;
    let mut found = transaction.prepare("SELECT version FROM schemas WHERE block = 'state'")?;
    let mut rows = found.query([])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

fn create_state(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    // A rowid table, although the key is primary: values of a kilobyte would make a keyed tree deep and slow.
    transaction.execute_batch(
        "CREATE TABLE state (
             key     BLOB PRIMARY KEY NOT NULL,
             value   BLOB NOT NULL,
             version INTEGER NOT NULL,
             expires INTEGER
         );
         CREATE INDEX state_expires ON state (expires) WHERE expires IS NOT NULL;
         CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT OR IGNORE INTO counters (name, value) VALUES ('revision', 0);",
    )?;
    transaction.execute("INSERT INTO schemas (block, version) VALUES ('state', ?1)", [STATE_SCHEMA]).map(drop)
}

/// Creates the file with mode 0600 (SQLite gives the files beside it the same) unless it exists, and the directories
/// above it with 0700.
fn create_file(file: &Path) -> io::Result<()> {
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        create_directories(directory)?;
    }
    // Never opened when it exists: closing it again would drop the locks this process holds on it elsewhere
    // (POSIX locks belong to the process, not to the descriptor).
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Like `create_dir_all`, but a power cut after it does not take a new directory away again. (SQLite syncs the
/// directory of its own files.)
fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_directories(parent)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}
