//! The configuration block: items an operator changes and the application watches.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Component, Error, Result};

/// A place configuration items are read from, watched, and where the technology allows it written.
///
/// An item is found by application, group, label and key, each compared exactly: `a` never stands for `ab` or `a/b`.
/// An empty group or label is the store's default for it. A store without
/// [`levels`](ConfigurationCapabilities::levels) serves one application, whatever it is called, and answers
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) to a group or label other than empty.
#[async_trait]
pub trait ConfigurationStore: Component {
    /// What this store honours. The suite holds it to its word.
    fn capabilities(&self) -> ConfigurationCapabilities {
        ConfigurationCapabilities::default()
    }

    /// The items selected, each key in the order asked, or by key when all are asked for. A key that has no item is
    /// left out.
    async fn get(&self, selector: &Selector) -> Result<Vec<Item>>;

    /// Writes items, each replacing what was under its key, tags included. What metadata an item has is up to the
    /// store; metadata of items written is ignored. Tags without
    /// [`tags`](ConfigurationCapabilities::tags) are [`Unsupported`](crate::ErrorKind::Unsupported).
    async fn save(&self, _app_id: &str, _items: Vec<Item>) -> Result<()> {
        Err(Error::unsupported("writing configuration"))
    }

    /// Removes exactly the keys selected; a missing one is a success. No keys at all removes nothing.
    async fn delete(&self, _selector: &Selector) -> Result<()> {
        Err(Error::unsupported("deleting configuration"))
    }

    /// Changes to the items selected, beginning after `from`, or with the next one. When this returns, every change
    /// made later will be seen, those of one key in the order they were made. Each watch is on its own: ending one
    /// leaves the others alone. A revision this store could not have given out is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and any revision is where the store is not
    /// [`resumable`](ConfigurationCapabilities::resumable).
    async fn watch(&self, _selector: &Selector, _from: Option<Revision>) -> Result<Box<dyn Watch>> {
        Err(Error::unsupported("watching configuration"))
    }
}

/// What a store honours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigurationCapabilities {
    /// `save` and `delete` work.
    pub writable: bool,
    /// `watch` works.
    pub watchable: bool,
    /// `watch` with a revision goes on after it, or says that it cannot by [`Event::Compacted`].
    pub resumable: bool,
    /// A watch sees each write by itself. Without it, writes of one key that follow each other closely may be seen as
    /// the last of them.
    pub every_change: bool,
    /// Applications, groups and labels keep items apart.
    pub levels: bool,
    /// Tags are kept with the item.
    pub tags: bool,
}

/// Which items are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The application the items belong to.
    pub app_id: String,
    pub group: String,
    pub label: String,
    /// The keys; none is all of them.
    pub keys: Vec<String>,
    /// What the caller sent along; stores ignore what they do not know.
    pub metadata: BTreeMap<String, String>,
}

impl Selector {
    /// Whether a key is among those selected.
    pub fn selects(&self, key: &str) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|wanted| wanted == key)
    }
}

/// One piece of configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub content: String,
    pub group: String,
    pub label: String,
    pub tags: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, String>,
    /// Changes with every write of the item; empty where the store has none.
    pub version: String,
}

/// A moment in a store's history, as it gave it out. Opaque to callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub String);

impl From<u64> for Revision {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl Revision {
    /// The number of a store that counts its changes.
    pub fn number(&self) -> Result<u64> {
        self.0
            .parse()
            .map_err(|_| Error::invalid("revision is malformed: it is not one this store gives out"))
    }
}

/// An ordered sequence of changes.
#[async_trait]
pub trait Watch: Send + 'static {
    /// The next event. Waits for one; dropping the future loses nothing. An error that is retryable leaves the watch
    /// usable: asked again it goes on after the last event, or reports [`Event::Compacted`].
    async fn next(&mut self) -> Result<Event>;
}

/// What a watch yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Items changed together.
    Changed {
        changes: Vec<Change>,
        /// Where to go on from after this event; `None` where the store has no history.
        revision: Option<Revision>,
    },
    /// Changes are missing that the store no longer has: read the items again. The watch goes on from there.
    Compacted,
}

/// One changed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(Item),
    /// The item is gone; content, tags and metadata are empty.
    Deleted(Item),
}

impl Change {
    /// The item concerned.
    pub fn item(&self) -> &Item {
        match self {
            Self::Set(item) | Self::Deleted(item) => item,
        }
    }
}
