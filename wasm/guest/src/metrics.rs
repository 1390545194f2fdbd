//! Series on the sidecar's `/metrics`, as `NAME{function="…"}`.

use crate::bindgen::imports::outrigger::functions::metrics as wit;

/// Adds to a counter.
pub fn count(name: &str, by: u64) {
    wit::count(name, by);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: i64) {
    wit::gauge(name, value);
}

/// Takes a sample of a histogram.
pub fn observe(name: &str, value: f64) {
    wit::observe(name, value);
}
