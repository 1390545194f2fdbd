//! A file on its way into its place.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use outrigger_component_api::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Mode, OFlags, fsync, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::folder::{Root, look, modified, wrong};
use super::name::{Name, UPLOAD};
use super::options::PutOptions;

/// Nobody pauses longer within one file.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// A file beside its place, under a name of the store's own. Dropped before it is finished it is gone, and nothing has
/// changed.
pub(super) struct Upload {
    directory: OwnedFd,
    temporary: String,
    file: File,
    exclusive: bool,
}

impl Upload {
    /// Begins one. Where it is to end up is looked at before anything is sent.
    pub(super) fn begin(root: &Root, name: &Name, options: PutOptions) -> Result<Self> {
        let (parts, leaf) = name.split();
        let directory = root.make_directory(parts)?;
        match look(&directory, leaf) {
            Ok(_) if options.exclusive => return Err(exists()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = format!("{UPLOAD}{:032x}", fastrand::u128(..));
        let file = openat(&directory, &temporary, flags, Mode::from_raw_mode(options.mode))
            .map_err(|errno| wrong(&directory, &temporary, errno))?;
        Ok(Self { directory, temporary, file: File::from(file), exclusive: options.exclusive })
    }

    pub(super) fn write(mut self, piece: &[u8]) -> Result<Self> {
        self.file.write_all(piece).map_err(|error| self.failed(&error))?;
        Ok(self)
    }

    /// Moves it into its place: on disk first, then by name, then the name on disk.
    pub(super) fn finish(self, name: &Name) -> Result<()> {
        let (_, leaf) = name.split();
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        let moved = if self.exclusive {
            linkat(&self.directory, &self.temporary, &self.directory, leaf, AtFlags::empty())
        } else {
            renameat(&self.directory, &self.temporary, &self.directory, leaf)
        };
        let kept = moved.and_then(|()| fsync(&self.directory));
        kept.map_err(|errno| wrong(&self.directory, leaf, errno))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        wrong(&self.directory, &self.temporary, errno)
    }
}

impl Drop for Upload {
    /// Not there any more is what it should be: it was moved.
    fn drop(&mut self) {
        let _moved_or_gone = unlinkat(&self.directory, &self.temporary, AtFlags::empty());
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::Exists, "there is such a file already")
}

/// Removes what a process that died left behind, if this is that.
pub(super) fn clear(directory: &OwnedFd, name: &str) {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let age = stat.ok().and_then(|stat| SystemTime::now().duration_since(modified(&stat)?).ok());
    if age.is_some_and(|age| age > ABANDONED) {
        let _another_cleared_it = unlinkat(directory, name, AtFlags::empty());
    }
}
