//! Fully jittered exponential back-off.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long to wait before trying again.
///
/// Before the n-th retry the wait is uniform in `[0, min(max, base × (2ⁿ − 1)))`, Envoy's rule: full jitter
/// spreads a herd over the whole interval instead of moving it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Upper bound of the first wait. Default 25 ms.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub base: Duration,
    /// Upper bound of every wait. Default 250 ms.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl Backoff {
    /// The longest wait before retry number `retry` (1 is the first retry; 0 waits nothing).
    pub fn ceiling(&self, retry: u32) -> Duration {
        let steps = 1u32.checked_shl(retry).map_or(u32::MAX, |power| power - 1);
        self.base.checked_mul(steps).unwrap_or(self.max).min(self.max)
    }

    /// The wait before retry number `retry`, drawn from `random`.
    pub fn delay(&self, retry: u32, random: &mut fastrand::Rng) -> Duration {
        self.ceiling(retry).mul_f64(random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = Backoff::default();
        let check = |retry, millis| assert_eq!(backoff.ceiling(retry), Duration::from_millis(millis));
        check(0, 0);
        check(1, 25);
        check(2, 75);
        check(3, 175);
        check(4, 250);
        check(31, 250);
        check(32, 250);
        check(u32::MAX, 250);
    }

    #[test]
    fn waits_are_spread_over_the_whole_interval() {
        let (backoff, mut random) = (Backoff::default(), fastrand::Rng::with_seed(7));
        let waits: Vec<_> = (0..1_000).map(|_| backoff.delay(4, &mut random)).collect();
        assert!(waits.iter().all(|wait| *wait < backoff.max));
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(10)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(240)));
    }
}
