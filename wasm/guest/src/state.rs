//! Keys and values that outlive a call.

#[cfg(feature = "json")]
mod json;

use crate::Result;
use crate::bindgen::imports::outrigger::functions::state as wit;

pub use wit::Item;

/// A state store of the sidecar's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store(String);

/// What a write asks for. Nothing by default: the last one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Write only over this etag.
    pub if_match: Option<String>,
    /// Write only where there is no value.
    pub first_write: bool,
    /// Seconds until it is gone.
    pub ttl: Option<u32>,
    /// The token of a lock: older ones are refused.
    pub fence: Option<u64>,
}

/// One of several changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set { key: String, value: Vec<u8>, options: Options },
    Delete { key: String, if_match: Option<String> },
}

impl Store {
    /// The store of that name; it is first asked when it is used.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A key that was never written, or is deleted or expired, is none.
    pub fn get(&self, key: &str) -> Result<Option<Item>> {
        wit::get(&self.0, key)
    }

    /// In the order of the keys.
    pub fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Item>>> {
        wit::get_many(&self.0, keys)
    }

    /// Writes whatever is there; the new etag.
    pub fn set(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<String> {
        self.set_with(key, value, Options::default())
    }

    /// Writes under conditions; the new etag.
    pub fn set_with(&self, key: &str, value: impl Into<Vec<u8>>, options: Options) -> Result<String> {
        wit::set(&self.0, &write(key.to_owned(), value.into(), options))
    }

    /// Deleting a missing key succeeds.
    pub fn delete(&self, key: &str) -> Result<()> {
        wit::delete(&self.0, &wit::Removal { key: key.to_owned(), if_match: None })
    }

    /// Deletes only what has this etag.
    pub fn delete_if(&self, key: &str, etag: &str) -> Result<()> {
        wit::delete(&self.0, &wit::Removal { key: key.to_owned(), if_match: Some(etag.to_owned()) })
    }

    /// All or none.
    pub fn transact(&self, changes: Vec<Change>) -> Result<()> {
        let changes: Vec<_> = changes.into_iter().map(wit::Change::from).collect();
        wit::transact(&self.0, &changes)
    }
}

fn write(key: String, value: Vec<u8>, options: Options) -> wit::Write {
    let Options { if_match, first_write, ttl, fence } = options;
    wit::Write { key, value, options: wit::WriteOptions { if_match, first_write, ttl, fence } }
}

impl From<Change> for wit::Change {
    fn from(change: Change) -> Self {
        match change {
            Change::Set { key, value, options } => Self::Set(write(key, value, options)),
            Change::Delete { key, if_match } => Self::Delete(wit::Removal { key, if_match }),
        }
    }
}
