//! A bucket that fills with time and, by what we did ourselves, with credit.

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Budget {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    pub(super) fn full(now: Instant, burst: u32) -> Self {
        Self { tokens: f64::from(burst), filled: now }
    }

    /// Takes one; false when there is none left.
    pub(super) fn take(&mut self, now: Instant, per_second: u32, burst: u32) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let burst = f64::from(burst);
        // Time fills only up to the burst; credit above it stays.
        if self.tokens < burst {
            self.tokens = (self.tokens + passed * f64::from(per_second)).min(burst);
        }
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// Adds what an act of ours entitles the peer to, up to `most` in all.
    pub(super) fn credit(&mut self, n: u32, most: u32) {
        self.tokens = (self.tokens + f64::from(n)).min(f64::from(most).max(self.tokens));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_fills_to_the_burst_and_credit_above_it() {
        let now = Instant::now();
        let mut budget = Budget::full(now, 2);
        let take = |budget: &mut Budget, after: u64| budget.take(now + Duration::from_secs(after), 1, 2);
        assert!(take(&mut budget, 0) && take(&mut budget, 0) && !take(&mut budget, 0));
        assert!(take(&mut budget, 1) && !take(&mut budget, 1));
        assert!(take(&mut budget, 100) && take(&mut budget, 100) && !take(&mut budget, 100));
        budget.credit(10, 5);
        assert_eq!((0..10).filter(|_| take(&mut budget, 100)).count(), 5);
    }
}
