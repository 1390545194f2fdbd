//! Writes that come with a fencing token, and first writes.

use std::collections::BTreeMap;

use super::{Moment, Violation, by_name};

/// A write that was accepted.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: String,
    pub token: u64,
    pub asked: Moment,
    pub answered: Moment,
}

/// Every accepted write of a holder that was overtaken: one with a higher token had been accepted before it began.
pub fn stale_writes(history: &[Write]) -> Vec<Violation> {
    by_name(history, |write| &write.key).into_iter().flat_map(stale).collect()
}

fn stale(writes: Vec<&Write>) -> Vec<Violation> {
    let (mut by_asked, mut by_answered) = (writes.clone(), writes);
    by_asked.sort_by_key(|write| write.asked);
    by_answered.sort_by_key(|write| write.answered);
    let mut answered = by_answered.into_iter().peekable();
    let mut highest: Option<&Write> = None;
    let mut violations = Vec::new();
    for write in by_asked {
        while let Some(before) = answered.next_if(|before| before.answered < write.asked) {
            highest = highest.into_iter().chain([before]).max_by_key(|write| write.token);
        }
        if let Some(highest) = highest.filter(|highest| write.token < highest.token) {
            violations.push(format!("{write:?} was accepted after {highest:?}"));
        }
    }
    violations
}

/// Every key whose first write was won more than once, or by nobody although everybody was answered: `won` names the
/// key of each call that won, `lost` of each that was refused, `unknown` of each whose answer was lost.
pub fn first_writes(won: &[String], lost: &[String], unknown: &[String]) -> Vec<Violation> {
    let mut winners = BTreeMap::<&str, usize>::new();
    for key in lost {
        winners.entry(key).or_default();
    }
    for key in won {
        *winners.entry(key).or_default() += 1;
    }
    let wrong = winners.into_iter().filter(|(key, winners)| match winners {
        0 => !unknown.iter().any(|other| other == key),
        1 => false,
        _ => true,
    });
    wrong.map(|(key, winners)| format!("the first write of {key} was won {winners} times")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(token: u64, asked: u64, answered: u64) -> Write {
        let [asked, answered] = [asked, answered].map(Moment::from_millis);
        Write { key: "k".to_owned(), token, asked, answered }
    }

    #[test]
    fn only_a_write_that_began_after_a_later_holders_is_stale() {
        let check = |history: &[Write], violations| {
            assert_eq!(stale_writes(history).len(), violations, "{history:?}");
        };
        check(&[write(1, 0, 1), write(1, 2, 3), write(2, 4, 5), write(2, 6, 7)], 0);
        check(&[write(2, 0, 10), write(1, 1, 9)], 0);
        check(&[write(2, 0, 1), write(1, 2, 3)], 1);
        check(&[write(2, 0, 1), write(1, 2, 3), write(1, 4, 5), write(3, 6, 7)], 2);
    }

    #[test]
    fn one_call_wins_each_key() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let check = |won: &[&str], lost: &[&str], unknown: &[&str], violations| {
            let found = first_writes(&keys(won), &keys(lost), &keys(unknown));
            assert_eq!(found.len(), violations, "{found:?}");
        };
        check(&["a", "b"], &["a", "a", "b"], &[], 0);
        check(&["a", "a"], &["a"], &[], 1);
        check(&[], &["a"], &[], 1);
        // Whoever did not hear the answer may have won.
        check(&[], &["a"], &["a"], 0);
        check(&["a", "a"], &[], &["a"], 1);
    }
}
