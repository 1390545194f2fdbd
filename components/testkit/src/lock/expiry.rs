//! Leases that end by themselves. Real time, in the whole seconds every store can count.

use std::time::Instant;

use outrigger_component_api::Held;

use super::fixture::*;
use crate::unique_key;

pub async fn expiry_frees(store: Store) {
    let resource = unique_key("expiry");
    let asked = Instant::now();
    assert!(take(&store, &resource, "a", SHORT).await.is_some());
    take_when_free(&store, &resource, "b").await;
    assert!(asked.elapsed() >= SHORT, "free {:?} after it was taken", asked.elapsed());
}

pub async fn unlock_after_expiry_finds_nobody(store: Store) {
    let resource = unique_key("expired-unlock");
    assert!(take(&store, &resource, "a", SHORT).await.is_some());
    until_over(&store).await;
    assert_eq!(unlock(&store, &resource, "a").await, Held::Nobody);
}

pub async fn keep_alive_after_expiry_finds_nobody(store: Store) {
    let resource = unique_key("expired-alive");
    assert!(take(&store, &resource, "a", SHORT).await.is_some());
    until_over(&store).await;
    assert_eq!(keep_alive(&store, &resource, "a", LONG).await, Held::Nobody, "what has ended stays ended");
    assert!(take(&store, &resource, "b", LONG).await.is_some());
}

pub async fn overtaken_holder_is_told(store: Store) {
    let resource = unique_key("overtaken");
    assert!(take(&store, &resource, "a", SHORT).await.is_some());
    until_over(&store).await;
    assert!(take(&store, &resource, "b", LONG).await.is_some());
    assert_eq!(keep_alive(&store, &resource, "a", LONG).await, Held::Other);
    assert_eq!(unlock(&store, &resource, "a").await, Held::Other);
    assert_eq!(unlock(&store, &resource, "b").await, Held::Yes, "nobody took it from the new holder");
}

pub async fn keep_alive_extends(store: Store) {
    let resource = unique_key("extended");
    loop {
        let asked = Instant::now();
        assert!(take(&store, &resource, "a", SHORT).await.is_some());
        match keep_alive(&store, &resource, "a", LONG).await {
            Held::Yes => break,
            // On a busy machine it may come too late.
            held => assert!(held == Held::Nobody && asked.elapsed() >= SHORT, "{held:?}"),
        }
    }
    until_over(&store).await;
    assert_eq!(take(&store, &resource, "b", LONG).await, None, "it was extended");
    assert_eq!(unlock(&store, &resource, "a").await, Held::Yes);
}

pub async fn keep_alive_shortens(store: Store) {
    let resource = unique_key("shortened");
    assert!(take(&store, &resource, "a", LONG).await.is_some());
    let asked = Instant::now();
    assert_eq!(keep_alive(&store, &resource, "a", SHORT).await, Held::Yes);
    take_when_free(&store, &resource, "b").await;
    assert!(asked.elapsed() >= SHORT, "free {:?} after it was shortened", asked.elapsed());
}

pub async fn tokens_increase_across_unlock_and_expiry(store: Store) {
    let resource = unique_key("tokens");
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(take(&store, &resource, "a", LONG).await.expect("free"));
        assert_eq!(keep_alive(&store, &resource, "a", LONG).await, Held::Yes);
        assert_eq!(unlock(&store, &resource, "a").await, Held::Yes);
    }
    tokens.push(take(&store, &resource, "a", SHORT).await.expect("free"));
    tokens.push(take_when_free(&store, &resource, "b").await);
    assert_eq!(unlock(&store, &resource, "b").await, Held::Yes);
    tokens.push(take(&store, &resource, "a", LONG).await.expect("free"));
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}
