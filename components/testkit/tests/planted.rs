//! The suite must be able to fail: one small correct store passes it, and each fault planted into that store is
//! caught by the case whose promise it breaks.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use outrigger_component_api::{
    BulkOptions, Change, Component, Condition, DeleteOptions, Entry, Error, Etag, GetOptions, Key, Result,
    SetOptions, StateCapabilities, StateStore, async_trait,
};
use outrigger_testkit::{run, state};
use parking_lot::Mutex;

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
}

struct Store {
    fault: Fault,
    map: Mutex<Map>,
    versions: AtomicU64,
}

type Map = BTreeMap<Key, (Bytes, u64, Option<Instant>)>;

impl Store {
    fn subject(fault: Fault) -> Arc<dyn StateStore> {
        Arc::new(Self { fault, map: Mutex::default(), versions: AtomicU64::new(0) })
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
        if !(self.fault == Fault::DeletesWhateverTheEtag && matches!(change, Change::Delete { .. })) {
            self.check(map, change.key(), change.condition())?;
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
        let before = map.clone();
        for (position, change) in changes.into_iter().enumerate() {
            if let Err(error) = self.apply(&mut map, change) {
                if self.fault != Fault::AppliesHalfATransaction {
                    *map = before;
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

macro_rules! caught {
    ($($fault:ident by $case:ident)*) => {$(
        #[test]
        #[expect(non_snake_case, reason = "named after the fault and the case")]
        fn $fault() {
            let case = || run(state::$case(Store::subject(Fault::$fault)));
            let verdict = catch_unwind(AssertUnwindSafe(case));
            assert!(verdict.is_err(), "{} let {:?} pass", stringify!($case), Fault::$fault);
        }
    )*};
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! {
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
    }

    /// The race is caught in more than one way.
    #[test]
    fn a_racing_store_also_loses_increments() {
        let case =
            || run(state::no_conditional_increment_is_lost(Store::subject(Fault::ChecksBeforeWriting)));
        assert!(catch_unwind(AssertUnwindSafe(case)).is_err());
    }

    #[test]
    fn the_model_finds_a_fault_by_itself() {
        for fault in [Fault::IgnoresEtags, Fault::DeletesWhateverTheEtag, Fault::AppliesHalfATransaction] {
            let case = || run(state::random_operations_agree_with_the_model(Store::subject(fault)));
            assert!(catch_unwind(AssertUnwindSafe(case)).is_err(), "{fault:?}");
        }
    }
}
