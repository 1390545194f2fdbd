//! What a transaction does, decided on what was read before and valid only as long as that is still there.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use outrigger_component_api::{Change, Condition, Error, ErrorKind, Key, Result, check_fence};

use crate::value::{self, End};

/// etcd takes 128 operations at once, and a change with a fencing token is two.
pub(super) const MOST_CHANGES: usize = 64;

/// The key of an entry.
pub(super) fn entry_key(prefix: &str, key: &Key) -> Vec<u8> {
    [prefix.as_bytes(), key.as_bytes()].concat()
}

/// The key that remembers an entry's fencing token. No entry's key has a NUL where this one does.
fn fence_key(prefix: &str, key: &Key) -> Vec<u8> {
    let parent = prefix.strip_suffix('/').unwrap_or(prefix);
    [parent.as_bytes(), b"\0fences/", key.as_bytes()].concat()
}

/// Reads everything on which the changes depend; `None` when they depend on nothing.
pub(super) fn reads(prefix: &str, changes: &[Change]) -> Option<Txn> {
    let mut keys = Vec::new();
    for change in changes {
        if change.fence().is_some() {
            keys.push(fence_key(prefix, change.key()));
        }
        if change.condition() != Condition::Always {
            keys.push(entry_key(prefix, change.key()));
        }
    }
    keys.sort();
    keys.dedup();
    let reads: Vec<_> = keys.into_iter().map(|key| TxnOp::get(key, None)).collect();
    (!reads.is_empty()).then(|| Txn::new().and_then(reads))
}

/// What was read: value and revision by key.
#[derive(Default)]
pub(super) struct Present(BTreeMap<Vec<u8>, (Vec<u8>, i64)>);

impl Present {
    pub(super) fn add(&mut self, key: Vec<u8>, value: Vec<u8>, revision: i64) {
        self.0.insert(key, (value, revision));
    }

    /// The revision of a key; 0 is that of none, to etcd as well.
    fn revision(&self, key: &[u8]) -> i64 {
        self.0.get(key).map_or(0, |(_, revision)| *revision)
    }

    /// The version of an entry that has not ended.
    fn version(&self, key: &[u8]) -> Option<u64> {
        let (stored, revision) = self.0.get(key)?;
        let (_, end) = value::read(stored.clone());
        end.is_none_or(|end| !end.has_come()).then(|| revision.unsigned_abs())
    }

    fn token(&self, key: &[u8]) -> Result<Option<u64>> {
        let Some((stored, _)) = self.0.get(key) else { return Ok(None) };
        let token = std::str::from_utf8(stored).ok().and_then(|text| text.parse().ok());
        let damaged = || Error::new(ErrorKind::DataLoss, "the fencing token kept in etcd is not a number");
        token.map(Some).ok_or_else(damaged)
    }
}

/// What is left of a key in the end.
enum Fate {
    Put { value: Bytes, end: Option<End>, lease: i64 },
    Delete,
}

/// A transaction's conditions and effects, by key.
#[derive(Default)]
pub(super) struct Plan {
    fates: BTreeMap<Vec<u8>, Fate>,
    fences: BTreeMap<Vec<u8>, u64>,
    /// The revisions on which it rests.
    rests: BTreeMap<Vec<u8>, i64>,
}

/// The version of an entry an earlier change of the same transaction writes: nobody can have been told of it.
const UNTOLD: u64 = u64::MAX;

impl Plan {
    /// Goes through the changes in order, each seeing those before it.
    pub(super) fn make(prefix: &str, changes: &[Change], leases: &[i64], present: &Present) -> Result<Self> {
        let mut plan = Self::default();
        for (position, (change, lease)) in changes.iter().zip(leases).enumerate() {
            plan.add(prefix, change, *lease, present).map_err(|error| error.with("operation", position))?;
        }
        Ok(plan)
    }

    fn add(&mut self, prefix: &str, change: &Change, lease: i64, present: &Present) -> Result<()> {
        let key = entry_key(prefix, change.key());
        if let Some(token) = change.fence() {
            let fence = fence_key(prefix, change.key());
            let seen = self.fences.get(&fence).copied();
            let seen = if seen.is_some() { seen } else { present.token(&fence)? };
            check_fence(Some(token), seen)?;
            self.rests.insert(fence.clone(), present.revision(&fence));
            self.fences.insert(fence, token);
        }
        if change.condition() != Condition::Always {
            let version = match self.fates.get(&key) {
                None => present.version(&key),
                Some(Fate::Delete) => None,
                Some(Fate::Put { end, .. }) => end.is_none_or(|end| !end.has_come()).then_some(UNTOLD),
            };
            change.condition().check(version)?;
            self.rests.insert(key.clone(), present.revision(&key));
        }
        let fate = match change {
            Change::Set { value, options, .. } => {
                Fate::Put { value: value.clone(), end: options.ttl.map(End::after), lease }
            }
            Change::Delete { .. } => Fate::Delete,
        };
        self.fates.insert(key, fate);
        Ok(())
    }

    /// The same for etcd. Of changes to one key only the last is told: it takes each key once.
    pub(super) fn transaction(&self) -> Txn {
        let rests = self.rests.iter();
        let rests: Vec<_> = rests
            .map(|(key, revision)| Compare::mod_revision(key.clone(), CompareOp::Equal, *revision))
            .collect();
        let fates = self.fates.iter().map(|(key, fate)| match fate {
            Fate::Put { value, end, lease } => {
                let options = PutOptions::new().with_lease(*lease);
                TxnOp::put(key.clone(), value::stored(value, *end), Some(options))
            }
            Fate::Delete => TxnOp::delete(key.clone(), None),
        });
        let fences = self.fences.iter().map(|(key, token)| TxnOp::put(key.clone(), token.to_string(), None));
        Txn::new().when(rests).and_then(fates.chain(fences).collect::<Vec<_>>())
    }
}
