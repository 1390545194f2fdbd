//! Opening the file: where it lies, how SQLite is set up, and which tables it has.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use outrigger_component_api::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

use crate::config::{SqliteConfig, Synchronous};
use crate::failure::{from_io, from_sqlite};
use crate::layout;

/// "OUTR": tells our file from any other SQLite database.
const APPLICATION_ID: i32 = 0x4F55_5452;
/// A WAL that grew beyond this in a burst is cut back at the next checkpoint.
const WAL_KEPT_BYTES: i64 = 16 << 20;
/// Reads happen on the caller's thread. They only ever wait while another process recovers the file after a crash.
const READ_BUSY_TIMEOUT: Duration = Duration::from_millis(100);
const ENTER_WAL_PAUSE: Duration = Duration::from_millis(5);
/// More than the number of statements we have.
const STATEMENTS: usize = 64;

/// How to open connections to one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        enter_wal(&connection, self.config.busy_timeout)?;
        self.set_up(&connection).map_err(|error| from_sqlite(&error))?;
        layout::create(&mut connection, APPLICATION_ID)?;
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

    /// Whether commits wait until they are on the disk, where the configuration has them do so. Those that do not wait
    /// are still in order: the next one that does takes them along, and a power cut before that undoes the last ones.
    pub(crate) fn sync_commits(&self, connection: &Connection, sync: bool) -> Result<()> {
        if self.config.synchronous == Synchronous::Off {
            return Ok(());
        }
        let synchronous = if sync { "full" } else { "normal" };
        connection.pragma_update(None, "synchronous", synchronous).map_err(|error| from_sqlite(&error))
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
        // One transaction: another process may be creating the tables right now.
        let moment = connection.unchecked_transaction()?;
        let id = moment.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let empty =
            moment.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
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
fn enter_wal(connection: &Connection, busy_timeout: Duration) -> Result<()> {
    let give_up = Instant::now() + busy_timeout;
    let mode = loop {
        let mode =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match mode.map_err(|error| from_sqlite(&error)) {
            // Entering WAL needs the file alone, and SQLite does not wait for that by itself: two processes that
            // start on a new file would otherwise trip over each other.
            Err(error) if error.is_retryable() && Instant::now() < give_up => thread::sleep(ENTER_WAL_PAUSE),
            mode => break mode?,
        }
    };
    match mode.as_str() {
        "wal" => Ok(()),
        mode => {
            let message =
                "the store's file system cannot share memory between processes; is it a network drive?";
            Err(Error::new(ErrorKind::FailedPrecondition, message).with("journal_mode", mode))
        }
    }
}

/// Creates the file with mode 0600 (SQLite gives the files beside it the same) unless it exists, and the directories
/// above it with 0700.
fn create_file(file: &Path) -> io::Result<()> {
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        create_directories(directory)?;
    }
    // POSIX locks belong to the process: closing any descriptor of the file drops the locks SQLite holds on it through
    // others. So it is not opened when it exists, and nobody else of this process gets past here before it is closed.
    static CREATING: Mutex<()> = Mutex::new(());
    let _creating = CREATING.lock();
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
