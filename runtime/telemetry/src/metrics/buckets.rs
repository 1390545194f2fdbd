//! What histograms count, in one shard.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One number for each bucket. Not cumulative; the text form adds them up.
#[derive(Debug)]
pub(super) struct Buckets<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Buckets<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Buckets<N> {
    #[inline]
    pub(super) fn count(&self, bucket: usize) {
        if let Some(bucket) = self.0.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Each bucket over all shards.
    pub(super) fn totals<'s, S: Iterator<Item = &'s Self>>(
        shards: impl Fn() -> S,
    ) -> impl Iterator<Item = u64> {
        let shards = move |i| shards().filter_map(move |shard| shard.0.get(i));
        (0..N).map(move |i| shards(i).map(|bucket| bucket.load(Relaxed)).sum())
    }
}
