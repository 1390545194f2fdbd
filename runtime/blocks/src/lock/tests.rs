//! Which key is locked, for whom, and what is refused.

use std::sync::Arc;

use outrigger_component_api::{ComponentSpec, ErrorKind, Key, LockStore};
use outrigger_memory::MemoryLock;

use super::*;
use crate::{Member, Meter, Policy};

fn lock(settings: &[(&str, &str)], scopes: &[&str], backend: &Arc<dyn LockStore>) -> Lock {
    let mut spec = ComponentSpec { name: "locks".to_owned(), ..ComponentSpec::default() };
    spec.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    spec.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let meter = Meter::new(&outrigger_telemetry::Metrics::new());
    let member = LockComponent::from_spec(&mut spec, Policy::default(), &meter).unwrap();
    assert!(spec.settings.is_empty(), "the backend sees the rest");
    member.slot().ready(Arc::clone(backend));
    let lock = Lock::default();
    lock.stores.replace([Arc::new(member)]);
    lock
}

fn memory() -> Arc<dyn LockStore> {
    Arc::new(MemoryLock::new())
}

#[tokio::test]
async fn the_key_is_the_one_existing_fleets_have() {
    let check = async |settings: &[(&str, &str)], app: &str, expected: &str| {
        let backend = memory();
        let lock = lock(settings, &[], &backend);
        lock.try_lock(&Caller::new(app), "locks", "r", "me", 10).await.unwrap().unwrap();
        let key = Key::new(expected.to_owned()).unwrap();
        assert_eq!(backend.unlock(&key, "me").await.unwrap(), Held::Yes, "{expected}");
    };
    check(&[], "orders", "lock|||orders||r").await;
    check(&[], "", "lock|||r").await;
    check(&[("keyPrefix", "none")], "orders", "lock|||r").await;
    check(&[("keyprefix", "name")], "orders", "lock|||locks||r").await;
    check(&[("keyPrefix", "Shared")], "orders", "lock|||shared||r").await;
}

#[tokio::test]
async fn a_lock_is_held_kept_and_given_back() {
    let lock = lock(&[], &[], &memory());
    let caller = &Caller::new("orders");
    let first = lock.try_lock(caller, "locks", "r", "a", 10).await.unwrap().unwrap();
    assert_eq!(lock.try_lock(caller, "locks", "r", "a", 10).await.unwrap(), None);
    assert_eq!(lock.try_lock(caller, "locks", "r", "b", 10).await.unwrap(), None);
    let other = &Caller::new("billing");
    assert!(lock.try_lock(other, "locks", "r", "b", 10).await.unwrap().is_some(), "another app's resource");
    assert_eq!(lock.keep_alive(caller, "locks", "r", "b", 10).await.unwrap(), Held::Other);
    assert_eq!(lock.keep_alive(caller, "locks", "r", "a", 10).await.unwrap(), Held::Yes);
    assert_eq!(lock.unlock(caller, "locks", "r", "b").await.unwrap(), Held::Other);
    assert_eq!(lock.unlock(caller, "locks", "r", "a").await.unwrap(), Held::Yes);
    assert_eq!(lock.unlock(caller, "locks", "r", "a").await.unwrap(), Held::Nobody);
    let second = lock.try_lock(caller, "locks", "r", "a", 10).await.unwrap().unwrap();
    assert!(second.token > first.token);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let locks = lock(&[], &["orders"], &memory());
    let refused = |error: Error, kind, names: &str| {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(names), "{error}");
    };
    use ErrorKind::{FailedPrecondition, InvalidArgument, NotConfigured, PermissionDenied};
    let caller = &Caller::new("orders");
    let try_lock = async |store: &str, resource: &str, owner: &str, seconds| {
        locks.try_lock(caller, store, resource, owner, seconds).await.unwrap_err()
    };
    refused(try_lock("lock", "r", "o", 1).await, NotConfigured, "did you mean 'locks'?");
    refused(try_lock("locks", "", "o", 1).await, InvalidArgument, "resource_id is empty");
    refused(try_lock("locks", "a||b", "o", 1).await, InvalidArgument, "resource_id 'a||b'");
    refused(try_lock("locks", "r", "", 1).await, InvalidArgument, "lock_owner");
    refused(try_lock("locks", "r", "o", 0).await, InvalidArgument, "expire is 0");
    refused(try_lock("locks", "r", "o", -1).await, InvalidArgument, "expire is -1");
    refused(locks.unlock(caller, "locks", "r", "").await.unwrap_err(), InvalidArgument, "lock_owner");
    refused(locks.keep_alive(caller, "locks", "r", "o", 0).await.unwrap_err(), InvalidArgument, "expire");
    let other = Caller::new("billing");
    refused(locks.unlock(&other, "locks", "r", "o").await.unwrap_err(), PermissionDenied, "billing");
    let none = Lock::default().unlock(caller, "locks", "r", "o").await.unwrap_err();
    refused(none, FailedPrecondition, "no lock store is configured");
}
