//! Random operations, compared step by step with the simplest thing that could be right: a map.
//!
//! Seeds are fixed, so a failure comes back; `OUTRIGGER_TEST_SEED` runs one more. The seed and the step are in the
//! message of the failure.

use std::collections::HashMap;

use bytes::Bytes;
use fastrand::Rng;
use outrigger_component_api::{
    BulkOptions, Change, Concurrency, Condition, DeleteOptions, Entry, ErrorKind, Etag, Key, Result,
    SetOptions,
};

use super::fixture::{Store, read, unique_key};

const SEEDS: [u64; 4] = [1, 2, 3, 0x0417];
const STEPS: usize = 150;
/// Few keys, so that operations meet.
const KEYS: usize = 4;

pub async fn random_operations_agree_with_the_model(store: Store) {
    for seed in SEEDS {
        agrees_with_the_model(store.clone(), seed).await;
    }
    if let Ok(seed) = std::env::var("OUTRIGGER_TEST_SEED") {
        agrees_with_the_model(store, seed.parse().expect("OUTRIGGER_TEST_SEED is a number")).await;
    }
}

/// One run of random operations from this seed; panics at the first step where store and model differ.
pub async fn agrees_with_the_model(store: Store, seed: u64) {
    let keys = (0..KEYS).map(|i| unique_key(&format!("model{i}"))).collect();
    let mut run = Run { rng: Rng::with_seed(seed), store, keys, model: HashMap::new(), past: Vec::new() };
    for step in 0..STEPS {
        run.step(&format!("seed {seed}, step {step}")).await;
    }
}

struct Run {
    rng: Rng,
    store: Store,
    keys: Vec<Key>,
    model: HashMap<Key, (Bytes, Etag)>,
    /// Every etag seen, for writes with a stale one.
    past: Vec<(Key, Etag)>,
}

impl Run {
    async fn step(&mut self, at: &str) {
        let transacts = self.store.capabilities().transactions;
        match self.rng.u8(0..10) {
            0..=5 => self.bulk(at, 1).await,
            6 => {
                let count = self.rng.usize(0..5);
                self.bulk(at, count).await;
            }
            7 | 8 if transacts => self.transaction(at).await,
            _ => {}
        }
        self.compare(at).await;
    }

    /// Single writes go through the methods of their own, several through the bulk write.
    async fn bulk(&mut self, at: &str, count: usize) {
        let changes: Vec<_> = (0..count).map(|_| self.change()).collect();
        let answers = match changes.as_slice() {
            [Change::Set { key, value, options }] => {
                vec![self.store.set(key, value.clone(), options.clone()).await.map(Some)]
            }
            [Change::Delete { key, options }] => {
                vec![self.store.delete(key, options.clone()).await.map(|()| None)]
            }
            _ => self.store.write_bulk(changes.clone()).await.expect("the bulk write as a whole"),
        };
        assert_eq!(answers.len(), changes.len(), "{at}");
        for (change, answer) in changes.into_iter().zip(answers) {
            let expected = holds(&self.model, &change);
            assert_eq!(answer.is_ok(), expected, "{at}: {change:?} was answered {answer:?}");
            match (change, answer) {
                (Change::Set { key, value, .. }, Ok(Some(etag))) => {
                    self.past.push((key.clone(), etag.clone()));
                    self.model.insert(key, (value, etag));
                }
                (Change::Delete { key, .. }, Ok(None)) => drop(self.model.remove(&key)),
                (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::Conflict, "{at}: {error}"),
                (change, answer) => panic!("{at}: {change:?} was answered {answer:?}"),
            }
        }
    }

    async fn transaction(&mut self, at: &str) {
        let changes: Vec<_> = (0..self.rng.usize(0..5)).map(|_| self.change()).collect();
        let mut after = self.model.clone();
        // No etag of a change inside can be known outside; this one stands for them and fits nothing.
        let unknown = Etag::from_caller("inside the transaction").expect("not empty");
        let expected = changes.iter().all(|change| {
            let holds = holds(&after, change);
            match change {
                Change::Set { key, value, .. } => {
                    drop(after.insert(key.clone(), (value.clone(), unknown.clone())))
                }
                Change::Delete { key, .. } => drop(after.remove(key)),
            }
            holds
        });
        let answer = self.store.transact(changes.clone()).await;
        assert_eq!(answer.is_ok(), expected, "{at}: {changes:?} were answered {answer:?}");
        if !expected {
            return;
        }
        for (key, (_, etag)) in after.iter_mut().filter(|(_, (_, etag))| *etag == unknown) {
            *etag = read(&self.store, key).await.unwrap_or_else(|| panic!("{at}: {key} is missing")).etag;
            let new = (key.clone(), etag.clone());
            assert!(!self.past.contains(&new), "{at}: {key} has had etag {etag} before");
            self.past.push(new);
        }
        self.model = after;
    }

    fn change(&mut self) -> Change {
        let key = self.keys[self.rng.usize(..KEYS)].clone();
        let etags = self.store.capabilities().etags;
        let concurrency = match self.rng.u8(..3) {
            1 if etags => Concurrency::FirstWrite,
            2 => Concurrency::LastWrite,
            _ => Concurrency::Unspecified,
        };
        let if_match = match self.rng.u8(..4) {
            0 if etags => self.model.get(&key).map(|(_, etag)| etag.clone()),
            1 if etags && !self.past.is_empty() => {
                Some(self.past[self.rng.usize(..self.past.len())].1.clone())
            }
            _ => None,
        };
        if self.rng.u8(..4) == 0 {
            return Change::Delete {
                key,
                options: DeleteOptions { if_match, concurrency, ..DeleteOptions::default() },
            };
        }
        let value = (0..self.rng.usize(..20)).map(|_| self.rng.u8(..)).collect();
        Change::Set { key, value, options: SetOptions { if_match, concurrency, ..SetOptions::default() } }
    }

    async fn compare(&self, at: &str) {
        let found: Vec<Result<Option<Entry>>> =
            self.store.get_bulk(&self.keys, BulkOptions::default()).await.expect("the bulk read as a whole");
        assert_eq!(found.len(), self.keys.len(), "{at}");
        for (key, found) in self.keys.iter().zip(found) {
            let bulk = found.unwrap_or_else(|error| panic!("{at}: {key}: {error}"));
            assert_eq!(bulk, read(&self.store, key).await, "{at}: {key}: bulk and single read differ");
            let found = bulk.map(|entry| (entry.value, entry.etag));
            assert_eq!(found.as_ref(), self.model.get(key), "{at}: {key}");
        }
    }
}

fn holds(model: &HashMap<Key, (Bytes, Etag)>, change: &Change) -> bool {
    let present = model.get(change.key()).map(|(_, etag)| etag);
    match change.condition() {
        Condition::Always => true,
        Condition::Absent => present.is_none(),
        Condition::Matches(etag) => present == Some(etag),
    }
}
