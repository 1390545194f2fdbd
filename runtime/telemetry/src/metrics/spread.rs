//! A histogram of whole numbers, whose unit is nobody's business here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::buckets::Buckets;
use super::kinds::Kind;
use super::snapshot::Reading;
use super::text;
use crate::shard::Sharded;

/// Upper bounds of the buckets; a last bucket takes what is above.
pub const BOUNDS: [u64; 28] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];

/// A distribution over [`BOUNDS`].
#[derive(Clone, Debug)]
pub struct Spread(Arc<Sharded<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    buckets: Buckets<{ BOUNDS.len() + 1 }>,
    sum: AtomicU64,
}

impl Spread {
    #[inline]
    pub fn observe(&self, value: u64) {
        let observed = self.0.here();
        observed.buckets.count(BOUNDS.partition_point(|bound| *bound < value));
        observed.sum.fetch_add(value, Relaxed);
    }

    /// Each bucket over all shards.
    fn buckets(&self) -> impl Iterator<Item = u64> {
        Buckets::totals(|| self.0.iter().map(|observed| &observed.buckets))
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|observed| observed.sum.load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

impl Kind for Spread {
    const TYPE: &'static str = "histogram";

    fn new() -> Self {
        Self(Arc::default())
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        text::histogram(out, name, labels, BOUNDS.iter(), self.buckets(), self.sum());
    }

    fn read(&self) -> Reading {
        Reading::Spread { buckets: self.buckets().collect(), sum: self.sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_they_were_observed() {
        assert!(BOUNDS.is_sorted());
        let spread = Spread::new();
        [0, 1, 3, 1500, u64::MAX / 2].into_iter().for_each(|value| spread.observe(value));
        let mut text = String::new();
        spread.render(&mut text, "x_bytes", "");
        for (line, count) in
            [("1", 2), ("2", 2), ("5", 3), ("1000", 3), ("2000", 4), ("1000000000", 4), ("+Inf", 5)]
        {
            assert!(text.contains(&format!("x_bytes_bucket{{le=\"{line}\"}} {count}\n")), "{line} in {text}");
        }
        assert!(text.ends_with(&format!("x_bytes_sum {}\nx_bytes_count 5\n", u64::MAX / 2 + 1504)), "{text}");
    }
}
