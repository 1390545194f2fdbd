//! Waking others when something was committed: other components, other processes, without anybody looking now and then.
//!
//! Who listens in this process is told directly. For the others a directory `<file>.wake` lies beside the file, with a
//! Unix datagram socket for each listener and channel, named `<channel>-<random>`. Whoever has committed something on a
//! channel sends one byte to each of its sockets. A datagram says nothing but "look": one that does not fit into a full
//! queue may be dropped, because the queue still holds one that is not answered yet. A socket nobody listens on any
//! more, because its process was killed, refuses and is removed by the next who rings. What could not be rung, as there
//! was no descriptor left to do it with, is rung again until it could.

mod again;
mod listener;

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use outrigger_component_api::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::failure::from_io;
use again::Again;
use listener::Listener;

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
    others: Arc<Others>,
    /// Who listens in this process, as long as somebody does.
    listening: Mutex<HashMap<Channel, Weak<Listener>>>,
    again: Again,
}

impl Bells {
    pub(crate) fn new(file: &Path) -> Self {
        let mut directory = file.as_os_str().to_owned();
        directory.push(".wake");
        let others = Arc::new(Others { directory: directory.into() });
        Self { again: Again::new(Arc::clone(&others)), others, listening: Mutex::default() }
    }

    /// Hears everything that is rung after this returns.
    pub(crate) fn listen(&self, channel: Channel) -> Result<Ear> {
        let directory = &self.others.directory;
        let mut listening = self.listening.lock();
        let listener = match listening.get(&channel).and_then(Weak::upgrade) {
            // Somebody may have cleared the directory away.
            Some(listener) => listener.be_there().map(|()| listener),
            None => Listener::start(directory, channel).map(Arc::new),
        };
        let listener = listener.map_err(|error| from_io(directory, &error))?;
        listening.insert(channel, Arc::downgrade(&listener));
        Ok(Ear { rung: listener.subscribe(), _listener: listener })
    }

    /// Wakes everybody who listens. To be called after the commit.
    pub(crate) fn ring(&self, channel: Channel) {
        let own = self.listening.lock().get(&channel).and_then(Weak::upgrade);
        // First, as nothing can be in its way.
        if let Some(own) = &own {
            own.ring();
        }
        match self.others.ring(channel, own.as_deref()) {
            Ok(()) => self.again.settled(channel),
            Err(error) => self.again.owe(channel, &error),
        }
    }
}

/// Whoever listens in other processes.
struct Others {
    directory: PathBuf,
}

impl Others {
    /// Sends to each socket of the channel but this process's own.
    fn ring(&self, channel: Channel, own: Option<&Listener>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            // Nobody has ever listened.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut sender = None;
        let mut missed = Ok(());
        for entry in entries {
            let name = entry?.file_name();
            let is_meant = name.as_encoded_bytes().starts_with(channel.prefix().as_bytes());
            if !is_meant || own.is_some_and(|own| own.is_named(&name)) {
                continue;
            }
            let sender = match &mut sender {
                Some(sender) => sender,
                none => none.insert(sender_of_its_own()?),
            };
            // One that cannot be reached is not in the way of the next.
            missed = missed.and(self.send(sender, Path::new(&name)));
        }
        missed
    }

    fn send(&self, sender: &UnixDatagram, name: &Path) -> io::Result<()> {
        let send = || with_short_path(&self.directory, name, |path| sender.send_to(&[0], path));
        match uninterrupted(send) {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                // It holds one that is not answered yet.
                ErrorKind::WouldBlock => Ok(()),
                // Gone meanwhile, or of a process that may not be reached.
                ErrorKind::NotFound | ErrorKind::PermissionDenied => Ok(()),
                ErrorKind::ConnectionRefused => {
                    drop(fs::remove_file(self.directory.join(name)));
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }
}

fn sender_of_its_own() -> io::Result<UnixDatagram> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    Ok(sender)
}

/// Does it again as long as only a signal was in the way.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
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

#[cfg(test)]
mod tests;
