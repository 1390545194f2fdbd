//! A histogram of any numbers, for those who measure what we know nothing of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::buckets::Buckets;
use super::kinds::Kind;
use super::snapshot::Reading;
use super::text;
use crate::shard::Sharded;

/// Upper bounds of the buckets, from a millionth to a billion; a last bucket takes what is above.
pub const SAMPLES: [f64; 46] = [
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1,
    5e-1, 1e0, 2e0, 5e0, 1e1, 2e1, 5e1, 1e2, 2e2, 5e2, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6,
    5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8, 1e9,
];

/// A distribution over [`SAMPLES`].
#[derive(Clone, Debug)]
pub struct Samples(Arc<Sharded<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    buckets: Buckets<{ SAMPLES.len() + 1 }>,
    /// The bits of it.
    sum: AtomicU64,
}

impl Samples {
    /// Adds a sample. What is not a number, or has no end, is none.
    pub fn observe(&self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let observed = self.0.here();
        observed.buckets.count(SAMPLES.partition_point(|bound| *bound < value));
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It adds until nobody else has in between.
        let _always = observed.sum.fetch_update(Relaxed, Relaxed, add);
    }

    /// Each bucket over all shards.
    fn buckets(&self) -> impl Iterator<Item = u64> {
        Buckets::totals(|| self.0.iter().map(|observed| &observed.buckets))
    }

    fn sum(&self) -> f64 {
        self.0.iter().map(|observed| f64::from_bits(observed.sum.load(Relaxed))).sum()
    }
}

impl Kind for Samples {
    const TYPE: &'static str = "histogram";

    fn new() -> Self {
        Self(Arc::default())
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        text::histogram(out, name, labels, SAMPLES.iter(), self.buckets(), self.sum());
    }

    fn read(&self) -> Reading {
        Reading::Samples { buckets: self.buckets().collect(), sum: self.sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_told_and_nothing_else() {
        assert!(SAMPLES.is_sorted());
        let samples = Samples::new();
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        [-1.0, 0.25, 0.25, 3.0, 2e9].into_iter().chain(odd).for_each(|value| samples.observe(value));
        let mut text = String::new();
        samples.render(&mut text, "x", "");
        for (line, count) in
            [("0.000001", 1), ("0.2", 1), ("0.5", 3), ("2", 3), ("5", 4), ("1000000000", 4), ("+Inf", 5)]
        {
            assert!(text.contains(&format!("x_bucket{{le=\"{line}\"}} {count}\n")), "{line} in {text}");
        }
        assert!(text.ends_with("x_sum 2000000002.5\nx_count 5\n"), "{text}");
    }
}
