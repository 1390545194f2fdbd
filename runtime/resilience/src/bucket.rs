//! A token bucket that is one atomic word.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBucketConfig {
    /// The most that can be saved up, and what a new bucket starts with. At least 1.
    pub capacity: u64,
    /// Tokens added per second, continuously. Above 0, at most 100 million.
    pub refill_per_second: f64,
}

impl TokenBucketConfig {
    /// What is wrong with these numbers, in words for the operator.
    ///
    /// # Errors
    /// When the capacity is zero, or the refill is not in `(0, 100_000_000]`.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.capacity == 0 {
            return Err("capacity must be at least 1");
        }
        if !(self.refill_per_second > 0.0 && self.refill_per_second <= 1e8) {
            return Err("refill_per_second must be above 0 and at most 100000000");
        }
        Ok(())
    }
}

/// Shared by all workers; taking a token is one compare-and-swap.
///
/// The only state is the moment at which the bucket was last empty (GCRA's theoretical arrival time, seen
/// from the other side): what it holds is the time since then, times the rate, up to the capacity.
#[derive(Debug)]
pub struct TokenBucket {
    origin: Instant,
    capacity: u64,
    /// Nanoseconds it takes to earn one token.
    interval: f64,
    /// Nanoseconds since `origin` at which the bucket was empty.
    empty_at: AtomicI64,
}

impl TokenBucket {
    /// A full bucket. Numbers outside [`TokenBucketConfig::validate`]'s range are pulled into it.
    pub fn new(config: &TokenBucketConfig, now: Instant) -> Self {
        let capacity = config.capacity.max(1);
        let interval = 1e9 / config.refill_per_second.clamp(1e-6, 1e8);
        let full_since = -((capacity as f64 * interval) as i64);
        Self { origin: now, capacity, interval, empty_at: AtomicI64::new(full_since) }
    }

    /// Takes `tokens` at once or none at all.
    ///
    /// # Errors
    /// The time until they will be there, or `Duration::MAX` when the bucket can never hold as many.
    pub fn take(&self, tokens: u64, now: Instant) -> Result<(), Duration> {
        if tokens > self.capacity {
            return Err(Duration::MAX);
        }
        let now = self.nanos(now);
        let full_since = now.saturating_sub(self.cost(self.capacity));
        let cost = self.cost(tokens);
        let mut seen = self.empty_at.load(Ordering::Relaxed);
        loop {
            let next = seen.max(full_since).saturating_add(cost);
            if next > now {
                return Err(Duration::from_nanos(next.abs_diff(now)));
            }
            match self.empty_at.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(actual) => seen = actual,
            }
        }
    }

    /// Whole tokens in the bucket.
    pub fn available(&self, now: Instant) -> u64 {
        let saved = self.nanos(now).saturating_sub(self.empty_at.load(Ordering::Relaxed)).max(0);
        // A nanosecond of rounding must not hide a token that `take` would grant.
        (((saved as f64 + 0.5) / self.interval) as u64).min(self.capacity)
    }

    /// The most it can hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    fn cost(&self, tokens: u64) -> i64 {
        (tokens as f64 * self.interval) as i64
    }

    fn nanos(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn bucket(capacity: u64, refill_per_second: f64, now: Instant) -> TokenBucket {
        TokenBucket::new(&TokenBucketConfig { capacity, refill_per_second }, now)
    }

    #[test]
    fn starts_full_and_refills_continuously() {
        let now = Instant::now();
        let bucket = bucket(3, 10.0, now);
        assert_eq!(bucket.available(now), 3);
        assert!((0..3).all(|_| bucket.take(1, now).is_ok()));
        assert_eq!(bucket.take(1, now), Err(Duration::from_millis(100)));
        let later = now + Duration::from_millis(100);
        assert_eq!(bucket.available(later), 1);
        assert_eq!(bucket.take(2, later), Err(Duration::from_millis(100)), "all or nothing");
        assert!(bucket.take(1, later).is_ok());
        assert_eq!(bucket.available(now + Duration::from_secs(60)), 3, "no more than the capacity");
        assert_eq!(bucket.take(4, now), Err(Duration::MAX));
    }

    #[test]
    fn threads_share_exactly_the_tokens_there_are() {
        let now = Instant::now();
        let bucket = Arc::new(bucket(10_000, 1.0, now));
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                std::thread::spawn(move || (0..5_000).filter(|_| bucket.take(1, now).is_ok()).count())
            })
            .collect();
        let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert_eq!(taken, 10_000);
    }

    #[test]
    fn validation_names_the_field() {
        let check = |capacity, refill_per_second, word: &str| {
            let config = TokenBucketConfig { capacity, refill_per_second };
            assert!(config.validate().unwrap_err().contains(word));
        };
        check(0, 1.0, "capacity");
        check(1, 0.0, "refill_per_second");
        check(1, -1.0, "refill_per_second");
        check(1, f64::NAN, "refill_per_second");
        check(1, 1e9, "refill_per_second");
    }

    proptest! {
        /// Over any stretch of time no more is granted than the burst plus what was earned.
        #[test]
        fn grants_stay_under_the_line(
            capacity in 1u64..50, rate in 1u32..2_000,
            steps in prop::collection::vec((1u64..5, 0u64..50_000), 1..300)
        ) {
            let start = Instant::now();
            let bucket = bucket(capacity, f64::from(rate), start);
            let (mut now, mut granted) = (start, 0);
            for (tokens, micros) in steps {
                now += Duration::from_micros(micros);
                if bucket.take(tokens, now).is_ok() {
                    granted += tokens;
                }
                let earned = now.duration_since(start).as_secs_f64() * f64::from(rate);
                prop_assert!(granted as f64 <= capacity as f64 + earned + 1e-3);
            }
        }
    }
}
