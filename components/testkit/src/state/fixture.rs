//! Short ways to say what the cases say most.

use bytes::Bytes;
use outrigger_component_api::{
    Change, Concurrency, DeleteOptions, Entry, Error, ErrorKind, Etag, GetOptions, Key, Result, SetOptions,
    StateStore,
};

pub use crate::names::unique_key;

/// The store as the cases take it.
pub(super) type Store = std::sync::Arc<dyn StateStore>;

pub(super) fn key(key: impl Into<Bytes>) -> Key {
    Key::new(key).expect("not empty")
}

pub(super) async fn read(store: &Store, key: &Key) -> Option<Entry> {
    store.get(key, GetOptions::default()).await.expect("read")
}

/// The value alone, as text.
pub(super) async fn value(store: &Store, key: &Key) -> Option<String> {
    read(store, key).await.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

pub(super) async fn write(store: &Store, key: &Key, value: &str) -> Etag {
    write_with(store, key, value, SetOptions::default()).await.expect("written")
}

pub(super) async fn write_with(store: &Store, key: &Key, value: &str, options: SetOptions) -> Result<Etag> {
    store.set(key, Bytes::copy_from_slice(value.as_bytes()), options).await
}

pub(super) async fn remove(store: &Store, key: &Key) {
    store.delete(key, DeleteOptions::default()).await.expect("deleted");
}

pub(super) fn matching(etag: &Etag) -> SetOptions {
    SetOptions { if_match: Some(etag.clone()), ..SetOptions::default() }
}

pub(super) fn deleting(etag: &Etag) -> DeleteOptions {
    DeleteOptions { if_match: Some(etag.clone()), ..DeleteOptions::default() }
}

pub(super) fn first_write() -> SetOptions {
    SetOptions { concurrency: Concurrency::FirstWrite, ..SetOptions::default() }
}

pub(super) fn setting(key: &Key, value: &str, options: SetOptions) -> Change {
    Change::Set { key: key.clone(), value: Bytes::copy_from_slice(value.as_bytes()), options }
}

pub(super) fn removing(key: &Key) -> Change {
    Change::Delete { key: key.clone(), options: DeleteOptions::default() }
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.expect_err("must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    error
}

/// Whether etags are declared; if not, that using one is refused.
pub(super) async fn has_etags(store: &Store) -> bool {
    if !store.capabilities().etags {
        let made_up = matching(&Etag::from(1));
        refused(write_with(store, &unique_key("etags"), "", made_up).await, ErrorKind::Unsupported);
        refused(write_with(store, &unique_key("etags"), "", first_write()).await, ErrorKind::Unsupported);
    }
    store.capabilities().etags
}

/// Whether transactions are declared; if not, that one is refused.
pub(super) async fn has_transactions(store: &Store) -> bool {
    if !store.capabilities().transactions {
        let change = setting(&unique_key("transact"), "", SetOptions::default());
        refused(store.transact(vec![change]).await, ErrorKind::Unsupported);
    }
    store.capabilities().transactions
}

/// Whether expiry is declared; if not, that a ttl is refused.
pub(super) async fn has_ttl(store: &Store) -> bool {
    if !store.capabilities().ttl {
        let options = SetOptions { ttl: Some(std::time::Duration::from_secs(60)), ..SetOptions::default() };
        refused(write_with(store, &unique_key("ttl"), "", options).await, ErrorKind::Unsupported);
    }
    store.capabilities().ttl
}
