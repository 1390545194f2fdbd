//! The task that follows the folder.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use tokio::sync::Notify;

use super::{Managed, folder::Folder};
use crate::reload::watch::FolderWatch;

/// Makes the folder if it is not there, and follows it from now on. Whoever called looks into it first.
pub(super) fn open(managed: &Arc<Managed>, path: &Path) -> Option<Folder> {
    let folder = match Folder::open(path) {
        Ok(folder) => folder,
        Err(error) => {
            tracing::error!(folder = %path.display(), %error, "the folder of functions cannot be used");
            return None;
        }
    };
    match FolderWatch::new(path) {
        Ok(watch) => {
            let task =
                managed.control.spawn(follow(Arc::downgrade(managed), Arc::clone(&managed.nudge), watch));
            *managed.watching.lock() = Some(task);
        }
        Err(error) => {
            tracing::error!(folder = %path.display(), %error, "the folder of functions cannot be watched");
        }
    }
    Some(folder)
}

/// Owned by `Managed`, which aborts it; it does not keep what owns it.
async fn follow(managed: Weak<Managed>, nudge: Arc<Notify>, mut watch: FolderWatch) {
    loop {
        tokio::select! {
            () = watch.changed() => {}
            () = nudge.notified() => {}
        }
        let Some(managed) = managed.upgrade() else { return };
        if let Some(folder) = managed.folder.lock().await.as_mut() {
            folder.scan(&managed.blocks.functions).await;
        }
    }
}
