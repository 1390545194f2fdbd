//! The socket by which this process hears the others, and the thread that waits at it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Channel, with_short_path};

/// How often it is seen to that the socket is still in its place: whatever clears directories away tells nobody.
const STILL_THERE: Duration = Duration::from_secs(60);
/// After a failure to hear or to take a place.
const PAUSE: Duration = Duration::from_secs(1);

/// Hears one channel for all of this process. Dropping it gives its place up.
pub(super) struct Listener {
    place: Arc<Place>,
    thread: Option<JoinHandle<()>>,
}

/// Where the others find this process.
struct Place {
    directory: PathBuf,
    channel: Channel,
    rung: watch::Sender<()>,
    door: Mutex<Door>,
}

/// What others knock at.
enum Door {
    Open { name: String, socket: Arc<UnixDatagram> },
    Closed,
}

impl Listener {
    pub(super) fn start(directory: &Path, channel: Channel) -> io::Result<Self> {
        Self::looking(directory, channel, STILL_THERE)
    }

    pub(super) fn looking(directory: &Path, channel: Channel, every: Duration) -> io::Result<Self> {
        let door = Door::open(directory, channel)?;
        let (directory, rung) = (directory.to_owned(), watch::Sender::new(()));
        let place = Arc::new(Place { directory, channel, rung, door: Mutex::new(door) });
        // From here on dropping it removes the socket.
        let mut listener = Self { place: Arc::clone(&place), thread: None };
        let thread = Builder::new().name("sqlite-wake".to_owned()).spawn(move || place.hear(every))?;
        listener.thread = Some(thread);
        Ok(listener)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.place.rung.subscribe()
    }

    /// Tells all of this process.
    pub(super) fn ring(&self) {
        self.place.rung.send_replace(());
    }

    /// Whether the socket has this name.
    pub(super) fn is_named(&self, file: &OsStr) -> bool {
        matches!(&*self.place.door.lock(), Door::Open { name, .. } if file == name.as_str())
    }

    /// Takes a new place if the old one is gone.
    pub(super) fn be_there(&self) -> io::Result<()> {
        self.place.be_there()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The thread's wait ends with an end of file.
        let left = std::mem::replace(&mut *self.place.door.lock(), Door::Closed);
        let closed = left.close(&self.place.directory);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Whoever cannot be told to end is not waited for.
            if closed.is_ok() && thread.join().is_err() {
                tracing::error!("the thread that listens ended by a panic");
            }
        }
    }
}

impl Place {
    /// Hears until the door is closed for good.
    fn hear(&self, every: Duration) {
        while let Some(socket) = self.socket() {
            let heard = socket.set_read_timeout(Some(every)).and_then(|()| self.hear_at(&socket));
            if let Err(error) = heard.and_then(|()| self.be_there()) {
                let directory = self.directory.display();
                tracing::warn!(%error, %directory, "other processes are not heard at the moment");
                thread::park_timeout(PAUSE);
            }
        }
    }

    fn socket(&self) -> Option<Arc<UnixDatagram>> {
        match &*self.door.lock() {
            Door::Open { socket, .. } => Some(Arc::clone(socket)),
            Door::Closed => None,
        }
    }

    /// Hears at one socket until it is closed, or nobody has knocked for long.
    fn hear_at(&self, socket: &UnixDatagram) -> io::Result<()> {
        loop {
            match socket.recv(&mut [0; 1]) {
                Ok(0) => return Ok(()),
                Ok(_) => self.rung.send_replace(()),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
    }

    fn be_there(&self) -> io::Result<()> {
        let mut door = self.door.lock();
        let Door::Open { name, .. } = &*door else { return Ok(()) };
        if fs::exists(self.directory.join(name))? {
            return Ok(());
        }
        let old = std::mem::replace(&mut *door, Door::open(&self.directory, self.channel)?);
        drop(door);
        // Somebody may have knocked where nobody was.
        self.rung.send_replace(());
        old.close(&self.directory)
    }
}

impl Door {
    fn open(directory: &Path, channel: Channel) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let name = format!("{}{:016x}", channel.prefix(), fastrand::u64(..));
        // Between the birth of a socket's file and its first breath it refuses like a dead one: not under its name.
        let unborn = format!(".{name}");
        let socket = Arc::new(with_short_path(directory, Path::new(&unborn), UnixDatagram::bind)?);
        fs::rename(directory.join(unborn), directory.join(&name))?;
        Ok(Self::Open { name, socket })
    }

    /// Whoever waits at it meets the end of file.
    fn close(self, directory: &Path) -> io::Result<()> {
        let Self::Open { name, socket } = self else { return Ok(()) };
        drop(fs::remove_file(directory.join(name)));
        socket.shutdown(Shutdown::Both)
    }
}
