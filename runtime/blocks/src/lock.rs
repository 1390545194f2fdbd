//! Locks: leases on names in a named store.

mod component;

use std::time::Duration;

use outrigger_component_api::{Error, Held, Lease, Result};

pub use component::LockComponent;
pub(crate) use component::PREFIX;

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stores::Stores;

/// The lock block.
#[derive(Default)]
pub struct Lock {
    /// The stores calls can name.
    pub stores: Stores<LockComponent>,
}

impl Lock {
    /// Takes a resource for some seconds; `None` if somebody holds it, the same owner included.
    ///
    /// Not repeated when the answer is lost: the lease may have been given then, and would look like somebody else's.
    pub async fn try_lock(
        &self,
        caller: &Caller<'_>,
        store: &str,
        resource: &str,
        owner: &str,
        seconds: i32,
    ) -> Result<Option<Lease>> {
        let store = self.stores.find(caller, store)?;
        let key = &store.key(caller, resource)?;
        let (owner, ttl) = (valid_owner(owner)?, lifetime(seconds)?);
        let call = Call { op: &store.ops.try_lock, class: Class::Conditional, caller };
        store.slot.run(call, |backend| async move { backend.try_lock(key, owner, ttl).await }).await
    }

    /// Gives a resource back, if this owner holds it. Not repeated either: the second time nobody would hold it.
    pub async fn unlock(
        &self,
        caller: &Caller<'_>,
        store: &str,
        resource: &str,
        owner: &str,
    ) -> Result<Held> {
        let store = self.stores.find(caller, store)?;
        let key = &store.key(caller, resource)?;
        let owner = valid_owner(owner)?;
        let call = Call { op: &store.ops.unlock, class: Class::Conditional, caller };
        store.slot.run(call, |backend| async move { backend.unlock(key, owner).await }).await
    }

    /// Lets a lease end some seconds from now, if this owner holds it.
    pub async fn keep_alive(
        &self,
        caller: &Caller<'_>,
        store: &str,
        resource: &str,
        owner: &str,
        seconds: i32,
    ) -> Result<Held> {
        let store = self.stores.find(caller, store)?;
        let key = &store.key(caller, resource)?;
        let (owner, ttl) = (valid_owner(owner)?, lifetime(seconds)?);
        let call = Call { op: &store.ops.keep_alive, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.keep_alive(key, owner, ttl).await }).await
    }
}

fn valid_owner(owner: &str) -> Result<&str> {
    if owner.is_empty() { Err(Error::invalid("lock_owner is empty")) } else { Ok(owner) }
}

fn lifetime(seconds: i32) -> Result<Duration> {
    let whole = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    whole.map(Duration::from_secs).ok_or_else(|| {
        Error::invalid(format!("expire is {seconds}; a lock is held for a number of seconds above 0"))
    })
}

#[cfg(test)]
mod tests;
