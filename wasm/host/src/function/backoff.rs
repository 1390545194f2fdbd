//! A function that does nothing but crash is kept from running, for longer and longer.

use std::time::{Duration, Instant};

use crate::patience::Failures;

/// So many crashes within a minute, and no call that went well among them, are borne; one more closes the way.
const BORNE: usize = 4;

/// The crashes of one version of a function since a call last went well. Where calls do, an input it cannot take is no
/// reason to keep the others from it.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    crashes: Failures,
    until: Option<Instant>,
}

impl Backoff {
    /// How long it is still kept from running.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// A call went well.
    pub(crate) fn went_well(&mut self) {
        self.crashes = Failures::default();
    }

    /// It crashed. Calls that were under way when the way was closed say nothing new.
    pub(crate) fn crashed(&mut self, now: Instant) {
        if self.pause(now).is_some() {
            return;
        }
        if self.crashes.are_too_many(BORNE, self.until, now) {
            self.until = Some(now + self.crashes.pause());
            self.crashes.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patience::{PAUSE, WINDOW};

    #[test]
    fn five_crashes_within_a_minute_close_the_way() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        (0..100).for_each(|i| backoff.crashed(now + WINDOW / 3 * i));
        assert_eq!(backoff.pause(now + WINDOW / 3 * 99), None, "never five within a minute");
        let mut backoff = Backoff::default();
        (0..4).for_each(|_| backoff.crashed(now));
        assert_eq!(backoff.pause(now), None);
        backoff.crashed(now);
        assert_eq!(backoff.pause(now), Some(PAUSE));
        backoff.crashed(now);
        assert_eq!(backoff.pause(now), Some(PAUSE), "one that had begun before");
        assert_eq!(backoff.pause(now + PAUSE), None);
    }

    #[test]
    fn an_input_it_cannot_take_does_not_close_the_way_for_others() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            (0..4).for_each(|_| backoff.crashed(now));
            backoff.went_well();
        }
        assert_eq!(backoff.pause(now), None);
        (0..5).for_each(|_| backoff.crashed(now));
        let after = now + PAUSE;
        backoff.went_well();
        backoff.crashed(after);
        assert_eq!(backoff.pause(after), None, "it has been well since");
    }

    #[test]
    fn pauses_double_until_it_goes_well_for_a_while() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        (0..4).for_each(|_| backoff.crashed(now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.crashed(now);
            assert_eq!(backoff.pause(now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        now += WINDOW + PAUSE;
        backoff.crashed(now);
        assert_eq!(backoff.pause(now), None);
    }
}
