//! Watching the configuration's files. Folders are watched, not files: editors replace a file, and Kubernetes swaps a
//! link two folders up, so what counts is whether the content differs once things have been quiet for a moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

/// Long enough for an editor to finish, short enough to seem immediate.
const QUIET: Duration = Duration::from_millis(100);

/// What each file holds.
pub type Digest = BTreeMap<PathBuf, u64>;

/// A watch on files. Without files it never fires and costs nothing.
pub struct Watch {
    /// Which files; they change with the configuration.
    files: watch::Receiver<Vec<PathBuf>>,
    seen: Digest,
    events: mpsc::Receiver<()>,
    tell: mpsc::Sender<()>,
    /// Something has happened and has not been looked at.
    pending: bool,
    /// Held to be dropped: it ends the watching thread.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// `seen` is the [`digest`] of what is in force. If files in it differ by now, that is the first change.
    pub fn new(files: watch::Receiver<Vec<PathBuf>>, seen: Digest) -> notify::Result<Self> {
        // One event is as good as many.
        let (tell, events) = mpsc::channel(1);
        let mut watch = Self { files, seen, events, tell, pending: false, _watcher: None };
        watch.follow()?;
        Ok(watch)
    }

    /// The files of somebody who wants none watched.
    pub fn nothing() -> watch::Receiver<Vec<PathBuf>> {
        watch::channel(Vec::new()).1
    }

    /// Completes when the content of a file has changed and stayed so for a moment. May be dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = std::future::ready(()), if self.pending => {}
                // Never ends, as we hold a sender.
                _event = self.events.recv() => self.pending = true,
                Ok(()) = self.files.changed() => {
                    if let Err(error) = self.follow() {
                        tracing::warn!(%error, "files of the configuration cannot be watched");
                    }
                    continue;
                }
            }
            while tokio::time::timeout(QUIET, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
            let now = digest(&self.files.borrow());
            let differs = now != self.seen;
            (self.seen, self.pending) = (now, false);
            if differs {
                return;
            }
        }
    }

    /// Watches the files there are now. Those it knew already keep what was seen of them.
    fn follow(&mut self) -> notify::Result<()> {
        let files = self.files.borrow_and_update().clone();
        // Watched before it is read: what happens in between is told twice rather than never.
        self._watcher = if files.is_empty() { None } else { Some(watcher(&files, self.tell.clone())?) };
        let now = digest(&files);
        let seen = |file: &PathBuf, new: u64| self.seen.get(file).copied().unwrap_or(new);
        self.seen = now.iter().map(|(file, new)| (file.clone(), seen(file, *new))).collect();
        if self.seen != now {
            self.tell.try_send(()).ok();
        }
        Ok(())
    }
}

/// A watch on whatever happens in one folder.
pub struct FolderWatch {
    events: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl FolderWatch {
    pub fn new(folder: &Path) -> notify::Result<Self> {
        let (tell, events) = mpsc::channel(1);
        Ok(Self { events, _watcher: watcher_of([folder.to_owned()], tell)? })
    }

    /// Completes when something has happened and nothing more for a moment, or for long enough. May be dropped and
    /// called again.
    pub async fn changed(&mut self) {
        /// Somebody who never stops writing does not hold up the others.
        const LONG: Duration = Duration::from_millis(800);
        if self.events.recv().await.is_none() {
            // The watching thread is gone, and with it all there is to be told.
            std::future::pending::<()>().await;
        }
        let quiet = async {
            while tokio::time::timeout(QUIET, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
        };
        tokio::time::timeout(LONG, quiet).await.ok();
    }
}

fn watcher(files: &[PathBuf], tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    watcher_of(files.iter().flat_map(|file| folders(file)).collect::<BTreeSet<_>>(), tell)
}

fn watcher_of(
    folders: impl IntoIterator<Item = PathBuf>,
    tell: mpsc::Sender<()>,
) -> notify::Result<RecommendedWatcher> {
    let notify = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _full_is_enough = tell.try_send(());
        }
    };
    let mut watching = notify::recommended_watcher(notify)?;
    for folder in folders {
        watching.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watching)
}

/// The folder the file is named in, and the one it really lies in.
fn folders(file: &Path) -> Vec<PathBuf> {
    let parent = |file: &Path| {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty());
        folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
    };
    std::iter::once(parent(file)).chain(file.canonicalize().ok().map(|real| parent(&real))).collect()
}

/// What the files hold. A file that cannot be read differs from every one that can.
pub fn digest(files: &[PathBuf]) -> Digest {
    let content = |file: &PathBuf| {
        let mut hasher = DefaultHasher::new();
        std::fs::read(file).ok().hash(&mut hasher);
        hasher.finish()
    };
    files.iter().map(|file| (file.clone(), content(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fires_for_content_and_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let (files, wanted) = watch::channel(vec![file.clone()]);
        let mut watch = Watch::new(wanted, digest(std::slice::from_ref(&file))).unwrap();
        let quiet = Duration::from_millis(400);

        std::fs::write(dir.path().join("other"), "x").unwrap();
        std::fs::write(&file, "one").unwrap();
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "the content is the same");

        std::fs::write(&file, "two").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("written in place");

        std::fs::write(dir.path().join("new"), "three").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("replaced");
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "told once");

        // Another file joins, in another folder.
        let elsewhere = tempfile::tempdir().unwrap();
        let secrets = elsewhere.path().join("secrets.json");
        std::fs::write(&secrets, "one").unwrap();
        files.send(vec![file.clone(), secrets.clone()]).unwrap();
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "to join is no change");
        std::fs::write(&secrets, "two").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("the one that joined");
        files.send(vec![file.clone()]).unwrap();
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "nor is to leave");
        std::fs::write(&secrets, "three").unwrap();
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "nobody asked for it");
        std::fs::write(&file, "four").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("the one that stays");
    }
}
