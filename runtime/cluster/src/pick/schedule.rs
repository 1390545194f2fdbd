//! The order of turns for unequal weights, worked out once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The longest schedule; heavier sets of weights are scaled down to it.
const MAX_TURNS: u64 = 16_384;

/// A cycle of indices in which each appears in proportion to its weight, as evenly spread as possible:
/// earliest deadline first, where an endpoint of weight `w` is due every `1/w`.
///
/// Walking a fixed cycle needs one atomic counter and no lock, unlike the heap it came from.
pub(super) fn smooth(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    let scale = |weight: u32| {
        let weight = u64::from(weight / divisor);
        if total <= MAX_TURNS { weight } else { (weight * MAX_TURNS / total).max(1) }
    };
    let weights: Vec<u64> = weights.iter().map(|weight| scale(*weight)).collect();
    let turns: u64 = weights.iter().sum();
    // Deadlines are whole numbers over the common denominator `turns × MAX_TURNS`, so equal ones are equal.
    let period = |weight: u64| (turns * MAX_TURNS).checked_div(weight);
    let mut due: BinaryHeap<_> = weights
        .iter()
        .zip(0u32..)
        // Half a period in, so that the light ones come in the middle of a cycle and not at its end.
        .filter_map(|(weight, index)| {
            period(*weight).map(|period| Reverse((period / 2, Reverse(*weight), index)))
        })
        .collect();
    let mut schedule = Vec::with_capacity(usize::try_from(turns).unwrap_or_default());
    let mut left = weights.clone();
    while let Some(Reverse((deadline, Reverse(weight), index))) = due.pop() {
        schedule.push(index);
        if let Some(left) = left.get_mut(index as usize) {
            *left -= 1;
            if let (1.., Some(period)) = (*left, period(weight)) {
                due.push(Reverse((deadline + period, Reverse(weight), index)));
            }
        }
    }
    schedule.into()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly() {
        let check =
            |weights: &[u32], expected: &[u32]| assert_eq!(&*smooth(weights), expected, "{weights:?}");
        check(&[1], &[0]);
        check(&[2, 2], &[0, 1]);
        check(&[2, 1], &[0, 1, 0]);
        check(&[5, 1, 1], &[0, 0, 0, 1, 2, 0, 0]);
        check(&[], &[]);
    }

    #[test]
    fn shares_follow_the_weights_over_every_stretch() {
        let weights = [7u32, 3, 2, 1];
        let schedule = smooth(&weights);
        let total: u32 = weights.iter().sum();
        assert_eq!(schedule.len(), total as usize);
        for (index, weight) in (0u32..).zip(weights) {
            for length in 1..=schedule.len() {
                let seen = schedule.iter().take(length).filter(|turn| **turn == index).count() as f64;
                let fair = length as f64 * f64::from(weight) / f64::from(total);
                assert!((seen - fair).abs() <= 1.0 + 1e-9, "{index} had {seen} of {fair} after {length}");
            }
        }
    }

    #[test]
    fn heavy_sets_stay_short() {
        let weights: Vec<u32> = (0..1_000).map(|index| 1 + (index * 7) % 1_000).collect();
        let schedule = smooth(&weights);
        assert!(schedule.len() <= 2 * MAX_TURNS as usize, "{}", schedule.len());
        assert!((0..1_000).all(|index| schedule.contains(&index)));
    }
}
