//! Numbers in a row.

use outrigger_component_api::{ErrorKind, NextOptions, Segment};

use super::fixture::*;
use crate::unique_key;

pub async fn segments_follow_each_other(store: Store) {
    if !has_segments(&store).await {
        return;
    }
    let key = unique_key("segment");
    assert_eq!(segment(&store, &key, 10).await, Segment { first: 1, last: 10 });
    assert_eq!(segment(&store, &key, 1).await, Segment { first: 11, last: 11 });
    assert_eq!(segment(&store, &key, 10_000).await, Segment { first: 12, last: 10_011 });
}

pub async fn segments_and_numbers_share_the_sequence(store: Store) {
    if !has_segments(&store).await {
        return;
    }
    let key = unique_key("shared");
    assert_eq!(next(&store, &key).await, 1);
    assert_eq!(segment(&store, &key, 100).await, Segment { first: 2, last: 101 });
    assert_eq!(next(&store, &key).await, 102, "above all that was given out");
}

pub async fn segment_honours_bigger_than(store: Store) {
    if !has_segments(&store).await {
        return;
    }
    let key = unique_key("segment-bigger");
    let segment = store.segment(&key, 10, above(1000)).await.expect("a segment");
    assert_eq!(segment, Segment { first: 1001, last: 1010 });
    let segment = store.segment(&key, 10, above(1000)).await.expect("a segment");
    assert_eq!(segment, Segment { first: 1011, last: 1020 });
}

pub async fn segment_that_cannot_be_is_refused(store: Store) {
    if !has_segments(&store).await {
        return;
    }
    let key = unique_key("segment-end");
    refused(store.segment(&key, 0, NextOptions::default()).await, ErrorKind::InvalidArgument);
    refused(store.segment(&key, 10, above(i64::MAX - 9)).await, ErrorKind::FailedPrecondition);
    assert_eq!(next(&store, &key).await, 1, "a refusal changes nothing");
    let last = store.segment(&key, 10, above(i64::MAX - 10)).await.expect("it fits");
    assert_eq!(last, Segment { first: i64::MAX - 9, last: i64::MAX });
}
