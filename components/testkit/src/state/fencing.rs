//! Writes that come with the fencing token of a lock: a holder that was overtaken is refused.

use std::time::Duration;

use outrigger_component_api::{Change, DeleteOptions, ErrorKind, Etag, SetOptions};

use super::fixture::*;
use crate::contend;
use crate::history::{self, stale_writes};

fn fenced(token: u64) -> SetOptions {
    SetOptions { fence: Some(token), ..SetOptions::default() }
}

fn removing_fenced(token: u64) -> DeleteOptions {
    DeleteOptions { fence: Some(token), ..DeleteOptions::default() }
}

/// Whether fencing is declared; if not, that a token is refused wherever it can be given.
async fn has_fencing(store: &Store) -> bool {
    if store.capabilities().fencing {
        return true;
    }
    let key = unique_key("fencing");
    refused(write_with(store, &key, "", fenced(1)).await, ErrorKind::Unsupported);
    refused(store.delete(&key, removing_fenced(1)).await, ErrorKind::Unsupported);
    let bulk = store.write_bulk(vec![setting(&key, "", fenced(1))]).await;
    refused(bulk.and_then(|mut answers| answers.remove(0)), ErrorKind::Unsupported);
    if store.capabilities().transactions {
        refused(store.transact(vec![setting(&key, "", fenced(1))]).await, ErrorKind::Unsupported);
    }
    assert_eq!(read(store, &key).await, None);
    false
}

pub async fn stale_token_is_refused(store: Store) {
    if !has_fencing(&store).await {
        return;
    }
    let key = unique_key("stale-token");
    write_with(&store, &key, "seven", fenced(7)).await.expect("the first token");
    let error = refused(write_with(&store, &key, "six", fenced(6)).await, ErrorKind::Conflict);
    assert!(!error.is_retryable(), "the same token will not become fresh again");
    refused(store.delete(&key, removing_fenced(6)).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await.as_deref(), Some("seven"));
    write_with(&store, &key, "eight", fenced(8)).await.expect("a later holder");
    refused(write_with(&store, &key, "seven", fenced(7)).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await.as_deref(), Some("eight"));
    write_with(&store, &unique_key("other"), "", fenced(1)).await.expect("each key has its own");
}

pub async fn equal_token_is_accepted(store: Store) {
    if !has_fencing(&store).await {
        return;
    }
    let key = unique_key("equal-token");
    for round in ["one", "two", "three"] {
        write_with(&store, &key, round, fenced(7)).await.expect("the same holder");
        assert_eq!(value(&store, &key).await.as_deref(), Some(round));
    }
    store.delete(&key, removing_fenced(7)).await.expect("the same holder");
    assert_eq!(read(&store, &key).await, None);
}

pub async fn token_is_remembered_across_delete_and_expiry(store: Store) {
    if !has_fencing(&store).await {
        return;
    }
    let key = unique_key("remembered");
    write_with(&store, &key, "", fenced(7)).await.expect("the first token");
    remove(&store, &key).await;
    refused(write_with(&store, &key, "", fenced(6)).await, ErrorKind::Conflict);
    store.delete(&key, removing_fenced(8)).await.expect("deleting a missing key counts too");
    refused(write_with(&store, &key, "", fenced(7)).await, ErrorKind::Conflict);
    assert_eq!(read(&store, &key).await, None);
    write(&store, &key, "without a token").await;
    refused(write_with(&store, &key, "", fenced(7)).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await.as_deref(), Some("without a token"));
    if store.capabilities().ttl {
        let short = SetOptions { ttl: Some(Duration::ZERO), ..fenced(9) };
        write_with(&store, &key, "", short).await.expect("a later holder");
        assert_eq!(read(&store, &key).await, None);
        refused(write_with(&store, &key, "", fenced(8)).await, ErrorKind::Conflict);
    }
}

pub async fn token_is_checked_with_the_condition(store: Store) {
    if !(has_fencing(&store).await && has_etags(&store).await) {
        return;
    }
    let key = unique_key("both");
    let etag = write_with(&store, &key, "one", fenced(7)).await.expect("the first token");
    let fresh_etag_stale_token = SetOptions { fence: Some(6), ..matching(&etag) };
    refused(write_with(&store, &key, "", fresh_etag_stale_token).await, ErrorKind::Conflict);
    let stale: Etag = etag;
    write_with(&store, &key, "two", fenced(7)).await.expect("the same holder");
    let stale_etag_fresh_token = SetOptions { fence: Some(9), ..matching(&stale) };
    refused(write_with(&store, &key, "", stale_etag_fresh_token).await, ErrorKind::Conflict);
    write_with(&store, &key, "three", fenced(8)).await.expect("what was refused is not remembered");
    assert_eq!(value(&store, &key).await.as_deref(), Some("three"));
}

pub async fn bulk_and_transaction_honour_tokens(store: Store) {
    if !has_fencing(&store).await {
        return;
    }
    let [key, other] = ["fenced", "other"].map(unique_key);
    write_with(&store, &key, "kept", fenced(7)).await.expect("the first token");
    let removing = Change::Delete { key: key.clone(), options: removing_fenced(6) };
    let changes = vec![setting(&key, "", fenced(6)), setting(&other, "bulk", fenced(1)), removing];
    let answers = store.write_bulk(changes).await.expect("answered");
    let applied: Vec<_> = answers.into_iter().map(|answer| answer.is_ok()).collect();
    assert_eq!(applied, [false, true, false]);
    assert_eq!(value(&store, &key).await.as_deref(), Some("kept"));
    if !has_transactions(&store).await {
        return;
    }
    let changes = vec![setting(&other, "undone", fenced(2)), setting(&key, "", fenced(6))];
    let error = refused(store.transact(changes).await, ErrorKind::Conflict);
    assert!(error.context().iter().any(|(name, at)| *name == "operation" && at == "1"), "{error}");
    assert_eq!(value(&store, &other).await.as_deref(), Some("bulk"));
    write_with(&store, &other, "", fenced(1)).await.expect("what was undone is not remembered");
    let own = vec![setting(&key, "", fenced(9)), setting(&key, "", fenced(8))];
    refused(store.transact(own).await, ErrorKind::Conflict);
    let changes = vec![setting(&key, "nine", fenced(9)), setting(&other, "nine", fenced(9))];
    store.transact(changes).await.expect("a later holder");
    refused(write_with(&store, &key, "", fenced(8)).await, ErrorKind::Conflict);
}

/// Holders overtake each other in the middle of their writes; none that was overtaken is heard again.
pub async fn overtaken_writers_are_refused(store: Store) {
    if !has_fencing(&store).await {
        return;
    }
    let (key, began) = (unique_key("overtaken"), std::time::Instant::now());
    let accepted = contend(|caller| {
        let (store, key) = (store.clone(), key.clone());
        async move {
            let mut accepted = Vec::new();
            for round in 0..10 {
                let token = (round * 7 + caller as u64 * 3) % 100 + 1;
                let asked = began.elapsed();
                if write_with(&store, &key, &token.to_string(), fenced(token)).await.is_ok() {
                    let answered = began.elapsed();
                    accepted.push(history::Write { key: String::new(), token, asked, answered });
                }
                tokio::task::yield_now().await;
            }
            accepted
        }
    });
    let accepted = accepted.await.concat();
    assert_eq!(stale_writes(&accepted), [""; 0]);
    let highest = accepted.iter().map(|write| write.token).max().map(|token| token.to_string());
    assert_eq!(value(&store, &key).await, highest, "the highest token wrote last");
}
