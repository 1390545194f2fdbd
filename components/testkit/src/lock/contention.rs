//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use outrigger_component_api::Held;

use super::fixture::*;
use crate::{CALLERS, contend, in_other_runtime, unique_key};

pub async fn one_of_many_gets_it(store: Store) {
    for round in 0..5 {
        let resource = unique_key("race");
        let tokens = contend(|caller| {
            let (store, resource) = (store.clone(), resource.clone());
            async move { take(&store, &resource, &caller.to_string(), LONG).await }
        });
        assert_eq!(
            tokens.await.into_iter().flatten().count(),
            1,
            "round {round}: exactly one caller gets it"
        );
    }
}

/// Each caller holds the resource a few times; while it does, nobody else may be inside.
pub async fn holders_never_overlap_and_tokens_increase(store: Store) {
    const EACH: usize = 3;
    let resource = unique_key("inside");
    let (occupied, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let done = contend(|caller| {
        let (store, resource, owner) = (store.clone(), resource.clone(), format!("owner-{caller}"));
        let (occupied, last) = (Arc::clone(&occupied), Arc::clone(&last));
        async move {
            let mut done = 0;
            while done < EACH {
                let Some(token) = take(&store, &resource, &owner, LONG).await else {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    continue;
                };
                assert!(!occupied.swap(true, Ordering::SeqCst), "somebody else is inside");
                let before = last.swap(token, Ordering::SeqCst);
                assert!(token > before, "token {token} after {before}");
                tokio::task::yield_now().await;
                assert!(occupied.swap(false, Ordering::SeqCst), "somebody else has been inside");
                assert_eq!(unlock(&store, &resource, &owner).await, Held::Yes);
                done += 1;
            }
            done
        }
    });
    assert_eq!(done.await.into_iter().sum::<usize>(), EACH * CALLERS);
}

pub async fn outlives_the_runtime_that_used_it_first(store: Store) {
    let resource = unique_key("runtime");
    let (other, same) = (store.clone(), resource.clone());
    let token = in_other_runtime(async move { take(&other, &same, "a", LONG).await }).await;
    assert!(token.is_some());
    assert_eq!(take(&store, &resource, "b", LONG).await, None, "the lease outlives it too");
    assert_eq!(keep_alive(&store, &resource, "a", LONG).await, Held::Yes);
    assert_eq!(unlock(&store, &resource, "a").await, Held::Yes);
    assert!(take(&store, &resource, "b", LONG).await > token);
}
