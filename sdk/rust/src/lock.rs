//! Locks: at most one owner of a resource at a time, with a fencing token.

use std::time::Duration;

use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::lock_keep_alive_response::Status as KeptAlive;
use outrigger_proto::layotto::unlock_response::Status as Unlocked;
use tonic::Response;

use crate::state::whole_seconds;
use crate::{Client, Error, ErrorKind, Result};

/// Response header with the token of a lock.
const TOKEN: &str = "x-outrigger-fencing-token";

/// One lock store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LockStore {
    client: Client,
    name: String,
}

/// A lock that is held until it is given back or its time is up. Dropping it does neither: the time decides.
#[derive(Debug)]
#[must_use = "the lock is held until it is unlocked or its time is up"]
pub struct Lock {
    store: LockStore,
    resource: String,
    owner: String,
    token: Option<u64>,
}

/// Whether the lock was still held when it was asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It was, and what was asked is done.
    Yes,
    /// Its time was up, and nobody has it.
    Expired,
    /// Its time was up, and somebody else has it.
    Lost,
}

impl LockStore {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Takes the resource for `ttl` (whole seconds, rounded up) if nobody holds it; `None` if somebody does. Never
    /// waits for a holder.
    pub async fn try_lock(&self, resource: impl Into<String>, ttl: Duration) -> Result<Option<Lock>> {
        self.try_lock_as(resource, random_owner(), ttl).await
    }

    /// As [`LockStore::try_lock`], under an owner's name of your own. Whoever knows the name can unlock.
    pub async fn try_lock_as(
        &self,
        resource: impl Into<String>,
        owner: impl Into<String>,
        ttl: Duration,
    ) -> Result<Option<Lock>> {
        let (resource, owner) = (resource.into(), owner.into());
        let request = proto::TryLockRequest {
            store_name: self.name.clone(),
            resource_id: resource.clone(),
            lock_owner: owner.clone(),
            expire: seconds(ttl)?,
        };
        let response = self.client.runtime().try_lock(self.client.request(request)).await?;
        let token = token(&response)?;
        let got = response.into_inner().success;
        Ok(got.then(|| Lock { store: self.clone(), resource, owner, token }))
    }

    /// The lock somebody took under this owner's name, to keep or give back: an earlier run of a program that has kept
    /// the name. Whether it is still held shows when it is asked for something; its token is not known here.
    pub fn held_by(&self, resource: impl Into<String>, owner: impl Into<String>) -> Lock {
        Lock { store: self.clone(), resource: resource.into(), owner: owner.into(), token: None }
    }
}

impl Lock {
    /// The resource that is locked.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The owner's name.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Larger than the token of every earlier lock on this resource. Given to
    /// [`Write::fence`](crate::Write::fence), it has the store refuse a holder that was overtaken. `None` from a sidecar
    /// that has no tokens, and of a lock that was not taken here.
    pub fn fencing_token(&self) -> Option<u64> {
        self.token
    }

    /// Has the lock end `ttl` (whole seconds, rounded up) from now.
    pub async fn keep_alive(&self, ttl: Duration) -> Result<Held> {
        let request = proto::LockKeepAliveRequest {
            store_name: self.store.name.clone(),
            resource_id: self.resource.clone(),
            lock_owner: self.owner.clone(),
            expire: seconds(ttl)?,
        };
        let client = &self.store.client;
        match client.runtime().lock_keep_alive(client.request(request)).await?.into_inner().status() {
            KeptAlive::Success => Ok(Held::Yes),
            KeptAlive::LockUnexist => Ok(Held::Expired),
            KeptAlive::LockBelongToOthers => Ok(Held::Lost),
            KeptAlive::InternalError => Err(Error::new(ErrorKind::Internal, "the lock could not be kept")),
        }
    }

    /// Gives the lock back.
    pub async fn unlock(self) -> Result<Held> {
        let request = proto::UnlockRequest {
            store_name: self.store.name.clone(),
            resource_id: self.resource,
            lock_owner: self.owner,
        };
        let client = &self.store.client;
        match client.runtime().unlock(client.request(request)).await?.into_inner().status() {
            Unlocked::Success => Ok(Held::Yes),
            Unlocked::LockUnexist => Ok(Held::Expired),
            Unlocked::LockBelongToOthers => Ok(Held::Lost),
            Unlocked::InternalError => {
                Err(Error::new(ErrorKind::Internal, "the lock could not be given back"))
            }
        }
    }
}

fn random_owner() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn token(response: &Response<proto::TryLockResponse>) -> Result<Option<u64>> {
    let Some(token) = response.metadata().get(TOKEN) else { return Ok(None) };
    let token = token.to_str().ok().and_then(|token| token.parse().ok());
    token.map(Some).ok_or_else(|| Error::new(ErrorKind::Internal, format!("{TOKEN} is not a number")))
}

fn seconds(ttl: Duration) -> Result<i32> {
    i32::try_from(whole_seconds(ttl))
        .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("a lock cannot be held for {ttl:?}")))
}
