//! Short ways to say what the cases say most.

use outrigger_component_api::{ErrorKind, Key, NextOptions, Result, Segment, Sequencer};

use crate::unique_key;

/// The sequencer as the cases take it.
pub(super) type Store = std::sync::Arc<dyn Sequencer>;

pub(super) fn above(bigger_than: i64) -> NextOptions {
    NextOptions { bigger_than }
}

pub(super) async fn next(store: &Store, key: &Key) -> i64 {
    store.next(key, NextOptions::default()).await.expect("a number")
}

pub(super) async fn segment(store: &Store, key: &Key, size: u32) -> Segment {
    store.segment(key, size, NextOptions::default()).await.expect("a segment")
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    let error = result.expect_err("must be refused");
    assert_eq!(error.kind(), kind, "{error}");
}

/// Whether it is declared that a number to exceed can be named; if not, that naming one is refused.
pub(super) async fn has_bigger_than(store: &Store) -> bool {
    if !store.capabilities().bigger_than {
        refused(store.next(&unique_key("bigger"), above(1)).await, ErrorKind::Unsupported);
    }
    store.capabilities().bigger_than
}

/// Whether segments are declared; if not, that one is refused.
pub(super) async fn has_segments(store: &Store) -> bool {
    if !store.capabilities().segments {
        let answer = store.segment(&unique_key("segments"), 10, NextOptions::default()).await;
        refused(answer, ErrorKind::Unsupported);
    }
    store.capabilities().segments
}
