//! Numbers taken in advance, by stored key: so never shared between sequencers, nor between applications that have
//! prefixes of their own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Key, Result, Segment};
use outrigger_resilience::Deadline;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, MutexGuard as TurnGuard};
use tokio::time::{Instant, timeout_at};

/// The most sequences numbers are kept for. The numbers of one that is pushed out are lost.
pub(super) const SEQUENCES: usize = 1024;
/// How long to leave a backend alone that had no numbers while there still are some.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// The longest to wait for a turn to fetch.
const TURN: Duration = Duration::from_secs(5);

/// The numbers of every sequence of one sequencer.
#[derive(Default)]
pub(super) struct Cache {
    sequences: Mutex<HashMap<Key, Arc<Numbers>>>,
    clock: AtomicU64,
}

/// The numbers of one sequence.
#[derive(Default)]
pub(super) struct Numbers {
    segments: Mutex<Segments>,
    /// Held by the one who fetches.
    turn: Turn<()>,
    last_used: AtomicU64,
}

/// The segment in use and the one after it.
#[derive(Default)]
struct Segments {
    ready: VecDeque<Segment>,
    leave_alone_until: Option<Instant>,
}

/// What was there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Number(i64),
    /// It was one of the last.
    RunningLow(i64),
    Nothing,
}

impl Cache {
    /// The numbers of a sequence; where there are too many sequences, the one not used for longest is forgotten.
    pub(super) fn numbers(&self, key: &Key) -> Arc<Numbers> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut sequences = self.sequences.lock();
        if let Some(numbers) = sequences.get(key) {
            numbers.last_used.store(now, Ordering::Relaxed);
            return Arc::clone(numbers);
        }
        if sequences.len() >= SEQUENCES {
            let used = |numbers: &Arc<Numbers>| numbers.last_used.load(Ordering::Relaxed);
            let oldest =
                sequences.iter().min_by_key(|(_, numbers)| used(numbers)).map(|(key, _)| key.clone());
            oldest.map(|oldest| sequences.remove(&oldest));
        }
        let numbers = Arc::new(Numbers { last_used: AtomicU64::new(now), ..Numbers::default() });
        sequences.insert(key.clone(), Arc::clone(&numbers));
        numbers
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sequences.lock().len()
    }
}

impl Numbers {
    /// The next number, and whether no more than `low` are left after it.
    pub(super) fn take(&self, low: i64) -> Taken {
        let mut segments = self.segments.lock();
        let Some(current) = segments.ready.front_mut() else { return Taken::Nothing };
        let number = current.first;
        let left = current.last - number;
        match number.checked_add(1).filter(|_| left > 0) {
            Some(next) => current.first = next,
            None => drop(segments.ready.pop_front()),
        }
        let next_is_there = segments.ready.len() > usize::from(left > 0);
        if left <= low && !next_is_there { Taken::RunningLow(number) } else { Taken::Number(number) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.lock().ready.is_empty()
    }

    /// The turn to fetch while there still are numbers, unless somebody has it or has just failed.
    pub(super) fn try_refill(&self) -> Option<Refill<'_>> {
        let turn = self.turn.try_lock().ok()?;
        let segments = self.segments.lock();
        let is_due = segments.ready.len() < 2
            && segments.leave_alone_until.is_none_or(|until| until <= Instant::now());
        is_due.then_some(Refill { numbers: self, _turn: turn })
    }

    /// The turn to fetch, waited for: without numbers there is nothing else to do.
    pub(super) async fn refill(&self, deadline: Deadline) -> Result<Refill<'_>> {
        let latest = Instant::now() + TURN;
        let deadline = deadline.instant().map_or(latest, |theirs| latest.min(Instant::from_std(theirs)));
        match timeout_at(deadline, self.turn.lock()).await {
            Ok(turn) => Ok(Refill { numbers: self, _turn: turn }),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the sequencer did not give out numbers in time")),
        }
    }
}

/// The turn to fetch.
pub(super) struct Refill<'a> {
    numbers: &'a Numbers,
    _turn: TurnGuard<'a, ()>,
}

impl Refill<'_> {
    pub(super) fn add(&self, segment: Segment) {
        let mut segments = self.numbers.segments.lock();
        segments.leave_alone_until = None;
        segments.ready.push_back(segment);
    }

    /// There were none to be had.
    pub(super) fn failed(&self) {
        self.numbers.segments.lock().leave_alone_until = Some(Instant::now() + AFTER_FAILURE);
    }
}
