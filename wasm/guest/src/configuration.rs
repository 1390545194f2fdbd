//! Items an operator changes.

use std::time::Duration;

use crate::Result;
use crate::bindgen::imports::outrigger::functions::configuration as wit;

pub use wit::{Changes, Item};

/// A configuration store of the sidecar's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store(String);

/// Which items; the default is all of the store's default application, group and label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub app_id: String,
    pub group: String,
    pub label: String,
    /// None is all.
    pub keys: Vec<String>,
}

impl Store {
    /// The store of that name; it is first asked when it is used.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The value of one item, without group or label.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let items = self.select(Selector { keys: vec![key.to_owned()], ..Selector::default() })?;
        Ok(items.into_iter().find(|item| item.key == key).map(|item| item.value))
    }

    /// Items as they are now.
    pub fn select(&self, selector: Selector) -> Result<Vec<Item>> {
        wit::get(&self.0, &selector.into())
    }

    /// Waits for items that change: after a revision that an earlier call returned, or from now on. Returns without
    /// any when nothing has changed in that time.
    pub fn watch(&self, selector: Selector, revision: Option<&str>, timeout: Duration) -> Result<Changes> {
        let timeout = timeout.as_millis().try_into().unwrap_or(u32::MAX);
        wit::watch(&self.0, &selector.into(), revision, timeout)
    }
}

impl From<Selector> for wit::Selector {
    fn from(selector: Selector) -> Self {
        let Selector { app_id, group, label, keys } = selector;
        Self { app_id, group, label, keys }
    }
}
