//! Many callers at once.

use std::time::Instant;

use outrigger_component_api::NextOptions;

use super::fixture::*;
use crate::history::{Given, numbers_go_back};
use crate::{CALLERS, contend, in_other_runtime, unique_key};

pub async fn numbers_never_repeat_or_go_back(store: Store) {
    const EACH: usize = 20;
    let (key, began) = (unique_key("race"), Instant::now());
    let history = contend(|_| {
        let (store, key) = (store.clone(), key.clone());
        async move {
            let mut given = Vec::new();
            for _ in 0..EACH {
                let asked = began.elapsed();
                let number = next(&store, &key).await;
                given.push(Given { name: String::new(), number, asked, answered: began.elapsed() });
                tokio::task::yield_now().await;
            }
            given
        }
    });
    let history = history.await.concat();
    assert_eq!(numbers_go_back(&history), [""; 0]);
    let highest = history.iter().map(|given| given.number).max();
    assert_eq!(highest, i64::try_from(EACH * CALLERS).ok(), "nobody went away, so no number is left out");
}

/// Half of the callers take segments, half take numbers.
pub async fn segments_are_disjoint(store: Store) {
    if !has_segments(&store).await {
        return;
    }
    let key = unique_key("segment-race");
    let taken = contend(|caller| {
        let (store, key) = (store.clone(), key.clone());
        async move {
            let mut taken = Vec::new();
            for _ in 0..5 {
                if caller % 2 == 0 {
                    let segment = store.segment(&key, 7, NextOptions::default()).await.expect("a segment");
                    assert_eq!(segment.last - segment.first, 6, "{segment:?}");
                    taken.extend(segment.first..=segment.last);
                } else {
                    taken.push(next(&store, &key).await);
                }
            }
            taken
        }
    });
    let mut taken = taken.await.concat();
    let all = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), all, "a number was given out twice");
}

pub async fn outlives_the_runtime_that_used_it_first(store: Store) {
    let key = unique_key("runtime");
    let (other, same) = (store.clone(), key.clone());
    assert_eq!(in_other_runtime(async move { next(&other, &same).await }).await, 1);
    assert_eq!(next(&store, &key).await, 2);
}
