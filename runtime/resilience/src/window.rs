//! Events counted over the last few seconds, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SLOTS: usize = 10;
const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A ring of ten counters, each a tenth of the window wide.
///
/// A slot packs the tick it belongs to and its count in one word, so that whoever comes first in a new tick
/// resets it by compare-and-swap and nobody has to sweep. The window therefore covers between nine and ten
/// tenths of its nominal length.
#[derive(Debug)]
pub(crate) struct Window {
    origin: Instant,
    width_nanos: u128,
    slots: [AtomicU64; SLOTS],
}

impl Window {
    pub(crate) fn new(length: Duration, origin: Instant) -> Self {
        let width_nanos = (length.as_nanos() / SLOTS as u128).max(1);
        Self { origin, width_nanos, slots: Default::default() }
    }

    /// Counts `amount` at `now`.
    pub(crate) fn add(&self, now: Instant, amount: u32) {
        let tick = self.tick(now);
        let Some(slot) = self.slots.get(tick as usize % SLOTS) else { return };
        let mut seen = slot.load(Ordering::Relaxed);
        loop {
            let next = match seen >> COUNT_BITS {
                stamped if stamped == tick => seen + u64::from(amount),
                // A slow thread arrives with a tick that others have already left behind.
                stamped if stamped > tick => return,
                _ => (tick << COUNT_BITS) | u64::from(amount),
            };
            match slot.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// How many were counted within the window that ends at `now`.
    pub(crate) fn total(&self, now: Instant) -> u64 {
        let tick = self.tick(now);
        let oldest = tick.saturating_sub(SLOTS as u64 - 1);
        let live = |word: &u64| (oldest..=tick).contains(&(word >> COUNT_BITS));
        self.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(live).map(|w| w & COUNT_MASK).sum()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }

    /// Ticks start at one, so that a zeroed slot is one that holds nothing.
    fn tick(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos() / self.width_nanos;
        (elapsed as u64 & COUNT_MASK) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let window = Window::new(Duration::from_secs(10), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        window.add(at(0), 5);
        window.add(at(4), 1);
        assert_eq!(window.total(at(4)), 6);
        assert_eq!(window.total(at(9)), 6);
        assert_eq!(window.total(at(10)), 1);
        assert_eq!(window.total(at(14)), 0);
        window.add(at(24), 2);
        assert_eq!(window.total(at(24)), 2, "a reused slot starts at zero");
        window.clear();
        assert_eq!(window.total(at(24)), 0);
    }
}
