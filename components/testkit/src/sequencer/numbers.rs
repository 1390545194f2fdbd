//! One number after the other, one caller at a time.

use outrigger_component_api::{ErrorKind, Key, NextOptions};

use super::fixture::*;
use crate::{unique_key, unique_name};

pub async fn ping_succeeds(store: Store) {
    store.ping().await.expect("the probe of a working sequencer");
}

pub async fn new_sequence_begins_at_one_without_gaps(store: Store) {
    let key = unique_key("new");
    for expected in 1..=20 {
        assert_eq!(next(&store, &key).await, expected);
    }
}

pub async fn similar_keys_are_apart(store: Store) {
    let name = unique_name("similar");
    for suffix in ["", "x", "/", "/x", " ", "*", ":", "\u{e4}", "X"] {
        let key = Key::new(format!("{name}{suffix}")).expect("not empty");
        assert_eq!(next(&store, &key).await, 1, "{suffix:?}");
    }
    // A key that means something to the store may be refused.
    match store.next(&Key::new(format!("{name}||")).expect("not empty"), NextOptions::default()).await {
        Ok(number) => assert_eq!(number, 1),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}"),
    }
    assert_eq!(next(&store, &Key::new(name).expect("not empty")).await, 2);
}

pub async fn bigger_than_is_exceeded(store: Store) {
    if !has_bigger_than(&store).await {
        return;
    }
    let key = unique_key("bigger");
    for (bigger_than, expected) in [(0, 1), (-5, 2), (1000, 1001), (0, 1002), (500, 1003), (1003, 1004)] {
        assert_eq!(store.next(&key, above(bigger_than)).await.expect("a number"), expected, "{bigger_than}");
    }
}

pub async fn end_of_the_range_is_refused(store: Store) {
    if !has_bigger_than(&store).await {
        return;
    }
    let key = unique_key("end");
    assert_eq!(next(&store, &key).await, 1);
    refused(store.next(&key, above(i64::MAX)).await, ErrorKind::FailedPrecondition);
    assert_eq!(next(&store, &key).await, 2, "a refusal changes nothing");
    assert_eq!(store.next(&key, above(i64::MAX - 2)).await.expect("a number"), i64::MAX - 1);
    assert_eq!(next(&store, &key).await, i64::MAX);
    refused(store.next(&key, above(0)).await, ErrorKind::FailedPrecondition);
}
