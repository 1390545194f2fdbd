//! Counter, gauge and histogram: what one series counts with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::buckets::Buckets;
use super::snapshot::Reading;
use super::text;
use crate::shard::Sharded;

/// What a [`super::Family`] holds.
pub trait Kind: Clone + Send + Sync + 'static {
    const TYPE: &'static str;
    fn new() -> Self;
    /// Whether nobody but the family holds this series any more.
    fn is_unused(&self) -> bool;
    fn render(&self, out: &mut String, name: &str, labels: &str);
    fn read(&self) -> Reading;
}

/// A count that only grows.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Sharded<AtomicU64>>);

impl Counter {
    /// A counter that belongs to no registry, for tests and defaults.
    pub fn detached() -> Self {
        Kind::new()
    }

    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.here().fetch_add(n, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.iter().map(|cell| cell.load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

impl Kind for Counter {
    const TYPE: &'static str = "counter";

    fn new() -> Self {
        Self(Arc::default())
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        text::sample(out, name, labels, "", self.value());
    }

    fn read(&self) -> Reading {
        Reading::Count(self.value())
    }
}

/// A value that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Sharded<AtomicI64>>);

impl Gauge {
    /// A gauge that belongs to no registry, for tests and defaults.
    pub fn detached() -> Self {
        Kind::new()
    }

    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    #[inline]
    pub fn add(&self, n: i64) {
        self.0.here().fetch_add(n, Relaxed);
    }

    /// Sets the value. For gauges with one writer: an `add` from another thread at the same moment may be lost.
    pub fn set(&self, value: i64) {
        let mut rest = value;
        for cell in self.0.iter() {
            cell.store(std::mem::take(&mut rest), Relaxed);
        }
    }

    pub fn value(&self) -> i64 {
        self.0.iter().map(|cell| cell.load(Relaxed)).fold(0, i64::wrapping_add)
    }
}

impl Kind for Gauge {
    const TYPE: &'static str = "gauge";

    fn new() -> Self {
        Self(Arc::default())
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        text::sample(out, name, labels, "", self.value());
    }

    fn read(&self) -> Reading {
        Reading::Level(self.value())
    }
}

/// Upper bounds of the histogram's buckets and their text in seconds; a last bucket takes what is above.
pub const BUCKETS: [(Duration, &str); 19] = [
    (Duration::from_micros(50), "0.00005"),
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_millis(2_500), "2.5"),
    (Duration::from_secs(5), "5"),
    (Duration::from_secs(10), "10"),
    (Duration::from_secs(30), "30"),
    (Duration::from_secs(60), "60"),
];

/// A distribution of durations over [`BUCKETS`].
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Sharded<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    buckets: Buckets<{ BUCKETS.len() + 1 }>,
    nanos: AtomicU64,
}

impl Histogram {
    /// A histogram that belongs to no registry, for tests and defaults.
    pub fn detached() -> Self {
        Kind::new()
    }

    #[inline]
    pub fn observe(&self, took: Duration) {
        let observed = self.0.here();
        observed.buckets.count(BUCKETS.partition_point(|(bound, _)| *bound < took));
        observed.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.buckets().sum()
    }

    /// Each bucket over all shards.
    fn buckets(&self) -> impl Iterator<Item = u64> {
        Buckets::totals(|| self.0.iter().map(|observed| &observed.buckets))
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(
            self.0.iter().map(|observed| observed.nanos.load(Relaxed)).fold(0, u64::wrapping_add),
        )
    }
}

impl Kind for Histogram {
    const TYPE: &'static str = "histogram";

    fn new() -> Self {
        Self(Arc::default())
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        text::histogram(
            out,
            name,
            labels,
            BUCKETS.iter().map(|(_, text)| *text),
            self.buckets(),
            self.sum().as_secs_f64(),
        );
    }

    fn read(&self) -> Reading {
        Reading::Distribution { buckets: self.buckets().collect(), sum: self.sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_text_says_its_bound() {
        for (bound, text) in BUCKETS {
            assert_eq!(text.parse::<f64>().unwrap(), bound.as_secs_f64());
        }
        assert!(BUCKETS.is_sorted());
    }

    #[test]
    fn set_replaces_what_all_shards_added() {
        let gauge = Gauge::detached();
        std::thread::scope(|scope| {
            for i in 0..4 {
                let gauge = gauge.clone();
                scope.spawn(move || {
                    crate::shard::set_index(i);
                    gauge.add(5);
                });
            }
        });
        assert_eq!(gauge.value(), 20);
        gauge.set(7);
        assert_eq!(gauge.value(), 7);
    }
}
