//! One part of the map: entries and, beside them, the order in which they expire. Locking is the caller's.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use outrigger_component_api::{Entry, Etag, Key};

/// Entries whose keys hash here.
#[derive(Default)]
pub(crate) struct Shard {
    entries: HashMap<Key, Record>,
    /// Exactly the entries that have a deadline, soonest first. Kept exact, so that rewriting one key with a ttl
    /// again and again leaves nothing behind.
    deadlines: BTreeSet<(Instant, Key)>,
    /// The highest fencing token each key has seen; stays when the entry goes.
    fences: HashMap<Key, u64>,
}

struct Record {
    value: Bytes,
    version: u64,
    deadline: Option<Deadline>,
}

/// When an entry is gone: by the monotonic clock, and as the wall clock would have it for those who ask.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    wall: SystemTime,
}

impl Deadline {
    /// A ttl beyond what the clock can count never ends.
    pub(crate) fn after(ttl: Duration, now: Instant) -> Option<Self> {
        Some(Self { at: now.checked_add(ttl)?, wall: SystemTime::now().checked_add(ttl)? })
    }
}

impl Record {
    fn is_live(&self, now: Instant) -> bool {
        self.deadline.is_none_or(|deadline| now < deadline.at)
    }
}

impl Shard {
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Entry> {
        let record = self.live(key, now)?;
        let expires = record.deadline.map(|deadline| deadline.wall);
        Some(Entry { value: record.value.clone(), etag: Etag::from(record.version), expires })
    }

    pub(crate) fn version(&self, key: &Key, now: Instant) -> Option<u64> {
        self.live(key, now).map(|record| record.version)
    }

    pub(crate) fn fence(&self, key: &Key) -> Option<u64> {
        self.fences.get(key).copied()
    }

    /// Remembers the token of a write that is made.
    pub(crate) fn raise_fence(&mut self, key: &Key, token: Option<u64>) {
        if let Some(token) = token {
            self.fences.insert(key.clone(), token);
        }
    }

    fn live(&self, key: &Key, now: Instant) -> Option<&Record> {
        self.entries.get(key).filter(|record| record.is_live(now))
    }

    pub(crate) fn insert(&mut self, key: &Key, value: Bytes, version: u64, deadline: Option<Deadline>) {
        let previous = self.entries.insert(key.clone(), Record { value, version, deadline });
        self.forget_deadline(key, previous.as_ref());
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline.at, key.clone()));
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let previous = self.entries.remove(key);
        self.forget_deadline(key, previous.as_ref());
    }

    fn forget_deadline(&mut self, key: &Key, record: Option<&Record>) {
        if let Some(deadline) = record.and_then(|record| record.deadline) {
            self.deadlines.remove(&(deadline.at, key.clone()));
        }
    }

    /// Frees at most `limit` expired entries and returns how many.
    pub(crate) fn sweep(&mut self, now: Instant, limit: usize) -> usize {
        for swept in 0..limit {
            match self.deadlines.first() {
                Some((at, _)) if *at <= now => {}
                _ => return swept,
            }
            if let Some((_, key)) = self.deadlines.pop_first() {
                self.entries.remove(&key);
            }
        }
        limit
    }

    /// When the next entry expires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.deadlines.len())
    }
}
