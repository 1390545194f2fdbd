//! The sequencer block on etcd: a number is the version of a key, which etcd counts, and what the key's value adds to it.
//! Layotto's sequencer knows the version alone, so the two share a sequence as long as nobody asks for segments or for
//! numbers above a bound.

use std::sync::Arc;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};
use outrigger_component_api::{
    Backend, BuildContext, Component, Error, ErrorKind, Key, NextOptions, Result, Segment, Sequencer,
    SequencerCapabilities, async_trait,
};

use crate::config::EtcdConfig;
use crate::failure::{from_etcd, is_missing_key};
use crate::link::Links;

/// Registers [`EtcdSequencer`] as `sequencer.etcd`.
pub struct EtcdSequencerBackend;

#[async_trait]
impl Backend for EtcdSequencerBackend {
    const TYPE: &'static str = "sequencer.etcd";
    const ABOUT: &'static str = "Sequences in an etcd cluster: one agreed write a number, or a segment.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("endpoints", "localhost:2379")];
    type Config = EtcdConfig;
    type Block = dyn Sequencer;

    async fn build(config: EtcdConfig, _: &BuildContext) -> Result<Arc<dyn Sequencer>> {
        Ok(Arc::new(EtcdSequencer::new(&config)?))
    }
}

/// A sequencer in an etcd cluster. Connects with the first call.
pub struct EtcdSequencer {
    links: Links,
    prefix: String,
}

/// A sequence as it is found; that of a key that does not exist is at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sequence {
    revision: i64,
    version: i64,
    added: i64,
}

/// How often a jump is tried against others that take numbers meanwhile. Each round somebody wins.
const MOST_ROUNDS: usize = 200;

impl EtcdSequencer {
    pub fn new(config: &EtcdConfig) -> Result<Self> {
        Ok(Self { links: Links::new(config)?, prefix: config.prefix("/layotto/") })
    }

    fn key(&self, key: &Key) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// The next number of a sequence that exists, in one step: etcd counts, the value stays, and what was there comes
    /// back.
    async fn count(&self, key: &[u8]) -> Result<Option<i64>> {
        let (key, options) = (key.to_vec(), PutOptions::new().with_ignore_value().with_prev_key());
        let put = self.links.attempt(|etcd| async move { etcd.kv().put(key, "", Some(options)).await });
        let before = match put.await? {
            Ok(mut answer) => answer.take_prev_key(),
            Err(error) if is_missing_key(&error) => return Ok(None),
            Err(error) => return Err(from_etcd(&error)),
        };
        let before = before.ok_or_else(|| Error::internal("etcd did not say what it counted on"))?;
        Sequence::read(before.mod_revision(), before.version(), before.value())?.above(0, 1).map(Some)
    }

    /// Numbers `size` in a row above a bound, decided on what is there and tried until nobody was faster. The last.
    async fn jump(&self, key: &[u8], bigger_than: i64, size: i64) -> Result<i64> {
        let mut sequence = self.look(key).await?;
        for _ in 0..MOST_ROUNDS {
            let last = sequence.above(bigger_than, size)?;
            // The version this write will have, which may not pass the number: then the value could not say it.
            let added = last - (sequence.version + 1);
            let unchanged = Compare::mod_revision(key.to_vec(), CompareOp::Equal, sequence.revision);
            let value = if added == 0 { String::new() } else { added.to_string() };
            let txn = Txn::new()
                .when([unchanged])
                .and_then([TxnOp::put(key.to_vec(), value, None)])
                .or_else([TxnOp::get(key.to_vec(), None)]);
            let answer = self.links.run(|etcd| async move { etcd.kv().txn(txn).await }).await?;
            if answer.succeeded() {
                return Ok(last);
            }
            sequence = match answer.op_responses().into_iter().next() {
                Some(TxnOpResponse::Get(found)) => Sequence::first(found.kvs())?,
                _ => return Err(Error::internal("etcd did not say what is there")),
            };
            // Where the bound has been passed meanwhile, counting does, and nobody can be faster than that.
            if size == 1
                && sequence.present().is_some_and(|present| present >= bigger_than)
                && let Some(number) = self.count(key).await?
                && number > bigger_than
            {
                return Ok(number);
            }
        }
        Err(Error::unavailable("too many others are taking numbers of this sequence"))
    }

    async fn look(&self, key: &[u8]) -> Result<Sequence> {
        let key = key.to_vec();
        let found = self.links.run(|etcd| async move { etcd.kv().get(key, None).await }).await?;
        Sequence::first(found.kvs())
    }
}

impl Sequence {
    fn first(found: &[etcd_client::KeyValue]) -> Result<Self> {
        let read =
            |pair: &etcd_client::KeyValue| Self::read(pair.mod_revision(), pair.version(), pair.value());
        found.first().map_or(Ok(Self::default()), read)
    }

    fn read(revision: i64, version: i64, value: &[u8]) -> Result<Self> {
        let added = match value {
            b"" => Some(0),
            digits => std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()),
        };
        let foreign =
            || Error::new(ErrorKind::DataLoss, "the key in etcd holds something that is no sequence");
        Ok(Self { revision, version, added: added.ok_or_else(foreign)? })
    }

    /// The last number that was given out.
    fn present(self) -> Option<i64> {
        self.version.checked_add(self.added)
    }

    /// The last of the `size` numbers that come next above a bound.
    fn above(self, bigger_than: i64, size: i64) -> Result<i64> {
        let last = self.present().and_then(|present| present.max(bigger_than).checked_add(size));
        last.ok_or_else(|| Error::new(ErrorKind::FailedPrecondition, "the sequence is at its end"))
    }
}

#[async_trait]
impl Component for EtcdSequencer {
    async fn ping(&self) -> Result<()> {
        self.links.ping(&self.prefix).await
    }
}

#[async_trait]
impl Sequencer for EtcdSequencer {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: true, bigger_than: true, persistent: true }
    }

    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        let key = self.key(key);
        // A bound is passed once; then counting alone is enough. At the very end of the range it would be lost.
        if options.bigger_than < i64::MAX
            && let Some(number) = self.count(&key).await?
            && number > options.bigger_than
        {
            return Ok(number);
        }
        self.jump(&key, options.bigger_than.max(0), 1).await
    }

    async fn segment(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        if size == 0 {
            return Err(Error::invalid("a segment of no numbers was asked for"));
        }
        let size = i64::from(size);
        let last = self.jump(&self.key(key), options.bigger_than.max(0), size).await?;
        Ok(Segment { first: last - size + 1, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_version_and_value() {
        let check = |version, value: &[u8], bigger_than, size, expected: Option<i64>| {
            let sequence = Sequence::read(7, version, value).expect("readable");
            assert_eq!(sequence.above(bigger_than, size).ok(), expected, "{sequence:?} {bigger_than} {size}");
        };
        check(0, b"", 0, 1, Some(1));
        check(3, b"", 0, 1, Some(4));
        check(3, b"997", 0, 10, Some(1010));
        check(3, b"", 100, 1, Some(101));
        check(3, b"997", 100, 1, Some(1001));
        check(1, b"9223372036854775806", 0, 1, None);
        check(1, b"9223372036854775807", 0, 1, None);
        check(1, b"", i64::MAX - 1, 1, Some(i64::MAX));
        check(1, b"", i64::MAX, 1, None);
        assert_eq!(Sequence::read(1, 1, b"owner").expect_err("foreign").kind(), ErrorKind::DataLoss);
    }
}
