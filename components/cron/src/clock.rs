//! What time it is.

use jiff::Timestamp;

/// Tells the time of the day; tests have one that stands still with the runtime's.
pub(crate) trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The system's.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::SignedDuration;
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;

    /// Goes as the runtime's time goes, from a moment of one's choice, and can be set.
    pub(crate) struct Paused {
        start: Mutex<Timestamp>,
        since: Instant,
    }

    impl Paused {
        pub(crate) fn at(start: &str) -> Self {
            Self { start: Mutex::new(start.parse().expect("a time")), since: Instant::now() }
        }

        /// Sets the clock forward or back, as an operator would.
        pub(crate) fn turn(&self, by: SignedDuration) {
            let mut start = self.start.lock();
            *start = start.checked_add(by).expect("within what clocks show");
        }
    }

    impl Clock for Paused {
        fn now(&self) -> Timestamp {
            let passed = SignedDuration::try_from(self.since.elapsed()).expect("a short test");
            self.start.lock().checked_add(passed).expect("within what clocks show")
        }
    }
}
