//! Sequences and fencing tokens: numbers that are given out once, each larger than all before it.

use super::{Moment, Violation, by_name};

/// A number somebody was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The sequence, or the resource whose fencing token it is.
    pub name: String,
    pub number: i64,
    pub asked: Moment,
    pub answered: Moment,
}

/// Every number that was given out twice, or is not larger than one that was answered before it was asked for.
pub fn numbers_go_back(history: &[Given]) -> Vec<Violation> {
    by_name(history, |given| &given.name)
        .into_iter()
        .flat_map(|given| [repeated(given.clone()), backwards(given)].concat())
        .collect()
}

fn repeated(mut given: Vec<&Given>) -> Vec<Violation> {
    given.sort_by_key(|given| given.number);
    let pairs = given.iter().zip(given.iter().skip(1));
    pairs
        .filter(|(a, b)| a.number == b.number)
        .map(|(a, b)| format!("{a:?} and {b:?} are one number"))
        .collect()
}

fn backwards(given: Vec<&Given>) -> Vec<Violation> {
    let (mut by_asked, mut by_answered) = (given.clone(), given);
    by_asked.sort_by_key(|given| given.asked);
    by_answered.sort_by_key(|given| given.answered);
    let mut answered = by_answered.into_iter().peekable();
    let mut highest: Option<&Given> = None;
    let mut violations = Vec::new();
    for given in by_asked {
        while let Some(before) = answered.next_if(|before| before.answered < given.asked) {
            highest = highest.into_iter().chain([before]).max_by_key(|given| given.number);
        }
        if let Some(highest) = highest.filter(|highest| given.number <= highest.number) {
            violations.push(format!("{given:?} was asked for after {highest:?} had been answered"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(number: i64, asked: u64, answered: u64) -> Given {
        let [asked, answered] = [asked, answered].map(Moment::from_millis);
        Given { name: "s".to_owned(), number, asked, answered }
    }

    #[test]
    fn only_overlapping_calls_may_be_answered_in_either_order() {
        let check = |history: &[Given], violations| {
            assert_eq!(numbers_go_back(history).len(), violations, "{history:?}");
        };
        check(&[given(1, 0, 1), given(2, 2, 3), given(9, 4, 5)], 0);
        check(&[given(2, 0, 10), given(1, 1, 9)], 0);
        check(&[given(2, 0, 1), given(1, 2, 3)], 1);
        // One call that is older than all others does not hide the step back behind it.
        check(&[given(7, 0, 100), given(3, 1, 2), given(2, 3, 4)], 1);
        check(&[given(1, 0, 10), given(1, 1, 9)], 1);
        check(&[given(1, 0, 1), given(1, 2, 3)], 2);
        let other = Given { name: "t".to_owned(), ..given(1, 2, 3) };
        check(&[given(1, 0, 1), other], 0);
    }
}
