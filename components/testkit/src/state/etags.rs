//! Conditional writes, one caller at a time.

use std::collections::HashSet;

use outrigger_component_api::{Concurrency, DeleteOptions, ErrorKind, Etag, SetOptions};

use super::fixture::*;

pub async fn etag_round_trips(store: Store) {
    let key = unique_key("etag");
    let etag = write(&store, &key, "one").await;
    assert!(!etag.as_str().is_empty());
    assert_eq!(read(&store, &key).await.expect("present").etag, etag);
    if has_etags(&store).await {
        let next =
            write_with(&store, &key, "two", matching(&etag)).await.expect("the etag is the present one");
        assert_eq!(read(&store, &key).await.expect("present").etag, next);
        assert_eq!(value(&store, &key).await.as_deref(), Some("two"));
    }
}

pub async fn every_write_has_a_new_etag(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("new-etag");
    let mut seen = HashSet::new();
    for _ in 0..20 {
        assert!(seen.insert(write(&store, &key, "the same value").await), "an etag came back");
    }
}

pub async fn stale_etag_is_refused(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("stale");
    let stale = write(&store, &key, "one").await;
    write(&store, &key, "two").await;
    for concurrency in [Concurrency::Unspecified, Concurrency::FirstWrite] {
        let options = SetOptions { concurrency, ..matching(&stale) };
        let error = refused(write_with(&store, &key, "three", options).await, ErrorKind::Conflict);
        assert!(!error.is_retryable(), "the same write will conflict again");
    }
    assert_eq!(value(&store, &key).await.as_deref(), Some("two"));
}

pub async fn etag_of_a_missing_key_is_refused(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let etag = write(&store, &unique_key("there"), "").await;
    let key = unique_key("not-there");
    refused(write_with(&store, &key, "", matching(&etag)).await, ErrorKind::Conflict);
    refused(store.delete(&key, deleting(&etag)).await, ErrorKind::Conflict);
    assert_eq!(read(&store, &key).await, None);
}

pub async fn etag_of_a_deleted_key_never_fits_again(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("reborn");
    for _ in 0..3 {
        let old = write(&store, &key, "old").await;
        remove(&store, &key).await;
        refused(write_with(&store, &key, "", matching(&old)).await, ErrorKind::Conflict);
        write(&store, &key, "new").await;
        refused(write_with(&store, &key, "", matching(&old)).await, ErrorKind::Conflict);
        assert_eq!(value(&store, &key).await.as_deref(), Some("new"));
    }
}

pub async fn foreign_etag_is_refused(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("foreign");
    write(&store, &key, "kept").await;
    for foreign in ["not an etag", "-1", "' OR 1=1 --", "ä\0"] {
        let options = matching(&Etag::from_caller(foreign).expect("not empty"));
        let error = write_with(&store, &key, "", options).await.expect_err("must be refused");
        let right = matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Conflict);
        assert!(right, "{foreign:?}: {:?}", error.kind());
    }
    assert_eq!(value(&store, &key).await.as_deref(), Some("kept"));
}

pub async fn last_write_ignores_the_etag(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("last");
    for etag in ["2", "not an etag"] {
        let if_match = Etag::from_caller(etag);
        let concurrency = Concurrency::LastWrite;
        let options = SetOptions { if_match: if_match.clone(), concurrency, ..SetOptions::default() };
        write_with(&store, &key, etag, options).await.expect("last write wins");
        assert_eq!(value(&store, &key).await.as_deref(), Some(etag));
        let options = DeleteOptions { if_match, concurrency, ..DeleteOptions::default() };
        store.delete(&key, options).await.expect("last write wins");
        assert_eq!(read(&store, &key).await, None);
    }
}

pub async fn first_write_without_etag_creates_only(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("first");
    write_with(&store, &key, "first", first_write()).await.expect("the key is new");
    refused(write_with(&store, &key, "second", first_write()).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await.as_deref(), Some("first"));
    remove(&store, &key).await;
    write_with(&store, &key, "third", first_write()).await.expect("the key is new again");
}

pub async fn first_write_with_etag_compares(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("first-etag");
    let etag = write_with(&store, &key, "one", first_write()).await.expect("the key is new");
    let options = SetOptions { concurrency: Concurrency::FirstWrite, ..matching(&etag) };
    write_with(&store, &key, "two", options.clone()).await.expect("the etag is the present one");
    refused(write_with(&store, &key, "three", options).await, ErrorKind::Conflict);
}

pub async fn delete_with_matching_etag_removes(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("delete");
    let etag = write(&store, &key, "").await;
    store.delete(&key, deleting(&etag)).await.expect("the etag is the present one");
    assert_eq!(read(&store, &key).await, None);
}

pub async fn delete_with_stale_etag_is_refused(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("delete-stale");
    let stale = write(&store, &key, "one").await;
    write(&store, &key, "two").await;
    refused(store.delete(&key, deleting(&stale)).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await.as_deref(), Some("two"));
}
