//! Short ways to say what the cases say most.

use std::time::{Duration, Instant};

use outrigger_component_api::{ErrorKind, Held, Key, LockStore};

use crate::{patience, unique_key};

/// The store as the cases take it.
pub(super) type Store = std::sync::Arc<dyn LockStore>;

/// The shortest time every store can count.
pub(super) const SHORT: Duration = Duration::from_secs(2);
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// How much later a lease may end than one that was got after it.
const LATE: Duration = Duration::from_secs(1);

/// Takes the resource; the token if it was got.
pub(super) async fn take(store: &Store, resource: &Key, owner: &str, ttl: Duration) -> Option<u64> {
    store.try_lock(resource, owner, ttl).await.expect("answered").map(|lease| lease.token)
}

/// Takes a resource whose name may mean something to the store, which then refuses it.
pub(super) async fn is_taken(store: &Store, resource: &Key) -> bool {
    match store.try_lock(resource, "a", LONG).await {
        Ok(lease) => lease.is_some(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            false
        }
    }
}

pub(super) async fn unlock(store: &Store, resource: &Key, owner: &str) -> Held {
    store.unlock(resource, owner).await.expect("answered")
}

pub(super) async fn keep_alive(store: &Store, resource: &Key, owner: &str, ttl: Duration) -> Held {
    store.keep_alive(resource, owner, ttl).await.expect("answered")
}

/// Waits until every lease of [`SHORT`] that was got before must have ended: a later one has, however long it took.
pub(super) async fn until_over(store: &Store) {
    let witness = unique_key("witness");
    assert!(take(store, &witness, "a", SHORT).await.is_some());
    take_when_free(store, &witness, "b").await;
    tokio::time::sleep(LATE).await;
}

/// Takes the resource as soon as it is free; the token.
pub(super) async fn take_when_free(store: &Store, resource: &Key, owner: &str) -> u64 {
    let give_up = Instant::now() + SHORT + patience();
    loop {
        match take(store, resource, owner, LONG).await {
            Some(token) => return token,
            None => assert!(Instant::now() < give_up, "the lease did not end"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
