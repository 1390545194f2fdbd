//! Which function answers to which id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Function;

/// The functions of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Table {
    by_name: BTreeMap<Arc<str>, Arc<Function>>,
    by_id: HashMap<Arc<str>, Vec<Arc<Function>>>,
}

impl Table {
    pub(crate) fn add(&mut self, function: Arc<Function>) {
        self.by_id.entry(Arc::clone(&function.id)).or_default().push(Arc::clone(&function));
        self.by_name.insert(Arc::clone(&function.name), function);
    }

    /// The function of this name in the configuration.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Function>> {
        self.by_name.get(name)
    }

    /// Those that answer to an id.
    pub(crate) fn of(&self, id: &str) -> &[Arc<Function>] {
        self.by_id.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// One of them.
    pub(crate) fn pick(&self, id: &str) -> Option<&Arc<Function>> {
        fastrand::choice(self.of(id))
    }
}
