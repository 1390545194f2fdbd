//! Conditional writes, many callers at once: tasks on several runtimes, each on a thread of its own.

use bytes::Bytes;
use outrigger_component_api::{Change, ErrorKind, Etag, Key, Result};

use super::fixture::*;
use crate::crowd::{CALLERS, contend};

/// How many succeeded; everybody else must have been told of the conflict.
fn winners<T: std::fmt::Debug>(results: Vec<Result<T>>) -> usize {
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    for result in lost {
        refused(result, ErrorKind::Conflict);
    }
    won.len()
}

pub async fn first_write_wins_exactly_once(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    for round in 0..5 {
        let key = unique_key("race");
        let results = contend(|caller| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                write_with(&store, &key, &caller.to_string(), first_write()).await.map(|etag| (caller, etag))
            }
        });
        let results = results.await;
        let winner = results.iter().find_map(|result| result.as_ref().ok().cloned());
        assert_eq!(winners(results), 1, "round {round}: exactly one caller creates the key");
        let (caller, etag) = winner.expect("one won");
        let entry = read(&store, &key).await.expect("created");
        assert_eq!(
            (entry.value, entry.etag),
            (Bytes::from(caller.to_string()), etag),
            "what is there is the winner's"
        );
    }
}

pub async fn no_conditional_increment_is_lost(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    const EACH: u64 = 5;
    let key = unique_key("counter");
    write(&store, &key, "0").await;
    contend(|_| {
        let (store, key) = (store.clone(), key.clone());
        async move {
            for _ in 0..EACH {
                while !incremented(&store, &key).await {}
            }
        }
    })
    .await;
    let expected = (EACH * CALLERS as u64).to_string();
    assert_eq!(value(&store, &key).await, Some(expected), "every increment that was accepted counts");
}

/// Reads, adds one and writes over what was read; false if somebody else was faster.
async fn incremented(store: &Store, key: &Key) -> bool {
    let (count, etag) = count(store, key).await;
    let written = write_with(store, key, &(count + 1).to_string(), matching(&etag)).await;
    written.map_err(|error| assert_eq!(error.kind(), ErrorKind::Conflict, "{error}")).is_ok()
}

async fn count(store: &Store, key: &Key) -> (u64, Etag) {
    let entry = read(store, key).await.expect("nobody deletes it");
    let count = std::str::from_utf8(&entry.value).expect("text").parse().expect("a number");
    (count, entry.etag)
}

pub async fn one_of_many_conditional_deletes_wins(store: Store) {
    if !has_etags(&store).await {
        return;
    }
    let key = unique_key("delete-race");
    let etag = write(&store, &key, "").await;
    let results = contend(|_| {
        let (store, key, options) = (store.clone(), key.clone(), deleting(&etag));
        async move { store.delete(&key, options).await }
    });
    assert_eq!(winners(results.await), 1, "exactly one caller deletes that version");
    assert_eq!(read(&store, &key).await, None);
}

/// Moves units between two accounts; the sum stays, whatever interleaves.
pub async fn transactions_lose_no_update(store: Store) {
    if !(has_etags(&store).await && has_transactions(&store).await) {
        return;
    }
    let [from, to] = ["from", "to"].map(unique_key);
    write(&store, &from, "64").await;
    write(&store, &to, "0").await;
    contend(|caller| {
        let (store, from, to) = (store.clone(), from.clone(), to.clone());
        async move {
            for _ in 0..2 {
                while !moved(&store, &from, &to, caller % 2 == 0).await {}
            }
        }
    })
    .await;
    assert_eq!(value(&store, &from).await.as_deref(), Some("0"));
    assert_eq!(value(&store, &to).await.as_deref(), Some("64"));
}

async fn moved(store: &Store, from: &Key, to: &Key, from_first: bool) -> bool {
    let change =
        |key: &Key, count: u64, etag: &Etag| -> Change { setting(key, &count.to_string(), matching(etag)) };
    let (left, left_etag) = count(store, from).await;
    let (right, right_etag) = count(store, to).await;
    let Some(less) = left.checked_sub(1) else { panic!("more was moved than there was") };
    let mut changes = vec![change(from, less, &left_etag), change(to, right + 1, &right_etag)];
    if !from_first {
        changes.reverse(); // the other order of locking
    }
    let applied = store.transact(changes).await;
    applied.map_err(|error| assert_eq!(error.kind(), ErrorKind::Conflict, "{error}")).is_ok()
}
