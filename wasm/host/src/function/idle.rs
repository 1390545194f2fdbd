//! Instances that wait for their next call.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::instance::Instance;

/// How long one is kept without being called, and how long it lives at all.
const UNUSED: Duration = Duration::from_secs(1);
const OLDEST: Duration = Duration::from_secs(60);

/// Those of one version. The one that was used last is used next, so that the others can go.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    kept: Vec<Kept>,
    /// Somebody looks after them.
    tended: bool,
}

struct Kept {
    instance: Instance,
    since: Instant,
}

impl Idle {
    pub(crate) fn take(&self) -> Option<Instance> {
        let mut shelf = self.0.lock();
        while let Some(kept) = shelf.kept.pop() {
            if kept.instance.age() < OLDEST {
                return Some(kept.instance);
            }
        }
        None
    }

    /// One task looks after them while there are any.
    pub(crate) fn keep(self: &Arc<Self>, instance: Instance) {
        let mut shelf = self.0.lock();
        shelf.kept.push(Kept { instance, since: Instant::now() });
        if !std::mem::replace(&mut shelf.tended, true) {
            tokio::spawn(tend(Arc::downgrade(self)));
        }
    }

    /// Lets those go that nobody needed; whether any are left.
    fn sweep(&self) -> bool {
        let mut shelf = self.0.lock();
        let (kept, gone) = std::mem::take(&mut shelf.kept)
            .into_iter()
            .partition(|kept| kept.since.elapsed() < UNUSED && kept.instance.age() < OLDEST);
        shelf.kept = kept;
        shelf.tended = !shelf.kept.is_empty();
        let left = shelf.tended;
        drop(shelf);
        drop::<Vec<_>>(gone);
        left
    }
}

async fn tend(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(UNUSED / 2).await;
        match idle.upgrade() {
            Some(idle) if idle.sweep() => {}
            _ => return,
        }
    }
}
