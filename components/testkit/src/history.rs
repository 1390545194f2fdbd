//! What may be observed of locks, numbers and writes, held against what was: pure functions over a history.
//!
//! Clients write down each call with the moments at which it began and ended, by one clock. Two calls that overlap may
//! have happened in either order; one that ended before the other began came first. A call whose answer was lost (the
//! sidecar or its backend went away meanwhile) may have happened or not, and is left out where it cannot accuse
//! anybody.

mod leases;
mod numbers;
mod writes;

use std::time::Duration;

pub use leases::{Held, leases_overlap};
pub use numbers::{Given, numbers_go_back};
pub use writes::{Write, first_writes, stale_writes};

/// A moment: the time since the run began.
pub type Moment = Duration;

/// What a history shows that must not be, in words.
pub type Violation = String;

/// The calls of each name, so that checkers can look at one resource, key or sequence at a time.
fn by_name<'h, T>(history: &'h [T], name: impl Fn(&'h T) -> &'h str) -> Vec<Vec<&'h T>> {
    let mut groups = std::collections::BTreeMap::<&str, Vec<&T>>::new();
    for call in history {
        groups.entry(name(call)).or_default().push(call);
    }
    groups.into_values().collect()
}
