//! Leases on names.

use crate::Result;
use crate::bindgen::imports::outrigger::functions::lock as wit;

pub use wit::Held;

/// A lock store of the sidecar's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store(String);

impl Store {
    /// The store of that name; it is first asked when it is used.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The fencing token, which only grows; none when somebody else holds it.
    pub fn try_lock(&self, name: &str, owner: &str, seconds: u32) -> Result<Option<u64>> {
        wit::try_lock(&self.0, name, owner, seconds)
    }

    /// Lets it go, if it is the owner's.
    pub fn unlock(&self, name: &str, owner: &str) -> Result<Held> {
        wit::unlock(&self.0, name, owner)
    }

    /// Holds it so many seconds longer, if it is the owner's.
    pub fn keep_alive(&self, name: &str, owner: &str, seconds: u32) -> Result<Held> {
        wit::keep_alive(&self.0, name, owner, seconds)
    }
}
