//! How often something may fail before it is left alone for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Failure;

/// Failures within a minute after which fresh instances are no matter of course any more.
const MOST: usize = 5;
/// Failures longer ago do not count.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Between instances of what goes on failing, doubled each time.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The failures of the last minute, and the pauses they led to.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lately: VecDeque<Instant>,
    /// Since it last went well for a while.
    pauses: u32,
}

impl Failures {
    /// Notes one, where the last pause, if there was any, was over at `since`. Whether that is one too many: more than
    /// `most`, or a failure right after a pause.
    pub(crate) fn are_too_many(&mut self, most: usize, since: Option<Instant>, now: Instant) -> bool {
        self.lately.push_back(now);
        while self.lately.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            self.lately.pop_front();
        }
        // Pauses are not times in which it went well.
        if since.is_some_and(|since| now.saturating_duration_since(since) > WINDOW) {
            self.pauses = 0;
        }
        self.lately.len() > most || self.pauses > 0
    }

    /// The next pause: each is twice as long as the one before.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = PAUSE.saturating_mul(1 << self.pauses.min(6)).min(LONGEST_PAUSE);
        self.pauses = self.pauses.saturating_add(1);
        pause
    }

    /// Those so far do not count any more; pauses go on to double.
    pub(crate) fn forget(&mut self) {
        self.lately.clear();
    }
}

/// What has failed so far.
#[derive(Debug)]
pub(crate) struct Patience {
    failures: Failures,
    /// When there may be a fresh instance; `None` for never.
    again: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Self {
        Self { failures: Failures::default(), again: Some(now) }
    }

    /// When there may be a fresh instance; `None` for never.
    pub(crate) fn again(&self) -> Option<Instant> {
        self.again
    }

    pub(crate) fn allows(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| again <= now)
    }

    pub(crate) fn failed(&mut self, failure: Failure, now: Instant) {
        self.again = match (self.failures.are_too_many(MOST, self.again, now), failure) {
            (false, _) => Some(now),
            (true, Failure::Closed | Failure::Open) => None,
            (true, Failure::Reload) => Some(now + self.failures.pause()),
        };
    }

    /// What is out may try again.
    pub(crate) fn forgive(&mut self, now: Instant) {
        if self.again.is_none() {
            self.failures.forget();
            self.again = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_a_minute_are_forgiven() {
        let now = Instant::now();
        for failure in [Failure::Closed, Failure::Open] {
            let mut patience = Patience::new(now);
            (0..5).for_each(|_| patience.failed(failure, now));
            assert_eq!(patience.again, Some(now));
            patience.failed(failure, now);
            assert_eq!(patience.again, None);
            patience.forgive(now);
            assert!(patience.allows(now));
        }
        let mut patience = Patience::new(now);
        for i in 0..100 {
            patience.failed(Failure::Closed, now + WINDOW / 4 * i);
            assert!(patience.again.is_some());
        }
    }

    #[test]
    fn reload_pauses_longer_and_longer() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        (0..5).for_each(|_| patience.failed(Failure::Reload, now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            patience.failed(Failure::Reload, now);
            assert_eq!(patience.again, Some(now + Duration::from_secs(seconds)));
            // It fails as soon as it may try again.
            now += Duration::from_secs(seconds);
        }
        now += WINDOW + Duration::from_secs(1);
        patience.failed(Failure::Reload, now);
        assert_eq!(patience.again, Some(now), "it went well for a while");
    }
}
