//! The state block: a key-value store with etags, conditional writes, expiry and transactions.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Component, Error, Result};

/// A key-value store the application reaches by component name.
///
/// Keys and values are bytes; the store reads nothing into them. Every method may be called from any runtime and any
/// number of tasks at once, and dropping a returned future at any point leaves the store whole (a write may then have
/// happened or not).
///
/// Reads see what was acknowledged before they began. A write that returned `Ok` survives whatever the component's
/// documentation promises it survives (a crash of this process, a power cut), and nothing less.
#[async_trait]
pub trait StateStore: Component {
    /// What this store honours. Callers ask first; the suite holds it to its word: what is declared works, and what
    /// is not answers [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) rather than being ignored.
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities::default()
    }

    /// The value of a key. A key never set, deleted or expired is `Ok(None)`.
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>>;

    /// The values of many keys, in the order asked; a key asked twice is answered twice. One key's failure is its own;
    /// the outer error means that nothing could be read. Not a snapshot: keys may come from different moments.
    ///
    /// The default asks for each key on its own, at most `parallelism` at a time.
    async fn get_bulk(&self, keys: &[Key], options: BulkOptions) -> Result<Vec<Result<Option<Entry>>>> {
        let get = GetOptions { consistency: options.consistency };
        // Collected first: a lazily mapped iterator would make the future not general enough to be `Send`.
        let reads: Vec<_> = keys.iter().map(|key| self.get(key, get)).collect();
        Ok(stream::iter(reads).buffered(options.parallelism()).collect().await)
    }

    /// Writes a value and returns its new etag, which differs from every etag the key has had before, also across a
    /// delete. Replaces the whole entry: without [`SetOptions::ttl`] an earlier expiry is gone.
    ///
    /// Writes only if [`SetOptions::condition`] holds at the moment of writing; otherwise
    /// [`Conflict`](crate::ErrorKind::Conflict), and nothing has changed. An etag this store could not have given out
    /// is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag>;

    /// Removes a key. Removing a missing key succeeds, unless an etag was given: that version is not there, which is a
    /// [`Conflict`](crate::ErrorKind::Conflict) like any other stale etag.
    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()>;

    /// Applies each change on its own, in order, and answers for each in the same order (`None` for a delete): not
    /// atomic, and one conflict does not stop the rest. The outer error means that nothing could be applied.
    async fn write_bulk(&self, changes: Vec<Change>) -> Result<Vec<Result<Option<Etag>>>> {
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            results.push(match change {
                Change::Set { key, value, options } => self.set(&key, value, options).await.map(Some),
                Change::Delete { key, options } => self.delete(&key, options).await.map(|()| None),
            });
        }
        Ok(results)
    }

    /// Applies all changes or none, in order; later changes see earlier ones. Other callers see all or nothing.
    /// No changes at all is a success. The error carries the field `operation`, the position of the change that
    /// failed, counted from 0.
    async fn transact(&self, _changes: Vec<Change>) -> Result<()> {
        Err(Error::unsupported("transactions"))
    }
}

/// What a store honours. The default is a plain key-value store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateCapabilities {
    /// Etags are checked, and first-write holds under concurrency.
    pub etags: bool,
    /// Entries with a `ttl` disappear, to the second or better.
    pub ttl: bool,
    /// `transact` works.
    pub transactions: bool,
    /// The most changes one transaction may have; `None` is no limit of the store's own.
    pub max_changes: Option<usize>,
    /// Keys may be any bytes. Without it a key that is not UTF-8 is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub binary_keys: bool,
    /// What is acknowledged survives the end of this process.
    pub persistent: bool,
    /// Writes with a `fence` are held against the highest the key has seen.
    pub fencing: bool,
}

impl StateCapabilities {
    /// The capability words front doors show, as the ecosystem spells them.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        [(self.etags, "ETAG"), (self.transactions, "TRANSACTIONAL"), (self.ttl, "TTL")]
            .into_iter()
            .filter_map(|(has, word)| has.then_some(word))
    }
}

/// The full key of an entry, as stored: never empty, otherwise any bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes; an empty one is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn new(key: impl Into<Bytes>) -> Result<Self> {
        let key = key.into();
        if key.is_empty() { Err(Error::invalid("key is empty")) } else { Ok(Self(key)) }
    }

    /// The bytes to store under.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The key as text; bytes that are not UTF-8 show as replacement characters.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// One version of an entry. Opaque to callers; stores give each write an etag of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Etag(Box<str>);

impl Etag {
    /// The etag a caller sent. Empty means the caller has none: clients of the wire dialects cannot leave the field
    /// out, and an empty etag must not turn a plain write into a conditional one.
    pub fn from_caller(etag: &str) -> Option<Self> {
        (!etag.is_empty()).then(|| Self(etag.into()))
    }

    /// The etag as callers see it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of a store whose etags are versions; anything else never came from such a store.
    pub fn version(&self) -> Result<u64> {
        // `parse` would also take "+7" and "007", which are other strings than the one given out.
        let version = self.0.parse().ok().filter(|version: &u64| *version.to_string() == *self.0);
        version.ok_or_else(|| Error::invalid("etag is malformed: it is not one this store gives out"))
    }
}

impl From<u64> for Etag {
    fn from(version: u64) -> Self {
        Self(version.to_string().into())
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Etag({self})")
    }
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Bytes,
    /// Names this version; pass it as `if_match` to write over this version only.
    pub etag: Etag,
    /// When the entry will be gone; `None` is never.
    pub expires: Option<SystemTime>,
}

/// How fresh or how durable an operation must be. A hint: a store without the distinction gives its best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Whatever the component does when not told.
    #[default]
    Unspecified,
    Eventual,
    Strong,
}

/// What a write does when somebody else may have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// An etag, if given, must match; without one the write wins.
    #[default]
    Unspecified,
    /// An etag, if given, must match; without one the key must not exist.
    FirstWrite,
    /// The write wins, whatever etag comes with it.
    LastWrite,
}

/// What must hold at the moment of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing: the write wins.
    Always,
    /// The key must not exist (an expired entry does not exist).
    Absent,
    /// The key must hold exactly this version.
    Matches(&'a Etag),
}

impl Condition<'_> {
    /// Holds the condition against what a store with numbered versions has: `None` is no such entry, or an expired one.
    pub fn check(self, current: Option<u64>) -> Result<()> {
        match (self, current) {
            (Self::Always, _) | (Self::Absent, None) => Ok(()),
            (Self::Absent, Some(_)) => {
                Err(Error::conflict("the key exists already: another write came first"))
            }
            (Self::Matches(etag), current) => match (etag.version()?, current) {
                (wanted, Some(current)) if wanted == current => Ok(()),
                (_, Some(_)) => {
                    Err(Error::conflict("the etag is stale: the key was written since it was read"))
                }
                (_, None) => {
                    Err(Error::conflict("the etag is stale: the key was deleted or has expired since"))
                }
            },
        }
    }
}

/// Options of [`StateStore::get`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    pub consistency: Consistency,
}

/// Options of [`StateStore::get_bulk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOptions {
    pub consistency: Consistency,
    /// The most reads at once. 0 leaves it to the store, and stores with a read of many keys ignore it.
    pub parallelism: usize,
}

impl BulkOptions {
    /// Enough to hide a network round trip, too little to crowd everybody else out.
    const MAX_PARALLELISM: usize = 64;

    fn parallelism(&self) -> usize {
        if self.parallelism == 0 { 16 } else { self.parallelism.min(Self::MAX_PARALLELISM) }
    }
}

/// Options of [`StateStore::set`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// The version the caller believes it writes over.
    pub if_match: Option<Etag>,
    pub concurrency: Concurrency,
    /// Time to live, counted from the write. `None` lives until deleted; zero is gone at once.
    pub ttl: Option<Duration>,
    pub consistency: Consistency,
    /// A fencing token ([`Lease::token`](crate::Lease::token)): the write is a
    /// [`Conflict`](crate::ErrorKind::Conflict) if the key has seen a higher one, and the key remembers it otherwise,
    /// also across a delete or its time to live. A write that is refused, for whatever reason, leaves nothing to
    /// remember; one without a fence is not held against anything. A store without [`StateCapabilities::fencing`]
    /// answers [`Unsupported`](crate::ErrorKind::Unsupported).
    pub fence: Option<u64>,
}

impl SetOptions {
    /// The one place that says how etag and concurrency combine.
    pub fn condition(&self) -> Condition<'_> {
        match (self.concurrency, &self.if_match) {
            (Concurrency::LastWrite, _) | (Concurrency::Unspecified, None) => Condition::Always,
            (Concurrency::FirstWrite, None) => Condition::Absent,
            (_, Some(etag)) => Condition::Matches(etag),
        }
    }
}

/// Options of [`StateStore::delete`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// The version the caller believes it removes.
    pub if_match: Option<Etag>,
    pub concurrency: Concurrency,
    pub consistency: Consistency,
    /// As [`SetOptions::fence`].
    pub fence: Option<u64>,
}

impl DeleteOptions {
    /// As for [`SetOptions::condition`], but never [`Condition::Absent`]: removing only what is not there says nothing.
    pub fn condition(&self) -> Condition<'_> {
        match (self.concurrency, &self.if_match) {
            (Concurrency::LastWrite, _) | (_, None) => Condition::Always,
            (_, Some(etag)) => Condition::Matches(etag),
        }
    }
}

/// One step of a transaction or of a bulk write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set { key: Key, value: Bytes, options: SetOptions },
    Delete { key: Key, options: DeleteOptions },
}

impl Change {
    /// The key it changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Set { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// What must hold for it to be applied.
    pub fn condition(&self) -> Condition<'_> {
        match self {
            Self::Set { options, .. } => options.condition(),
            Self::Delete { options, .. } => options.condition(),
        }
    }

    /// The fencing token it comes with.
    pub fn fence(&self) -> Option<u64> {
        match self {
            Self::Set { options, .. } => options.fence,
            Self::Delete { options, .. } => options.fence,
        }
    }
}

/// Holds a write's fencing token against the highest its key has seen, if it has seen any. The condition of a write is
/// checked after it: a holder that was overtaken is told so, whatever it read before.
pub fn check_fence(fence: Option<u64>, seen: Option<u64>) -> Result<()> {
    match (fence, seen) {
        (Some(fence), Some(seen)) if fence < seen => {
            let message = "the fencing token is stale: a later holder of the lock has written since";
            Err(Error::conflict(message).with("token", fence).with("seen", seen))
        }
        _ => Ok(()),
    }
}

/// Refuses a fencing token, for stores without [`StateCapabilities::fencing`].
pub fn refuse_fence(fence: Option<u64>) -> Result<()> {
    if fence.is_some() { Err(Error::unsupported("fencing tokens")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn etag_and_concurrency_combine_as_documented() {
        let etag = Etag::from(7);
        let check = |concurrency, if_match: Option<&Etag>, set, delete| {
            let if_match = if_match.cloned();
            let options = SetOptions { if_match: if_match.clone(), concurrency, ..SetOptions::default() };
            assert_eq!(options.condition(), set, "set {options:?}");
            let options = DeleteOptions { if_match, concurrency, ..DeleteOptions::default() };
            assert_eq!(options.condition(), delete, "delete {options:?}");
        };
        use Condition::{Absent, Always, Matches};
        check(Concurrency::Unspecified, None, Always, Always);
        check(Concurrency::Unspecified, Some(&etag), Matches(&etag), Matches(&etag));
        check(Concurrency::FirstWrite, None, Absent, Always);
        check(Concurrency::FirstWrite, Some(&etag), Matches(&etag), Matches(&etag));
        check(Concurrency::LastWrite, None, Always, Always);
        check(Concurrency::LastWrite, Some(&etag), Always, Always);
    }

    #[test]
    fn only_an_older_token_is_stale() {
        let check =
            |fence, seen, fits| assert_eq!(check_fence(fence, seen).is_ok(), fits, "{fence:?} {seen:?}");
        check(None, Some(7), true);
        check(Some(7), None, true);
        check(Some(7), Some(7), true);
        check(Some(8), Some(7), true);
        check(Some(6), Some(7), false);
        assert_eq!(check_fence(Some(6), Some(7)).expect_err("stale").kind(), ErrorKind::Conflict);
        assert_eq!(refuse_fence(Some(1)).expect_err("refused").kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn an_empty_etag_is_none() {
        assert_eq!(Etag::from_caller(""), None);
        assert_eq!(Etag::from_caller("7"), Some(Etag::from(7)));
    }

    #[test]
    fn only_the_canonical_number_is_a_version() {
        let check = |etag: &str, expected: Option<u64>| {
            let etag = Etag::from_caller(etag).expect("not empty");
            assert_eq!(etag.version().ok(), expected, "{etag}");
        };
        check("0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        for malformed in ["18446744073709551616", "+7", "07", "-1", " 7", "a", "7\0"] {
            check(malformed, None);
        }
    }

    #[test]
    fn a_key_is_never_empty() {
        assert_eq!(Key::new("").expect_err("refused").kind(), ErrorKind::InvalidArgument);
        assert_eq!(Key::new(vec![0xff, b'a']).expect("any bytes").to_string(), "\u{fffd}a");
    }
}
