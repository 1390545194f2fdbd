//! Rings that failed, and the thread that makes up for them. There is none as long as everything works.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Channel, Others};

/// Between attempts: the first pause, doubled up to the longest.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Owns the thread. Dropping it gives up what is still owed.
pub(super) struct Again {
    debt: Arc<Debt>,
}

/// What the thread works off.
struct Debt {
    others: Arc<Others>,
    owed: Mutex<Owed>,
}

#[derive(Default)]
struct Owed {
    channels: HashSet<Channel>,
    /// Runs as long as something is owed.
    thread: Option<JoinHandle<()>>,
    /// Nobody is there any more who owes anything.
    closed: bool,
}

impl Again {
    pub(super) fn new(others: Arc<Others>) -> Self {
        Self { debt: Arc::new(Debt { others, owed: Mutex::default() }) }
    }

    /// Has a channel rung again until it could be.
    pub(super) fn owe(&self, channel: Channel, why: &io::Error) {
        let mut owed = self.debt.owed.lock();
        if owed.channels.insert(channel) {
            let directory = self.debt.others.directory.display();
            tracing::warn!(error = %why, %directory, "other processes could not be woken; trying again");
        }
        if owed.thread.is_none() {
            let debt = Arc::clone(&self.debt);
            match Builder::new().name("sqlite-ring".to_owned()).spawn(move || debt.work_off()) {
                Ok(thread) => owed.thread = Some(thread),
                Err(error) => tracing::error!(%error, "no thread can be started to wake other processes"),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.debt.owed.lock().thread.is_none()
    }

    /// A channel was rung meanwhile.
    pub(super) fn settled(&self, channel: Channel) {
        self.debt.owed.lock().channels.remove(&channel);
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let thread = {
            let mut owed = self.debt.owed.lock();
            owed.closed = true;
            owed.thread.take()
        };
        if let Some(thread) = thread {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that wakes other processes ended by a panic");
            }
        }
    }
}

impl Debt {
    fn work_off(&self) {
        let mut pause = FIRST;
        while let Some(channels) = self.left() {
            thread::park_timeout(pause);
            pause = LONGEST.min(pause * 2);
            for channel in channels {
                // Removed first: what fails from now on is owed anew.
                if self.owed.lock().channels.remove(&channel) && self.others.ring(channel, None).is_err() {
                    self.owed.lock().channels.insert(channel);
                }
            }
        }
    }

    /// What is still owed. With `None` the thread is as good as ended.
    fn left(&self) -> Option<Vec<Channel>> {
        let mut owed = self.owed.lock();
        if owed.closed || owed.channels.is_empty() {
            owed.thread = None;
            return None;
        }
        Some(owed.channels.iter().copied().collect())
    }
}
