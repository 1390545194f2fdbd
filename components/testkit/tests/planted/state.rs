//! A state store with faults to choose from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use outrigger_component_api::{
    BulkOptions, Change, Component, Condition, DeleteOptions, Entry, Error, Etag, GetOptions, Key, Result,
    SetOptions, StateCapabilities, StateStore, async_trait, check_fence,
};
use outrigger_testkit::state;
use parking_lot::Mutex;

use crate::{caught, fails};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Looks first, writes later: read-modify-write without a check at the moment of writing.
    ChecksBeforeWriting,
    IgnoresEtags,
    EtagsPerKey,
    DeletesWhateverTheEtag,
    IgnoresTtl,
    KeepsTtl,
    SortsBulkReads,
    AppliesHalfATransaction,
    TransactsOneByOne,
    ForgetsCapability,
    IgnoresTokens,
    ForgetsTokensWithTheEntry,
    RemembersRefusedTokens,
    FencesOnlyPlainWrites,
}

struct Store {
    fault: Fault,
    map: Mutex<Map>,
    versions: AtomicU64,
    tokens: Mutex<BTreeMap<Key, u64>>,
}

type Map = BTreeMap<Key, (Bytes, u64, Option<Instant>)>;

impl Store {
    fn subject(fault: Fault) -> Arc<dyn StateStore> {
        Arc::new(Self { fault, map: Mutex::default(), versions: AtomicU64::new(0), tokens: Mutex::default() })
    }

    fn live<'m>(map: &'m Map, key: &Key) -> Option<&'m (Bytes, u64, Option<Instant>)> {
        map.get(key).filter(|(_, _, deadline)| deadline.is_none_or(|deadline| Instant::now() < deadline))
    }

    fn check(&self, map: &Map, key: &Key, condition: Condition<'_>) -> Result<()> {
        match condition {
            Condition::Matches(_) if self.fault == Fault::IgnoresEtags => Ok(()),
            condition => condition.check(Self::live(map, key).map(|(_, version, _)| *version)),
        }
    }

    fn apply(&self, map: &mut Map, change: Change) -> Result<Option<Etag>> {
        let mut tokens = self.tokens.lock();
        if self.fault != Fault::IgnoresTokens {
            check_fence(change.fence(), tokens.get(change.key()).copied())?;
        }
        let remember = |tokens: &mut BTreeMap<Key, u64>| {
            tokens.extend(change.fence().map(|token| (change.key().clone(), token)));
        };
        if self.fault == Fault::RemembersRefusedTokens {
            remember(&mut tokens);
        }
        if !(self.fault == Fault::DeletesWhateverTheEtag && matches!(change, Change::Delete { .. })) {
            self.check(map, change.key(), change.condition())?;
        }
        remember(&mut tokens);
        if self.fault == Fault::ForgetsTokensWithTheEntry && matches!(change, Change::Delete { .. }) {
            tokens.remove(change.key());
        }
        Ok(self.write(map, change))
    }

    fn write(&self, map: &mut Map, change: Change) -> Option<Etag> {
        match change {
            Change::Delete { key, .. } => {
                map.remove(&key);
                None
            }
            Change::Set { key, value, options } => {
                let previous = map.get(&key);
                let version = match self.fault {
                    Fault::EtagsPerKey => previous.map_or(1, |(_, version, _)| version + 1),
                    _ => self.versions.fetch_add(1, Ordering::Relaxed),
                };
                let deadline = match self.fault {
                    Fault::IgnoresTtl => None,
                    Fault::KeepsTtl if options.ttl.is_none() => {
                        previous.and_then(|(_, _, deadline)| *deadline)
                    }
                    _ => options.ttl.map(|ttl| Instant::now() + ttl),
                };
                map.insert(key, (value, version, deadline));
                Some(Etag::from(version))
            }
        }
    }

    async fn change(&self, change: Change) -> Result<Option<Etag>> {
        if self.fault != Fault::ChecksBeforeWriting {
            return self.apply(&mut self.map.lock(), change);
        }
        self.check(&self.map.lock(), change.key(), change.condition())?;
        tokio::task::yield_now().await;
        Ok(self.write(&mut self.map.lock(), change))
    }
}

#[async_trait]
impl Component for Store {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl StateStore for Store {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities {
            etags: true,
            ttl: true,
            transactions: self.fault != Fault::ForgetsCapability,
            binary_keys: true,
            fencing: true,
            ..StateCapabilities::default()
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        let map = self.map.lock();
        let expires =
            |deadline: Instant| SystemTime::now() + deadline.saturating_duration_since(Instant::now());
        Ok(Self::live(&map, key).map(|(value, version, deadline)| Entry {
            value: value.clone(),
            etag: Etag::from(*version),
            expires: deadline.map(expires),
        }))
    }

    async fn get_bulk(&self, keys: &[Key], _: BulkOptions) -> Result<Vec<Result<Option<Entry>>>> {
        let mut keys: Vec<_> = keys.iter().collect();
        if self.fault == Fault::SortsBulkReads {
            keys.sort();
        }
        let mut entries = Vec::new();
        for key in keys {
            entries.push(self.get(key, GetOptions::default()).await);
        }
        Ok(entries)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        let etag = self.change(Change::Set { key: key.clone(), value, options }).await?;
        etag.ok_or_else(|| Error::internal("a set without an etag"))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.change(Change::Delete { key: key.clone(), options }).await.map(drop)
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        if self.fault == Fault::TransactsOneByOne {
            for (position, change) in changes.into_iter().enumerate() {
                self.apply(&mut self.map.lock(), change)
                    .map_err(|error| error.with("operation", position))?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        let mut map = self.map.lock();
        let (before, tokens) = (map.clone(), self.tokens.lock().clone());
        for (position, mut change) in changes.into_iter().enumerate() {
            if let Change::Set { options, .. } = &mut change
                && self.fault == Fault::FencesOnlyPlainWrites
            {
                options.fence = None;
            }
            if let Err(error) = self.apply(&mut map, change) {
                if self.fault != Fault::AppliesHalfATransaction {
                    *map = before;
                    *self.tokens.lock() = tokens;
                }
                return Err(error.with("operation", position));
            }
        }
        Ok(())
    }
}

mod the_correct_store_passes {
    outrigger_testkit::state_suite!(super::Store::subject(super::Fault::None));
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! { state, Store;
        ChecksBeforeWriting by first_write_wins_exactly_once
        IgnoresEtags by stale_etag_is_refused
        EtagsPerKey by etag_of_a_deleted_key_never_fits_again
        DeletesWhateverTheEtag by delete_with_stale_etag_is_refused
        IgnoresTtl by zero_ttl_is_gone_at_once
        KeepsTtl by writing_without_ttl_clears_it
        SortsBulkReads by bulk_read_keeps_order_and_gaps
        AppliesHalfATransaction by transaction_is_all_or_nothing
        TransactsOneByOne by transactions_lose_no_update
        ForgetsCapability by empty_transaction_succeeds
        IgnoresTokens by stale_token_is_refused
        ForgetsTokensWithTheEntry by token_is_remembered_across_delete_and_expiry
        RemembersRefusedTokens by token_is_checked_with_the_condition
        FencesOnlyPlainWrites by bulk_and_transaction_honour_tokens
    }

    /// A fault is caught in more than one way.
    #[test]
    fn races_and_overtaking_are_caught_under_contention() {
        assert!(fails(state::no_conditional_increment_is_lost(Store::subject(Fault::ChecksBeforeWriting))));
        assert!(fails(state::overtaken_writers_are_refused(Store::subject(Fault::IgnoresTokens))));
    }

    #[test]
    fn the_model_finds_a_fault_by_itself() {
        for fault in [Fault::IgnoresEtags, Fault::DeletesWhateverTheEtag, Fault::AppliesHalfATransaction] {
            assert!(fails(state::random_operations_agree_with_the_model(Store::subject(fault))), "{fault:?}");
        }
    }
}
