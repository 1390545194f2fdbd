//! Mutual exclusion: no two owners hold one resource at the same moment.

use super::{Moment, Violation, by_name};

/// A lease somebody was told they have, for the time they may act on it.
#[derive(Clone, Debug)]
pub struct Held {
    pub resource: String,
    pub owner: String,
    pub token: u64,
    /// When the answer to the acquisition came.
    pub from: Moment,
    /// When giving it back began, or the acquisition (or the last extension) began plus its time, whichever is first.
    pub until: Moment,
}

/// Every pair of leases on one resource that share a moment.
pub fn leases_overlap(history: &[Held]) -> Vec<Violation> {
    by_name(history, |held| &held.resource).into_iter().flat_map(overlaps).collect()
}

fn overlaps(mut leases: Vec<&Held>) -> Vec<Violation> {
    // An answer that came after the lease had ended let nobody act.
    leases.retain(|held| held.from < held.until);
    leases.sort_by_key(|held| held.from);
    let mut violations = Vec::new();
    let mut latest: Option<&Held> = None;
    for held in leases {
        if let Some(before) = latest.filter(|before| held.from < before.until) {
            violations.push(format!("{before:?} and {held:?} overlap"));
        }
        latest = latest.into_iter().chain([held]).max_by_key(|held| held.until);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(resource: &str, from: u64, until: u64) -> Held {
        let [from, until] = [from, until].map(Moment::from_millis);
        Held { resource: resource.to_owned(), owner: "o".to_owned(), token: 1, from, until }
    }

    #[test]
    fn only_leases_that_share_a_moment_overlap() {
        let check = |history: &[Held], violations| {
            assert_eq!(leases_overlap(history).len(), violations, "{history:?}");
        };
        check(&[held("a", 0, 10), held("a", 10, 20), held("b", 5, 15)], 0);
        check(&[held("a", 12, 20), held("a", 0, 10), held("a", 10, 12)], 0);
        check(&[held("a", 0, 10), held("a", 9, 20)], 1);
        check(&[held("a", 0, 100), held("a", 10, 11), held("a", 50, 60)], 2);
        // Told too late: nobody acted on it.
        check(&[held("a", 0, 10), held("a", 9, 8)], 0);
    }
}
