//! The task that follows the folder.

use std::{
    path::Path,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{Managed, folder::Folder, scan::scan};
use crate::reload::watch::FolderWatch;

/// When those for which there was no room are looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// Makes the folder if it is not there, and follows it from now on. The receiver is told when it was looked through for
/// the first time.
pub(super) fn open(managed: &Arc<Managed>, path: &Path) -> Option<(Folder, oneshot::Receiver<()>)> {
    let folder = match Folder::open(path) {
        Ok(folder) => folder,
        Err(error) => {
            tracing::error!(folder = %path.display(), %error, "the folder of functions cannot be used");
            return None;
        }
    };
    let watch = FolderWatch::new(path).inspect_err(|error| {
        tracing::error!(folder = %path.display(), %error, "the folder of functions cannot be watched");
    });
    let (done, looked) = oneshot::channel();
    let task = follow(Arc::downgrade(managed), Arc::clone(&managed.nudge), watch.ok(), done);
    *managed.watching.lock() = Some(managed.control.spawn(task));
    Some((folder, looked))
}

/// Owned by `Managed`, which aborts it; it does not keep what owns it.
async fn follow(
    managed: Weak<Managed>,
    nudge: Arc<Notify>,
    mut watch: Option<FolderWatch>,
    done: oneshot::Sender<()>,
) {
    let mut looked = look(&managed).await;
    // Whoever asked may have lost patience.
    done.send(()).ok();
    while let Some(is_unfinished) = looked {
        tokio::select! {
            () = changed(watch.as_mut()) => {}
            () = nudge.notified() => {}
            () = tokio::time::sleep(AGAIN), if is_unfinished => {}
        }
        looked = look(&managed).await;
    }
}

/// Whether some have to be looked at again, as long as there is somebody to look for.
async fn look(managed: &Weak<Managed>) -> Option<bool> {
    let managed = managed.upgrade()?;
    let is_unfinished = scan(&managed).await;
    managed.is_arriving.store(false, Relaxed);
    Some(is_unfinished)
}

async fn changed(watch: Option<&mut FolderWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
