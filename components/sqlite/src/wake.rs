//! Waking others when something was committed: other components, other processes, without anybody looking now and then.
//!
//! Beside the file lies a directory `<file>.wake` with a Unix datagram socket for each listener and channel, named
//! `<channel>-<random>`. Whoever has committed something on a channel sends one byte to each of its sockets.
//! A datagram says nothing but "look": one that does not fit into a full queue may be dropped, because the queue still
//! holds one that is not answered yet. A socket nobody listens on any more, because its process was killed, refuses
//! and is removed by the next who rings.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};

use outrigger_component_api::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::failure::from_io;

/// What was changed. Listeners of one channel are not woken for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    Configuration,
    PubSub,
}

impl Channel {
    fn prefix(self) -> &'static str {
        match self {
            Self::Configuration => "configuration-",
            Self::PubSub => "pubsub-",
        }
    }
}

/// The bells of one file.
pub(crate) struct Bells {
    directory: PathBuf,
    /// The sockets of this process, as long as somebody listens.
    listening: Mutex<HashMap<Channel, Weak<Listener>>>,
}

impl Bells {
    pub(crate) fn new(file: &Path) -> Self {
        let mut directory = file.as_os_str().to_owned();
        directory.push(".wake");
        Self { directory: directory.into(), listening: Mutex::default() }
    }

    /// Hears everything that is rung after this returns.
    pub(crate) fn listen(&self, channel: Channel) -> Result<Ear> {
        let mut listening = self.listening.lock();
        let listener = match listening.get(&channel).and_then(Weak::upgrade) {
            Some(listener) => listener,
            None => {
                let listener = Listener::start(&self.directory, channel);
                let listener = Arc::new(listener.map_err(|error| from_io(&self.directory, &error))?);
                listening.insert(channel, Arc::downgrade(&listener));
                listener
            }
        };
        Ok(Ear { rung: listener.rung.subscribe(), _listener: listener })
    }

    /// Wakes everybody who listens. To be called after the commit.
    pub(crate) fn ring(&self, channel: Channel) {
        match self.try_ring(channel) {
            // Nobody has ever listened.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let directory = self.directory.display();
                tracing::warn!(%error, %directory, "other processes could not be woken");
            }
            Ok(()) => {}
        }
    }

    fn try_ring(&self, channel: Channel) -> io::Result<()> {
        let mut sender = None;
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if !name.as_encoded_bytes().starts_with(channel.prefix().as_bytes()) {
                continue;
            }
            if sender.is_none() {
                let new = UnixDatagram::unbound()?;
                new.set_nonblocking(true)?;
                sender = Some(new);
            }
            let Some(sender) = &sender else { continue };
            let sent = with_short_path(&self.directory, Path::new(&name), |path| sender.send_to(&[0], path));
            // Full, or gone meanwhile, or of a process that may not be reached: all the same to us.
            if sent.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                drop(fs::remove_file(self.directory.join(name)));
            }
        }
        Ok(())
    }
}

/// Somebody who listens. Keeps the process's socket open.
pub(crate) struct Ear {
    rung: watch::Receiver<()>,
    _listener: Arc<Listener>,
}

impl Ear {
    /// Waits for a ring since the last call, or since listening began. Dropping the future loses none.
    pub(crate) async fn rung(&mut self) -> Result<()> {
        self.rung.changed().await.map_err(|_| Error::internal("the thread that listens has ended"))
    }
}

/// A socket and the thread that waits at it.
struct Listener {
    path: PathBuf,
    socket: Arc<UnixDatagram>,
    rung: Arc<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(directory: &Path, channel: Channel) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let name = format!("{}{:016x}", channel.prefix(), fastrand::u64(..));
        // Between the birth of a socket's file and its first breath it refuses like a dead one: not under its name.
        let unborn = format!(".{name}");
        let socket = Arc::new(with_short_path(directory, Path::new(&unborn), UnixDatagram::bind)?);
        fs::rename(directory.join(unborn), directory.join(&name))?;
        let rung = Arc::new(watch::Sender::new(()));
        let (ear, told) = (Arc::clone(&socket), Arc::clone(&rung));
        let thread = Builder::new().name("sqlite-wake".to_owned()).spawn(move || hear(&ear, &told))?;
        Ok(Self { path: directory.join(name), socket, rung, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
        // The thread's wait ends with an end of file.
        let closed = self.socket.shutdown(std::net::Shutdown::Both);
        if closed.is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that listens ended by a panic");
        }
    }
}

fn hear(socket: &UnixDatagram, rung: &watch::Sender<()>) {
    while socket.recv(&mut [0; 1]).is_ok_and(|length| length > 0) {
        rung.send_replace(());
    }
}

/// A socket's path has some hundred bytes at most; through an open directory any place is near.
fn with_short_path<R>(
    directory: &Path,
    name: &Path,
    call: impl FnOnce(PathBuf) -> io::Result<R>,
) -> io::Result<R> {
    const LONGEST: usize = 100;
    let path = directory.join(name);
    if path.as_os_str().len() <= LONGEST || !cfg!(target_os = "linux") {
        return call(path);
    }
    let open = fs::File::open(directory)?;
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    call(Path::new(&through).join(name))
}
