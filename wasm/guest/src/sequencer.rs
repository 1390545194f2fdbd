//! Numbers that only grow.

use crate::Result;
use crate::bindgen::imports::outrigger::functions::sequencer as wit;

/// The next number: larger than any before.
pub fn next(store: &str, key: &str) -> Result<i64> {
    wit::next(store, key, false)
}

/// The next number, without gaps as far as the component can.
pub fn next_in_row(store: &str, key: &str) -> Result<i64> {
    wit::next(store, key, true)
}
