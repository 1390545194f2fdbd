//! The lock block: leases on names, with a fencing token.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Component, Key, Result};

/// A place where at most one owner at a time holds a resource.
///
/// A lease ends with `unlock` or when its time is up, whichever comes first, and is gone for every operation at that
/// moment. It never ends early; a store whose server counts in coarse steps may be up to a second late. Owners are
/// names the callers choose, compared exactly: whoever knows the owner's name acts for it. Times are whole seconds of
/// at least one.
#[async_trait]
pub trait LockStore: Component {
    /// What this store honours. The suite holds it to its word.
    fn capabilities(&self) -> LockCapabilities {
        LockCapabilities::default()
    }

    /// Takes the resource for `ttl` if nobody holds it; `None` if somebody does, the same owner included. Never waits
    /// for a holder.
    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>>;

    /// Gives the resource back if this owner holds it.
    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held>;

    /// Lets the lease end `ttl` from now instead, if this owner holds it; the token stays. A shorter time than what is
    /// left shortens it.
    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held>;
}

/// What a store honours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LockCapabilities {
    /// Leases survive the end of this process.
    pub persistent: bool,
    /// Other processes see the same leases.
    pub shared: bool,
}

/// A lock that was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Larger than the token of every earlier lease on this resource, across expiry, unlock and restart. Passed along
    /// with a write, it lets the written-to refuse a holder that was overtaken.
    pub token: u64,
}

/// Whether an owner held a resource when it acted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It did, and the operation is done.
    Yes,
    /// Nobody holds the resource.
    Nobody,
    /// Another owner holds it.
    Other,
}
