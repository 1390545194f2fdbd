//! What all series say at one moment, as values and not as text.

use std::time::Duration;

use super::text;

/// One family.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub name: &'static str,
    pub help: &'static str,
    pub series: Vec<Series>,
}

/// One series of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub reading: Reading,
}

/// What a series says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Grows only.
    Count(u64),
    /// Goes up and down.
    Level(i64),
    /// The same, of what is measured when somebody asks.
    Measure(f64),
    /// Durations over [`BUCKETS`](super::BUCKETS) and what is above; not cumulative.
    Distribution { buckets: Vec<u64>, sum: Duration },
    /// Whole numbers over [`BOUNDS`](super::BOUNDS) in the same way.
    Spread { buckets: Vec<u64>, sum: u64 },
    /// Any numbers over [`SAMPLES`](super::SAMPLES) in the same way.
    Samples { buckets: Vec<u64>, sum: f64 },
}

impl Series {
    pub(super) fn new(labels: &str, reading: Reading) -> Self {
        Self { labels: text::labels(labels), reading }
    }
}
