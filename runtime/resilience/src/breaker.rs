//! A circuit breaker with three states, after linkerd's gate.
//!
//! * **closed**: everything is admitted; failures are counted.
//! * **open**: nothing is admitted until a back-off has passed. Results that arrive late are ignored.
//! * **half-open** (linkerd: probation): exactly one call is admitted. Its success closes the breaker, its
//!   failure opens it again for twice as long, and its cancellation lets the next caller probe.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::window::Window;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures in a row that open it; 0 turns this detector off. Default 7.
    pub consecutive_failures: u32,
    /// Opens when the share of successes within `window` falls below this. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_success_ratio: Option<f64>,
    /// Results needed within `window` before the ratio means anything. Default 20.
    pub min_requests: u32,
    /// The time over which the ratio is taken. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// How long it stays open the first time. Default 1 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub min_open: Duration,
    /// The longest it stays open: each failed probe doubles the time up to this. Default: 60 s for a cluster, 1 s for a
    /// component.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub max_open: Option<Duration>,
}

/// The longest a breaker stays open that was told nothing else.
const MAX_OPEN: Duration = Duration::from_secs(60);

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 7,
            min_success_ratio: None,
            min_requests: 20,
            window: Duration::from_secs(10),
            min_open: Duration::from_secs(1),
            max_open: None,
        }
    }
}

impl BreakerConfig {
    /// What is wrong with these numbers: `(field, message)` for each mistake.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.min_success_ratio.is_some_and(|ratio| !(ratio > 0.0 && ratio <= 1.0)) {
            problems.push(("min_success_ratio", "must be above 0 and at most 1".to_owned()));
        }
        if self.window.is_zero() {
            problems.push(("window", "must be above 0".to_owned()));
        }
        if self.max_open.is_some_and(|longest| longest < self.min_open) {
            problems.push(("max_open", "must not be below min_open".to_owned()));
        }
        problems
    }

    fn longest(&self) -> Duration {
        self.max_open.unwrap_or(MAX_OPEN).max(self.min_open)
    }
}

/// What a call meant for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It worked, or failed by the caller's own fault.
    Success,
    /// The other side failed.
    Failure,
    /// The other side asked for less (429, `RESOURCE_EXHAUSTED`): counts against the ratio and fails a
    /// probe, but does not add to the failures in a row.
    Throttled,
}

/// The state as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Admits everything.
    Closed,
    /// Admits nothing for now.
    Open,
    /// Admits one call at a time to see whether it works again.
    HalfOpen,
}

/// A moment's view for the admin dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// Where it stands.
    pub state: BreakerState,
    /// Failures in a row while closed.
    pub consecutive_failures: u32,
    /// How often it opened since it was made.
    pub opened: u32,
}

/// The breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When it will admit a probe; worth a `retry-after`.
    pub retry_in: Duration,
}

/// Shared by all callers of one destination. While closed and healthy it costs two atomic loads a call.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    closed: AtomicBool,
    streak: AtomicU32,
    successes: Window,
    failures: Window,
    gate: Mutex<Gate>,
}

/// The slow half: what happens while not closed.
#[derive(Debug)]
struct Gate {
    phase: Phase,
    /// Counts every change of phase; a permit from another phase says nothing about this one.
    generation: u32,
    open_for: Duration,
    opened: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            closed: AtomicBool::new(true),
            streak: AtomicU32::new(0),
            successes: Window::new(config.window, now),
            failures: Window::new(config.window, now),
            gate: Mutex::new(Gate {
                phase: Phase::Closed,
                generation: 0,
                open_for: config.min_open,
                opened: 0,
            }),
            config,
        }
    }

    /// Asks to make a call. Drop the permit unrecorded when the call was cancelled.
    ///
    /// # Errors
    /// [`Refused`] while open, or half-open with a probe under way.
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Refused> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(Permit { breaker: self, probe: None });
        }
        let mut gate = self.gate.lock();
        match gate.phase {
            Phase::Closed => Ok(Permit { breaker: self, probe: None }),
            Phase::Open { until } if now < until => Err(Refused { retry_in: until.duration_since(now) }),
            Phase::HalfOpen { probing: true } => Err(Refused { retry_in: Duration::ZERO }),
            Phase::Open { .. } | Phase::HalfOpen { probing: false } => {
                gate.phase = Phase::HalfOpen { probing: true };
                gate.generation = gate.generation.wrapping_add(1);
                Ok(Permit { breaker: self, probe: Some(gate.generation) })
            }
        }
    }

    /// Where it stands at `now`.
    pub fn status(&self, now: Instant) -> BreakerStatus {
        let gate = self.gate.lock();
        let state = match gate.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        };
        BreakerStatus {
            state,
            consecutive_failures: self.streak.load(Ordering::Relaxed),
            opened: gate.opened,
        }
    }

    /// The settings it was made with, which are part of its identity across reloads.
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    fn record_closed(&self, outcome: Outcome, now: Instant) {
        if !self.closed.load(Ordering::Acquire) {
            return; // admitted before it opened: the news is old
        }
        let streak = match outcome {
            Outcome::Failure => self.streak.fetch_add(1, Ordering::Relaxed) + 1,
            Outcome::Throttled => 0,
            Outcome::Success => {
                // Loading first keeps the cache line shared while all is well.
                if self.streak.load(Ordering::Relaxed) != 0 {
                    self.streak.store(0, Ordering::Relaxed);
                }
                0
            }
        };
        if self.config.min_success_ratio.is_some() {
            let window = if outcome == Outcome::Success { &self.successes } else { &self.failures };
            window.add(now, 1);
        }
        let limit = self.config.consecutive_failures;
        let too_many = limit != 0 && streak >= limit;
        if outcome != Outcome::Success && (too_many || self.ratio_is_low(now)) {
            let mut gate = self.gate.lock();
            if gate.phase == Phase::Closed {
                gate.open_for = self.config.min_open;
                self.open(&mut gate, now);
            }
        }
    }

    fn ratio_is_low(&self, now: Instant) -> bool {
        let Some(wanted) = self.config.min_success_ratio else { return false };
        let (good, bad) = (self.successes.total(now), self.failures.total(now));
        good + bad >= u64::from(self.config.min_requests) && (good as f64) < wanted * (good + bad) as f64
    }

    fn record_probe(&self, generation: u32, outcome: Outcome, now: Instant) {
        let mut gate = self.gate.lock();
        if gate.generation != generation || gate.phase != (Phase::HalfOpen { probing: true }) {
            return;
        }
        if outcome == Outcome::Success {
            gate.phase = Phase::Closed;
            gate.open_for = self.config.min_open;
            self.streak.store(0, Ordering::Relaxed);
            self.successes.clear();
            self.failures.clear();
            self.closed.store(true, Ordering::Release);
        } else {
            gate.open_for = gate.open_for.saturating_mul(2).min(self.config.longest());
            self.open(&mut gate, now);
        }
    }

    fn open(&self, gate: &mut Gate, now: Instant) {
        self.closed.store(false, Ordering::Release);
        gate.phase = Phase::Open { until: now + gate.open_for };
        gate.generation = gate.generation.wrapping_add(1);
        gate.opened = gate.opened.saturating_add(1);
    }

    fn release_probe(&self, generation: u32) {
        let mut gate = self.gate.lock();
        if gate.generation == generation && gate.phase == (Phase::HalfOpen { probing: true }) {
            gate.phase = Phase::HalfOpen { probing: false };
        }
    }
}

/// The right to make one call.
#[derive(Debug)]
#[must_use = "record how the call ended, or drop the permit when it was cancelled"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: Option<u32>,
}

impl Permit<'_> {
    /// Tells the breaker how the call ended.
    pub fn record(mut self, outcome: Outcome, now: Instant) {
        match self.probe.take() {
            None => self.breaker.record_closed(outcome, now),
            Some(generation) => self.breaker.record_probe(generation, outcome, now),
        }
    }

    /// Whether this call decides over a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(generation) = self.probe {
            self.breaker.release_probe(generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(consecutive_failures: u32, now: Instant) -> Breaker {
        Breaker::new(BreakerConfig { consecutive_failures, ..Default::default() }, now)
    }

    fn call(breaker: &Breaker, outcome: Outcome, now: Instant) {
        breaker.admit(now).unwrap().record(outcome, now);
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let breaker = breaker(3, now);
        for outcome in
            [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Failure]
        {
            call(&breaker, outcome, now);
        }
        call(&breaker, Outcome::Throttled, now);
        assert_eq!(breaker.status(now).state, BreakerState::Closed);
        call(&breaker, Outcome::Failure, now);
        assert_eq!(breaker.status(now).state, BreakerState::Open);
        assert_eq!(breaker.admit(now).unwrap_err(), Refused { retry_in: SECOND });
    }

    #[test]
    fn one_probe_decides() {
        let start = Instant::now();
        let breaker = breaker(1, start);
        call(&breaker, Outcome::Failure, start);
        let mut now = start + SECOND;
        let probe = breaker.admit(now).unwrap();
        assert!(probe.is_probe());
        assert!(breaker.admit(now).is_err(), "only one at a time");
        drop(probe);
        call(&breaker, Outcome::Failure, now);
        assert_eq!(breaker.admit(now).unwrap_err().retry_in, 2 * SECOND, "a failed probe doubles the time");
        now += 2 * SECOND;
        call(&breaker, Outcome::Success, now);
        assert_eq!(
            breaker.status(now),
            BreakerStatus { state: BreakerState::Closed, consecutive_failures: 0, opened: 2 }
        );
        call(&breaker, Outcome::Failure, now);
        assert_eq!(breaker.admit(now).unwrap_err().retry_in, SECOND, "success forgets the doubling");
    }

    #[test]
    fn the_open_time_is_bounded() {
        let mut now = Instant::now();
        let breaker = breaker(1, now);
        call(&breaker, Outcome::Failure, now);
        for _ in 0..20 {
            now += Duration::from_secs(60);
            call(&breaker, Outcome::Failure, now);
        }
        assert_eq!(breaker.admit(now).unwrap_err().retry_in, Duration::from_secs(60));
    }

    #[test]
    fn late_news_is_ignored() {
        let now = Instant::now();
        let breaker = breaker(1, now);
        let (slow, late_probe) = (breaker.admit(now).unwrap(), now + SECOND);
        call(&breaker, Outcome::Failure, now);
        slow.record(Outcome::Success, now);
        assert_eq!(breaker.status(now).state, BreakerState::Open);
        let probe = breaker.admit(late_probe).unwrap();
        probe.record(Outcome::Throttled, late_probe);
        assert_eq!(breaker.status(late_probe).state, BreakerState::Open, "a throttled probe fails");
    }

    #[test]
    fn a_low_success_ratio_opens_once_there_is_enough_evidence() {
        let now = Instant::now();
        let config = BreakerConfig {
            consecutive_failures: 0,
            min_success_ratio: Some(0.5),
            min_requests: 10,
            ..Default::default()
        };
        let breaker = Breaker::new(config, now);
        for turn in 0..9 {
            call(&breaker, if turn % 3 == 0 { Outcome::Success } else { Outcome::Throttled }, now);
        }
        assert_eq!(breaker.status(now).state, BreakerState::Closed, "nine results are too few");
        call(&breaker, Outcome::Failure, now);
        assert_eq!(breaker.status(now).state, BreakerState::Open);
    }

    #[test]
    fn mistakes_name_their_field() {
        let bad = BreakerConfig {
            min_success_ratio: Some(1.5),
            window: Duration::ZERO,
            max_open: Some(Duration::ZERO),
            ..Default::default()
        };
        let fields: Vec<_> = bad.problems().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["min_success_ratio", "window", "max_open"]);
    }

    proptest! {
        /// Against the obvious model: closed admits, open refuses until its time, half-open admits one.
        #[test]
        fn follows_the_model(steps in prop::collection::vec((0u64..1_500, any::<bool>(), any::<bool>()), 1..200)) {
            let mut now = Instant::now();
            let breaker = breaker(2, now);
            let (mut streak, mut open_until, mut open_for) = (0, None, SECOND);
            for (millis, succeed, cancel) in steps {
                now += Duration::from_millis(millis);
                let refused = open_until.is_some_and(|until| now < until);
                let permit = breaker.admit(now);
                prop_assert_eq!(permit.is_err(), refused);
                let Ok(permit) = permit else { continue };
                if cancel {
                    continue;
                }
                permit.record(if succeed { Outcome::Success } else { Outcome::Failure }, now);
                match (succeed, open_until) {
                    (true, _) => (streak, open_until, open_for) = (0, None, SECOND),
                    (false, Some(_)) => {
                        open_for = (open_for * 2).min(Duration::from_secs(60));
                        open_until = Some(now + open_for);
                    }
                    (false, None) => {
                        streak += 1;
                        if streak >= 2 {
                            open_until = Some(now + open_for);
                        }
                    }
                }
            }
        }
    }
}
