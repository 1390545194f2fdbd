//! Walking down from the root without following links, and what is done where the walk ends.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use outrigger_component_api::{Error, ErrorKind, FileInfo, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fsync, mkdirat, open as open_path, openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::name::Name;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory everything is under. It is opened anew for every walk, so that one that was replaced (a volume
/// mounted again) is found.
pub(super) struct Root {
    path: PathBuf,
}

impl Root {
    /// The directory, which is made if it is missing.
    pub(super) fn make(path: PathBuf) -> Result<Self> {
        let unavailable = |error: std::io::Error| {
            Error::unavailable("rootPath cannot be made").with("rootPath", path.display()).with_source(error)
        };
        std::fs::create_dir_all(&path).map_err(unavailable)?;
        let root = Self { path };
        root.open()?;
        Ok(root)
    }

    /// Where the operator made everything the root, a name that begins with it is under it.
    pub(super) fn strip<'n>(&self, name: &'n str) -> &'n str {
        if self.path.as_os_str() == "/" { name.strip_prefix('/').unwrap_or(name) } else { name }
    }

    pub(super) fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_path(&self.path, flags, Mode::empty()).map_err(|errno| {
            Error::unavailable("rootPath cannot be opened")
                .with("rootPath", self.path.display())
                .with_source(errno)
        })
    }

    /// The directory at the end of these parts.
    pub(super) fn directory(&self, parts: &[String]) -> Result<OwnedFd> {
        parts.iter().try_fold(self.open()?, |parent, part| {
            enter(&parent, part).map_err(|errno| wrong(&parent, part, errno))
        })
    }

    /// The same, where those that are missing are made.
    pub(super) fn make_directory(&self, parts: &[String]) -> Result<OwnedFd> {
        parts.iter().try_fold(self.open()?, |parent, part| {
            enter_or_make(&parent, part).map_err(|errno| wrong(&parent, part, errno))
        })
    }
}

fn enter(parent: &OwnedFd, part: &str) -> Result<OwnedFd, Errno> {
    openat(parent, part, DIRECTORY, Mode::empty())
}

fn enter_or_make(parent: &OwnedFd, part: &str) -> Result<OwnedFd, Errno> {
    match enter(parent, part) {
        Err(Errno::NOENT) => {
            match mkdirat(parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => fsync(parent)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            enter(parent, part)
        }
        entered => entered,
    }
}

/// Opens a file for reading. Not waiting while opening: a pipe would.
pub(super) fn open(root: &Root, name: &Name) -> Result<File> {
    let (parts, leaf) = name.split();
    let parent = root.directory(parts)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&parent, leaf, flags, Mode::empty()).map_err(|errno| wrong(&parent, leaf, errno))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| wrong(&parent, leaf, errno))?;
    regular(&stat)?;
    Ok(File::from(file))
}

pub(super) fn stat(root: &Root, name: &Name) -> Result<FileInfo> {
    let (parts, leaf) = name.split();
    let parent = root.directory(parts)?;
    let stat = look(&parent, leaf)?;
    Ok(info(leaf, &stat))
}

pub(super) fn remove(root: &Root, name: &Name) -> Result<()> {
    let (parts, leaf) = name.split();
    let parent = root.directory(parts)?;
    look(&parent, leaf)?;
    unlinkat(&parent, leaf, AtFlags::empty()).map_err(|errno| wrong(&parent, leaf, errno))?;
    fsync(&parent).map_err(|errno| wrong(&parent, leaf, errno))
}

/// What a name in a directory is, if it is a file.
pub(super) fn look(parent: &OwnedFd, leaf: &str) -> Result<Stat> {
    let stat = statat(parent, leaf, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| wrong(parent, leaf, errno))?;
    regular(&stat)?;
    Ok(stat)
}

fn regular(stat: &Stat) -> Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(Error::invalid(LINK)),
        FileType::Directory => Err(Error::invalid("it is a directory")),
        _ => Err(Error::invalid("it is neither a file nor a directory")),
    }
}

pub(super) fn info(name: &str, stat: &Stat) -> FileInfo {
    let mode = format!("{:04o}", stat.st_mode & 0o777);
    FileInfo {
        name: name.to_owned(),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: modified(stat),
        metadata: [("FileMode".to_owned(), mode)].into(),
    }
}

pub(super) fn modified(stat: &Stat) -> Option<SystemTime> {
    let seconds = u64::try_from(stat.st_mtime).ok()?;
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

const LINK: &str = "a part of it is a link, and links are not followed";

/// Why a step failed. Paths of the host stay out of it.
pub(super) fn wrong(parent: &OwnedFd, part: &str, errno: Errno) -> Error {
    let error = match errno {
        Errno::NOENT => Error::new(ErrorKind::NotFound, "there is no such file"),
        Errno::LOOP | Errno::MLINK => Error::invalid(LINK),
        Errno::NOTDIR if is_link(parent, part) => Error::invalid(LINK),
        Errno::NOTDIR => Error::invalid("a part of it is a file, where it would be a directory"),
        Errno::ISDIR => Error::invalid("it is a directory"),
        Errno::NAMETOOLONG => Error::invalid("a part of it is longer than a file's name can be"),
        Errno::EXIST => Error::new(ErrorKind::Exists, "there is such a file already"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            Error::new(ErrorKind::PermissionDenied, "the sidecar's user may not do that there")
        }
        Errno::NOSPC | Errno::DQUOT => Error::unavailable("there is no space left").permanent(),
        Errno::MFILE | Errno::NFILE => Error::unavailable("too many files are open"),
        _ => Error::internal("the file system refused"),
    };
    error.with_source(errno)
}

fn is_link(parent: &OwnedFd, part: &str) -> bool {
    statat(parent, part, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}
