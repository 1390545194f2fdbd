//! Changes for those who cannot stay for a watch: each question waits for what has changed since the one before.
//!
//! A store that says where it is in its history is asked from there on. Where one does not, what the items were is
//! remembered in short, and compared.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationItem as Item, Error, Result, Revision, Selector,
};
use tokio::time::{Instant, timeout_at};

use super::{Configuration, Update};
use crate::caller::Caller;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// As they are now. All that are selected where it is not known which of them changed.
    pub items: Vec<Item>,
    /// Keys that have no item any more.
    pub gone: Vec<String>,
    /// Goes into the next question, also when nothing has changed.
    pub since: String,
}

/// Where the question before ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Since {
    /// There was none.
    Now,
    Revision(Revision),
    /// What the items looked like.
    Digest(u64),
}

impl Configuration {
    /// Waits for changes to the items selected since an earlier answer's [`Polled::since`], or from now on where that is
    /// empty; not longer than `wait`. Changes between two questions are not missed.
    ///
    /// # Errors
    /// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument) for a `since` that was never given out.
    pub async fn poll(
        &self,
        caller: &Caller<'_>,
        store: &str,
        selector: Selector,
        since: &str,
        wait: Duration,
    ) -> Result<Polled> {
        let end = Instant::now() + wait;
        let since = Since::parse(since)?;
        let mut watch = self.watch(caller, store, selector, since.revision()).await?;
        let selector = watch.selector().clone();
        // After the watch has begun, so that nothing is missed in between.
        let before = match since {
            Since::Revision(_) => Vec::new(),
            Since::Now | Since::Digest(_) => self.get(caller, store, selector.clone()).await?,
        };
        if matches!(since, Since::Digest(digest) if digest != digest_of(&before)) {
            return Ok(Polled::all(before, &selector));
        }
        while let Ok(update) = timeout_at(end, watch.next()).await {
            match update? {
                Update::Resync { items, gone } => return Ok(Polled::now(items, gone)),
                Update::Changed { changes, revision: Some(revision) } => {
                    return Ok(Polled::of(changes, &revision));
                }
                Update::Changed { revision: None, .. } => {
                    let items = self.get(caller, store, selector.clone()).await?;
                    if digest_of(&items) != digest_of(&before) {
                        return Ok(Polled::between(&before, items));
                    }
                }
            }
        }
        let since = if let Since::Revision(_) = since { since } else { Since::Digest(digest_of(&before)) };
        Ok(Polled { items: Vec::new(), gone: Vec::new(), since: since.text() })
    }
}

impl Polled {
    /// It is not known which.
    fn all(items: Vec<Item>, selector: &Selector) -> Self {
        let is_gone = |key: &&String| !items.iter().any(|item| item.key == **key);
        let gone = selector.keys.iter().filter(is_gone).cloned().collect();
        Self::now(items, gone)
    }

    fn now(items: Vec<Item>, gone: Vec<String>) -> Self {
        Self { since: Since::Digest(digest_of(&items)).text(), items, gone }
    }

    fn of(changes: Vec<Change>, revision: &Revision) -> Self {
        let (mut items, mut gone) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Set(item) => items.push(item),
                Change::Deleted(item) => gone.push(item.key),
            }
        }
        Self { items, gone, since: Since::Revision(revision.clone()).text() }
    }

    fn between(before: &[Item], after: Vec<Item>) -> Self {
        let is_gone = |item: &&Item| !after.iter().any(|now| now.key == item.key);
        let gone = before.iter().filter(is_gone).map(|item| item.key.clone()).collect();
        let since = Since::Digest(digest_of(&after)).text();
        let items = after.into_iter().filter(|item| !before.contains(item)).collect();
        Self { items, gone, since }
    }
}

impl Since {
    fn parse(text: &str) -> Result<Self> {
        let malformed = || Error::invalid("revision is malformed: it is not one that was given out here");
        match text.split_at_checked(1) {
            None if text.is_empty() => Ok(Self::Now),
            Some(("r", revision)) => Ok(Self::Revision(Revision(revision.to_owned()))),
            Some(("s", digest)) => u64::from_str_radix(digest, 16).map(Self::Digest).map_err(|_| malformed()),
            _ => Err(malformed()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Now => String::new(),
            Self::Revision(Revision(revision)) => format!("r{revision}"),
            Self::Digest(digest) => format!("s{digest:016x}"),
        }
    }

    fn revision(&self) -> Option<Revision> {
        if let Self::Revision(revision) = self { Some(revision.clone()) } else { None }
    }
}

/// Another build may come to another one: then all items are told once more.
fn digest_of(items: &[Item]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for Item { key, content, tags, version, .. } in items {
        (key, content, tags, version).hash(&mut hasher);
    }
    hasher.finish()
}
