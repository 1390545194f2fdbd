//! The one file that names SQLite's errors and turns them into ours.

use std::io;
use std::path::Path;

use outrigger_component_api::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// What an SQLite error means to a caller. Its own text becomes the source, for the log.
pub(crate) fn from_sqlite(error: &rusqlite::Error) -> Error {
    let (kind, transient, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => (
            ErrorKind::Unavailable,
            true,
            "the store is locked: another process has been writing for too long",
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Unavailable,
            false,
            "the store is full: the disk has no room left or maxSizeBytes is reached",
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            ErrorKind::DataLoss,
            false,
            "the store's file is damaged; restore it from a copy or move it away",
        ),
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::FailedPrecondition, false, "path names a file that is not an SQLite database")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => (
            ErrorKind::Unavailable,
            false,
            "the store's file cannot be opened for writing; check its permissions",
        ),
        Some(ErrorCode::SystemIoFailure) => {
            (ErrorKind::Unavailable, false, "the store's disk does not read or write")
        }
        Some(ErrorCode::OutOfMemory) => (ErrorKind::Unavailable, true, "no memory left for the store"),
        Some(ErrorCode::TooBig) => (ErrorKind::InvalidArgument, false, "the value is too big for the store"),
        _ => (ErrorKind::Internal, false, "the store failed in a way it should not"),
    };
    let ours = Error::new(kind, message).with_source(error.to_string());
    if transient { ours } else { ours.permanent() }
}

/// A file or directory that cannot be made.
pub(crate) fn from_io(path: &Path, error: &io::Error) -> Error {
    Error::unavailable("the store's file cannot be created; check the directory's permissions and space")
        .with_source(format!("{}: {error}", path.display()))
        .permanent()
}
