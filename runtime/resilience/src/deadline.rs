//! A moment after which an answer is of no use.

use std::time::{Duration, Instant};

/// A point in time, or never. Deadlines only ever get tighter on their way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self(None);

    /// At `instant`.
    pub fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// `timeout` from `now`; a timeout too long for the clock to represent is no deadline.
    pub fn after(now: Instant, timeout: Duration) -> Self {
        Self(now.checked_add(timeout))
    }

    /// `timeout` from `now` when there is one.
    pub fn after_opt(now: Instant, timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::NEVER, |timeout| Self::after(now, timeout))
    }

    /// The tighter of the two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// The instant itself; `None` means never.
    pub fn instant(self) -> Option<Instant> {
        self.0
    }

    /// What is left: zero when past, `None` without a deadline.
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now))
    }

    /// Whether the moment has come.
    pub fn is_past(self, now: Instant) -> bool {
        self.0.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_deadline_wins() {
        let now = Instant::now();
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        let check = |a: Deadline, b: Deadline, expected: Option<Duration>| {
            assert_eq!(a.earlier(b).remaining(now), expected);
            assert_eq!(b.earlier(a).remaining(now), expected);
        };
        check(Deadline::NEVER, Deadline::NEVER, None);
        check(Deadline::after(now, one), Deadline::NEVER, Some(one));
        check(Deadline::after(now, one), Deadline::after(now, two), Some(one));
        check(Deadline::after(now, Duration::MAX), Deadline::NEVER, None);
    }

    #[test]
    fn a_deadline_is_past_from_its_instant_on() {
        let now = Instant::now();
        let deadline = Deadline::after(now, Duration::from_millis(5));
        assert!(!deadline.is_past(now));
        assert!(deadline.is_past(now + Duration::from_millis(5)));
        assert_eq!(deadline.remaining(now + Duration::from_secs(1)), Some(Duration::ZERO));
        assert!(!Deadline::NEVER.is_past(now));
    }
}
