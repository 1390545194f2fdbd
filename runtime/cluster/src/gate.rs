//! Whether one endpoint may be used, judged by how it answers: a pure state machine.
//!
//! * **serving**: used like any other.
//! * **out**: not used until a time. Reached by a failed connect (a short back-off, doubled each time) or by
//!   ejection (answers that fail in a row; lasts longer each time, and the cluster may veto it).
//! * **probation**: one request at a time, until a success brings the endpoint back or a failure sends it
//!   out again.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::config::PassiveConfig;

/// How a request ended, as far as the endpoint is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, whatever it said below 500.
    Success,
    /// A 5xx of its own.
    ServerError,
    /// 502, 503, 504, a lost connection or no answer in time.
    Gateway,
    /// No connection at all.
    Connect,
}

/// Where an endpoint stands, for the admin dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Used like any other.
    Serving,
    /// Left out because nobody accepted a connection.
    Unreachable,
    /// Left out because of its answers.
    Ejected,
    /// One request at a time.
    Probation,
}

/// What asking for admission said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    /// This request decides over the endpoint: record its end or release the probe.
    Probe,
    No,
}

/// What a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// It may be used again.
    Back,
    Unreachable,
    Ejected,
}

const SERVING: u8 = 0;
const PROBATION: u8 = 1;
const UNREACHABLE: u8 = 2;
const EJECTED: u8 = 3;

#[derive(Debug)]
pub(crate) struct Gate {
    /// The standing, readable without the lock.
    standing: AtomicU8,
    /// Whether any streak is under way: a success has nothing to reset otherwise.
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    probing: bool,
    server_errors: u32,
    gateway_errors: u32,
    connect_failures: u32,
    /// How often it was ejected lately: the factor of the next ejection.
    ejections: u32,
    returned_at: Option<Instant>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { standing: AtomicU8::new(SERVING), troubled: AtomicBool::new(false), state: Mutex::default() }
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            SERVING => Standing::Serving,
            PROBATION => Standing::Probation,
            UNREACHABLE => Standing::Unreachable,
            _ => Standing::Ejected,
        }
    }

    /// Whether it is out, and until when. An endpoint whose time has come moves to probation.
    pub(crate) fn out_until(&self, now: Instant) -> Option<Instant> {
        if matches!(self.standing(), Standing::Serving | Standing::Probation) {
            return None;
        }
        let mut state = self.state.lock();
        match state.until {
            Some(until) if now < until => Some(until),
            _ => {
                self.to_probation(&mut state);
                None
            }
        }
    }

    /// Asks to send a request.
    #[inline]
    pub(crate) fn admit(&self) -> Admission {
        match self.standing.load(Ordering::Acquire) {
            SERVING => Admission::Yes,
            PROBATION => self.admit_probe(),
            _ => Admission::No,
        }
    }

    fn admit_probe(&self) -> Admission {
        let mut state = self.state.lock();
        match self.standing() {
            Standing::Serving => Admission::Yes,
            Standing::Probation if !state.probing => {
                state.probing = true;
                Admission::Probe
            }
            _ => Admission::No,
        }
    }

    /// A probe was cancelled and says nothing.
    pub(crate) fn release_probe(&self) {
        self.state.lock().probing = false;
    }

    /// An active check succeeded: the endpoint need not wait for the end of its time.
    pub(crate) fn readmit(&self) -> Change {
        let mut state = self.state.lock();
        if matches!(self.standing(), Standing::Serving | Standing::Probation) {
            return Change::None;
        }
        self.to_probation(&mut state);
        Change::Back
    }

    /// Takes in how a request ended. `may_eject` is asked only when an ejection is due.
    pub(crate) fn record(
        &self,
        verdict: Verdict,
        rules: &PassiveConfig,
        now: Instant,
        may_eject: impl FnOnce() -> bool,
    ) -> Change {
        let standing = self.standing();
        if verdict == Verdict::Success
            && standing == Standing::Serving
            && !self.troubled.load(Ordering::Relaxed)
        {
            return Change::None;
        }
        let mut state = self.state.lock();
        match (verdict, self.standing()) {
            // It was out before this request ended: old news.
            (_, Standing::Ejected | Standing::Unreachable) => Change::None,
            (Verdict::Success, standing) => self.recover(&mut state, standing, now),
            (Verdict::Connect, _) if !rules.connect_backoff.is_zero() => {
                self.unreachable(&mut state, rules, now)
            }
            (verdict, standing) => {
                self.troubled.store(true, Ordering::Relaxed);
                let due = state.count(verdict, rules) || standing == Standing::Probation;
                if due && may_eject() {
                    return self.eject(&mut state, rules, now);
                }
                state.probing = false;
                Change::None
            }
        }
    }

    fn recover(&self, state: &mut State, standing: Standing, now: Instant) -> Change {
        self.troubled.store(false, Ordering::Relaxed);
        (state.server_errors, state.gateway_errors, state.connect_failures) = (0, 0, 0);
        if standing != Standing::Probation {
            return Change::None;
        }
        state.probing = false;
        state.returned_at = Some(now);
        self.standing.store(SERVING, Ordering::Release);
        Change::Back
    }

    fn unreachable(&self, state: &mut State, rules: &PassiveConfig, now: Instant) -> Change {
        let doubled = 1u32.checked_shl(state.connect_failures).unwrap_or(u32::MAX);
        let wait = rules.connect_backoff.saturating_mul(doubled).min(rules.connect_backoff_max);
        state.connect_failures = state.connect_failures.saturating_add(1);
        self.troubled.store(true, Ordering::Relaxed);
        self.leave(state, UNREACHABLE, wait, now);
        Change::Unreachable
    }

    fn eject(&self, state: &mut State, rules: &PassiveConfig, now: Instant) -> Change {
        // Each `base_ejection` of good service takes one earlier ejection off the record.
        let base = rules.base_ejection.max(Duration::from_millis(1));
        let served = state.returned_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let forgiven = u32::try_from(served.as_nanos() / base.as_nanos()).unwrap_or(u32::MAX);
        state.ejections = state.ejections.saturating_sub(forgiven).saturating_add(1);
        let wait = rules.base_ejection.saturating_mul(state.ejections).min(rules.max_ejection);
        self.leave(state, EJECTED, wait, now);
        Change::Ejected
    }

    fn leave(&self, state: &mut State, standing: u8, wait: Duration, now: Instant) {
        state.until = now.checked_add(wait);
        state.probing = false;
        (state.server_errors, state.gateway_errors) = (0, 0);
        self.standing.store(standing, Ordering::Release);
    }

    fn to_probation(&self, state: &mut State) {
        state.until = None;
        state.probing = false;
        self.standing.store(PROBATION, Ordering::Release);
    }
}

impl State {
    /// Counts a failure; says whether a detector has seen enough.
    fn count(&mut self, verdict: Verdict, rules: &PassiveConfig) -> bool {
        self.server_errors = self.server_errors.saturating_add(1);
        // An answer of its own shows that the way to the endpoint is fine.
        self.gateway_errors =
            if verdict == Verdict::ServerError { 0 } else { self.gateway_errors.saturating_add(1) };
        let reached = |count: u32, limit: u32| limit != 0 && count >= limit;
        reached(self.server_errors, rules.consecutive_5xx)
            || reached(self.gateway_errors, rules.consecutive_gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PassiveConfig = PassiveConfig {
        consecutive_5xx: 3,
        consecutive_gateway: 2,
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(70),
        max_ejected_percent: 50,
        connect_backoff: Duration::from_millis(100),
        connect_backoff_max: Duration::from_millis(250),
    };

    fn record(gate: &Gate, verdict: Verdict, now: Instant) -> Change {
        gate.record(verdict, &RULES, now, || true)
    }

    #[test]
    fn failures_in_a_row_eject() {
        use Verdict::{Gateway as G, ServerError as E, Success as S};
        let now = Instant::now();
        let check = |verdicts: &[Verdict], expected| {
            let gate = Gate::new();
            let last = verdicts.iter().map(|verdict| record(&gate, *verdict, now)).last();
            assert_eq!(last, Some(expected), "{verdicts:?}");
        };
        check(&[E, E, E], Change::Ejected);
        check(&[E, E, S, E, E], Change::None);
        check(&[G, G], Change::Ejected);
        check(&[G, E, G], Change::Ejected);
        check(&[G, S, G], Change::None);
    }

    #[test]
    fn a_veto_keeps_it_in() {
        let (gate, now) = (Gate::new(), Instant::now());
        for _ in 0..10 {
            assert_eq!(gate.record(Verdict::Gateway, &RULES, now, || false), Change::None);
        }
        assert_eq!(gate.standing(), Standing::Serving);
        assert_eq!(record(&gate, Verdict::Gateway, now), Change::Ejected, "due as soon as the veto falls");
    }

    #[test]
    fn each_ejection_lasts_longer_and_good_service_is_remembered() {
        let (gate, mut now) = (Gate::new(), Instant::now());
        let fail =
            |now| assert!((0..2).map(|_| record(&gate, Verdict::Gateway, now)).any(|c| c == Change::Ejected));
        let out_for = |now| gate.out_until(now).map(|until| until.duration_since(now).as_secs());
        fail(now);
        assert_eq!(out_for(now), Some(30));
        for expected in [60, 70] {
            now += Duration::from_secs(70);
            assert_eq!(out_for(now), None);
            assert_eq!(gate.admit(), Admission::Probe);
            record(&gate, Verdict::ServerError, now);
            assert_eq!(out_for(now), Some(expected), "a failed probe ejects at once");
        }
        now += Duration::from_secs(70);
        assert_eq!(out_for(now), None);
        assert_eq!(gate.admit(), Admission::Probe);
        assert_eq!(record(&gate, Verdict::Success, now), Change::Back);
        now += Duration::from_secs(3_600);
        fail(now);
        assert_eq!(out_for(now), Some(30), "an hour of good service clears the record");
    }

    #[test]
    fn probation_admits_one_at_a_time() {
        let (gate, now) = (Gate::new(), Instant::now());
        assert_eq!(record(&gate, Verdict::Connect, now), Change::Unreachable);
        assert_eq!(gate.admit(), Admission::No);
        let later = now + Duration::from_millis(100);
        assert_eq!(gate.out_until(later), None);
        assert_eq!((gate.admit(), gate.admit()), (Admission::Probe, Admission::No));
        gate.release_probe();
        assert_eq!(gate.admit(), Admission::Probe);
        assert_eq!(record(&gate, Verdict::Success, later), Change::Back);
        assert_eq!(gate.admit(), Admission::Yes);
    }

    #[test]
    fn connect_failures_back_off_up_to_their_bound_whatever_the_cap() {
        let (gate, mut now) = (Gate::new(), Instant::now());
        for expected in [100, 200, 250, 250] {
            gate.record(Verdict::Connect, &RULES, now, || false);
            let until = gate.out_until(now).unwrap();
            assert_eq!(until.duration_since(now), Duration::from_millis(expected));
            now = until;
            assert_eq!((gate.out_until(now), gate.admit()), (None, Admission::Probe));
        }
    }

    #[test]
    fn a_good_check_shortens_the_wait() {
        let (gate, now) = (Gate::new(), Instant::now());
        assert_eq!(gate.readmit(), Change::None);
        record(&gate, Verdict::Connect, now);
        assert_eq!(gate.readmit(), Change::Back);
        assert_eq!(gate.standing(), Standing::Probation);
    }

    #[test]
    fn late_results_do_not_move_an_endpoint_that_is_out() {
        let (gate, now) = (Gate::new(), Instant::now());
        record(&gate, Verdict::Connect, now);
        assert_eq!(record(&gate, Verdict::Success, now), Change::None);
        assert_eq!(gate.standing(), Standing::Unreachable);
    }
}
