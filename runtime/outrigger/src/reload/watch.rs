//! Watching the configuration's files. Folders are watched, not files: editors replace a file, and Kubernetes swaps a
//! link two folders up, so what counts is whether the content differs once things have been quiet for a moment.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Long enough for an editor to finish, short enough to seem immediate.
const QUIET: Duration = Duration::from_millis(100);

/// A watch on files. Without files it never fires and costs nothing.
pub struct Watch {
    files: Vec<PathBuf>,
    seen: u64,
    events: mpsc::Receiver<()>,
    /// Held to be dropped: it ends the watching thread.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// `seen` is the [`digest`] of what is in force. If the files differ by now, that is the first change.
    pub fn new(files: &[PathBuf], seen: u64) -> notify::Result<Self> {
        // One event is as good as many.
        let (tell, events) = mpsc::channel(1);
        let mut watcher = None;
        if !files.is_empty() {
            let first = tell.clone();
            let notify = move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| !event.kind.is_access()) {
                    let _full_is_enough = tell.try_send(());
                }
            };
            let mut watching = notify::recommended_watcher(notify)?;
            for folder in files.iter().flat_map(|file| folders(file)).collect::<BTreeSet<_>>() {
                watching.watch(&folder, RecursiveMode::NonRecursive)?;
            }
            watcher = Some(watching);
            if digest(files) != seen {
                first.try_send(()).ok();
            }
        }
        Ok(Self { files: files.to_vec(), seen, events, _watcher: watcher })
    }

    /// Completes when the content of a file has changed and stayed so for a moment. May be dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            if self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            while tokio::time::timeout(QUIET, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
            let now = digest(&self.files);
            if std::mem::replace(&mut self.seen, now) != now {
                return;
            }
        }
    }
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
pub fn digest(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fires_for_content_and_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&file), digest(std::slice::from_ref(&file))).unwrap();
        let quiet = Duration::from_millis(400);

        std::fs::write(dir.path().join("other"), "x").unwrap();
        std::fs::write(&file, "one").unwrap();
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "the content is the same");

        std::fs::write(&file, "two").unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("written in place");

        std::fs::write(dir.path().join("new"), "three").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("replaced");
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err(), "told once");
    }
}
