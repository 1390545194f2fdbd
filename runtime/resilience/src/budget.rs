//! How many retries the live traffic may carry.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::window::Window;

/// Retries are limited to a share of the requests of the last seconds, plus a floor that lets a quiet
/// caller retry at all. Limits the amplification of an outage to `1 + ratio`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudgetConfig {
    /// Retries per request. Default 0.2.
    pub ratio: f64,
    /// Retries per second that are always allowed. Default 10.
    pub min_per_second: u32,
    /// The time over which both are counted. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, window: Duration::from_secs(10) }
    }
}

/// The budget of one cluster or component, shared by all workers.
#[derive(Debug)]
pub struct RetryBudget {
    ratio: f64,
    floor: f64,
    requests: Window,
    retries: Window,
}

impl RetryBudget {
    /// An empty budget; its floor is available at once.
    pub fn new(config: &RetryBudgetConfig, now: Instant) -> Self {
        Self {
            ratio: config.ratio.max(0.0),
            floor: f64::from(config.min_per_second) * config.window.as_secs_f64(),
            requests: Window::new(config.window, now),
            retries: Window::new(config.window, now),
        }
    }

    /// Counts a request (not a retry).
    pub fn deposit(&self, now: Instant) {
        self.requests.add(now, 1);
    }

    /// Takes one retry out of the budget; `false` when it is spent.
    ///
    /// Counts first and looks afterwards, so that threads racing for the last retry can only both lose.
    pub fn withdraw(&self, now: Instant) -> bool {
        if self.balance(now) < 1.0 {
            return false;
        }
        self.retries.add(now, 1);
        self.balance(now) >= 0.0
    }

    /// How many retries are left.
    pub fn balance(&self, now: Instant) -> f64 {
        let allowed = self.requests.total(now) as f64 * self.ratio + self.floor;
        allowed - self.retries.total(now) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quiet_caller_has_the_floor() {
        let now = Instant::now();
        let budget = RetryBudget::new(&RetryBudgetConfig::default(), now);
        let granted = (0..1_000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(granted, 100, "10 per second over 10 seconds");
        assert!(budget.withdraw(now + Duration::from_secs(11)), "and again when the window has passed");
    }

    #[test]
    fn a_busy_caller_has_a_fifth_of_its_traffic() {
        let now = Instant::now();
        let config = RetryBudgetConfig { min_per_second: 0, ..Default::default() };
        let budget = RetryBudget::new(&config, now);
        (0..1_000).for_each(|_| budget.deposit(now));
        assert_eq!((0..1_000).filter(|_| budget.withdraw(now)).count(), 200);
    }

    proptest! {
        /// Whatever the order of events, the retries of a window stay within ratio and floor.
        #[test]
        fn never_more_than_ratio_and_floor(
            steps in prop::collection::vec((any::<bool>(), 0u64..700), 1..400)
        ) {
            let start = Instant::now();
            let config = RetryBudgetConfig { min_per_second: 1, ..Default::default() };
            let budget = RetryBudget::new(&config, start);
            let (mut now, mut requests, mut retries) = (start, Vec::new(), Vec::new());
            for (retry, millis) in steps {
                now += Duration::from_millis(millis);
                if !retry {
                    budget.deposit(now);
                    requests.push(now);
                } else if budget.withdraw(now) {
                    retries.push(now);
                    // The model counts over the widest window the ring can cover.
                    let recent = |at: &&Instant| now.duration_since(**at) < Duration::from_secs(10);
                    let sure = |at: &&Instant| now.duration_since(**at) < Duration::from_secs(9);
                    let allowed = requests.iter().filter(recent).count() as f64 * 0.2 + 10.0;
                    prop_assert!(retries.iter().filter(sure).count() as f64 <= allowed);
                }
            }
        }
    }
}
