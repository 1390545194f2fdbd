//! Choosing an endpoint: each policy proposes an index, and one rule says what happens when that endpoint
//! does not do.

mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_http::Chosen;
use smallvec::SmallVec;

use crate::config::Balance;
use crate::endpoint::Endpoint;
use crate::gate::Admission;
use crate::set::{EndpointSet, Member};

/// Endpoints a request has failed on.
pub(crate) type Tried = SmallVec<[Arc<Endpoint>; 3]>;

/// The endpoint for a request.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The endpoint is on probation and this request decides over it.
    pub(crate) probe: bool,
    /// It was tried before by this request, there being no other.
    pub(crate) again: bool,
}

/// How to draw from a set, prepared when the set is made.
#[derive(Debug)]
pub(crate) struct Draw {
    balance: Balance,
    /// Running totals of the weights; empty when all are equal.
    totals: Box<[u32]>,
    /// The order of turns of the weighted policy; empty when all weights are equal.
    schedule: Box<[u32]>,
}

impl Draw {
    pub(crate) fn new(members: &[Member], balance: Balance) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let equal = weights.windows(2).all(|pair| pair.first() == pair.last());
        let running = |total: &mut u32, weight: &u32| {
            *total = total.saturating_add(*weight);
            Some(*total)
        };
        let totals = match balance {
            Balance::Random | Balance::LeastRequest if !equal => weights.iter().scan(0, running).collect(),
            _ => Box::default(),
        };
        let schedule =
            if balance == Balance::Weighted && !equal { schedule::smooth(&weights) } else { Box::default() };
        Self { balance, totals, schedule }
    }

    /// An index below `members.len()`, which must not be zero.
    fn propose(&self, members: &[Member], turn: &AtomicUsize) -> usize {
        match self.balance {
            Balance::RoundRobin => turn.fetch_add(1, Ordering::Relaxed) % members.len(),
            Balance::Weighted => self.next_turn(members, turn),
            Balance::Random => self.random(members),
            Balance::LeastRequest => self.least_of_two(members),
        }
    }

    fn next_turn(&self, members: &[Member], turn: &AtomicUsize) -> usize {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let scheduled = turn.checked_rem(self.schedule.len()).and_then(|at| self.schedule.get(at));
        scheduled.map_or(turn % members.len(), |index| *index as usize)
    }

    fn random(&self, members: &[Member]) -> usize {
        match self.totals.last() {
            None => fastrand::usize(..members.len()),
            Some(total) => {
                let point = fastrand::u32(..*total);
                self.totals.partition_point(|upto| *upto <= point)
            }
        }
    }

    /// Two different endpoints drawn by weight; the one with fewer requests per weight, the first when equal.
    fn least_of_two(&self, members: &[Member]) -> usize {
        let first = self.random(members);
        if members.len() == 1 {
            return first;
        }
        let mut second = self.random(members);
        if second == first {
            second = (first + 1 + fastrand::usize(..members.len() - 1)) % members.len();
        }
        match (members.get(first), members.get(second)) {
            (Some(a), Some(b)) => {
                // a.active / a.weight <= b.active / b.weight, without the division.
                let (load_a, load_b) = (a.endpoint.active() as u64, b.endpoint.active() as u64);
                if load_a * u64::from(b.weight) <= load_b * u64::from(a.weight) { first } else { second }
            }
            _ => first,
        }
    }
}

/// Endpoints that are only asked when there is no other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Avoided<'a> {
    /// Those the request has failed on.
    pub(crate) tried: &'a [Arc<Endpoint>],
    /// Functions that are not deployed.
    pub(crate) absent: &'a [Arc<Endpoint>],
}

/// What can be said for an endpoint, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Untried,
    Tried,
    Absent,
}

impl Avoided<'_> {
    fn rank(&self, endpoint: &Arc<Endpoint>) -> Rank {
        match () {
            () if is_among(self.absent, endpoint) => Rank::Absent,
            () if is_among(self.tried, endpoint) => Rank::Tried,
            () => Rank::Untried,
        }
    }
}

fn is_among(endpoints: &[Arc<Endpoint>], endpoint: &Arc<Endpoint>) -> bool {
    endpoints.iter().any(|known| Arc::ptr_eq(known, endpoint))
}

/// Draws before the next best one is taken, so that the shares of what is absent go to all others.
const DRAWS: usize = 16;

/// Picks an endpoint that admits the request: the proposed one, else the next one that was not tried yet,
/// else one that was, else one that is absent.
pub(crate) fn pick(set: &EndpointSet, turn: &AtomicUsize, avoided: Avoided<'_>) -> Option<Picked> {
    if set.usable.is_empty() {
        return None;
    }
    let mut first = set.draw.propose(&set.usable, turn);
    let is_absent =
        |index: usize| set.usable.get(index).is_some_and(|member| is_among(avoided.absent, &member.endpoint));
    for _ in 1..DRAWS {
        if avoided.absent.is_empty() || !is_absent(first) {
            break;
        }
        first = set.draw.propose(&set.usable, turn);
    }
    let (before, after) = set.usable.split_at_checked(first).unwrap_or((&[], &set.usable));
    let of = |rank| after.iter().chain(before).find_map(|member| admit(set, member, avoided, rank));
    of(Rank::Untried).or_else(|| of(Rank::Tried)).or_else(|| of(Rank::Absent))
}

/// The endpoint that was chosen for a request; another one only where that will do as well and this one is out, or was
/// tried and failed.
pub(crate) fn pick_chosen(
    set: &EndpointSet,
    turn: &AtomicUsize,
    avoided: Avoided<'_>,
    chosen: &Chosen,
) -> Option<Picked> {
    let is_chosen = |member: &&Member| **member.endpoint.text() == *chosen.endpoint;
    let picked =
        set.usable.iter().find(is_chosen).and_then(|member| admit(set, member, avoided, Rank::Untried));
    if chosen.strict { picked } else { picked.or_else(|| pick(set, turn, avoided)) }
}

fn admit(set: &EndpointSet, member: &Member, avoided: Avoided<'_>, rank: Rank) -> Option<Picked> {
    let endpoint = &member.endpoint;
    if avoided.rank(endpoint) != rank {
        return None;
    }
    let probe = match endpoint.gate.admit() {
        Admission::Yes => false,
        Admission::Probe => true,
        // In a panic everybody serves, whatever their record says.
        Admission::No if set.panic => false,
        Admission::No => return None,
    };
    let again = is_among(avoided.tried, endpoint);
    Some(Picked { endpoint: Arc::clone(endpoint), probe, again })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use super::*;
    use crate::config::{Location, PassiveConfig};
    use crate::endpoint::Identity;
    use crate::gate::Verdict;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(port, weight): (usize, &u32)| {
            let address = format!("127.0.0.1:{}", port + 1).parse().unwrap();
            let location = Location::Address(address);
            let identity = Identity { location, http2: false, tls: None };
            Member { endpoint: Arc::new(Endpoint::new(identity)), weight: *weight }
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn set(members: &[Member], balance: Balance) -> EndpointSet {
        EndpointSet::new(members, balance, None, Instant::now())
    }

    /// Counts picks per member over `rounds`.
    fn shares(members: &[Member], balance: Balance, rounds: usize) -> Vec<usize> {
        let (set, turn) = (set(members, balance), AtomicUsize::new(0));
        let mut counts = HashMap::new();
        for _ in 0..rounds {
            *counts
                .entry(Arc::as_ptr(&pick(&set, &turn, Avoided::default()).unwrap().endpoint))
                .or_insert(0) += 1;
        }
        members
            .iter()
            .map(|member| counts.get(&Arc::as_ptr(&member.endpoint)).copied().unwrap_or(0))
            .collect()
    }

    #[test]
    fn turns_are_exact() {
        assert_eq!(shares(&members(&[1, 5, 1]), Balance::RoundRobin, 300), [100, 100, 100]);
        assert_eq!(shares(&members(&[5, 1, 1]), Balance::Weighted, 700), [500, 100, 100]);
        assert_eq!(shares(&members(&[4, 4]), Balance::Weighted, 10), [5, 5]);
    }

    #[test]
    fn draws_follow_the_weights() {
        for balance in [Balance::Random, Balance::LeastRequest] {
            let counts = shares(&members(&[1, 3]), balance, 20_000);
            if balance == Balance::Random {
                assert!((4_700..5_300).contains(&counts[0]), "{balance:?} {counts:?}");
            }
            assert!(counts[0] * 2 < counts[1], "{balance:?} {counts:?}");
            let counts = shares(&members(&[2, 2, 2]), balance, 30_000);
            assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{balance:?} {counts:?}");
        }
    }

    #[test]
    fn least_request_keeps_load_in_proportion_to_weight() {
        let members = members(&[1, 2, 1]);
        let (set, turn) = (set(&members, Balance::LeastRequest), AtomicUsize::new(0));
        for _ in 0..4_000 {
            pick(&set, &turn, Avoided::default()).unwrap().endpoint.enter();
        }
        let loads: Vec<_> = members.iter().map(|member| member.endpoint.active()).collect();
        for (load, expected) in loads.iter().zip([1_000usize, 2_000, 1_000]) {
            assert!(load.abs_diff(expected) < 60, "{loads:?}");
        }
    }

    #[test]
    fn tried_endpoints_come_last() {
        for balance in [Balance::RoundRobin, Balance::Weighted, Balance::Random, Balance::LeastRequest] {
            let members = members(&[1, 3, 1]);
            let (set, turn) = (set(&members, balance), AtomicUsize::new(0));
            for _ in 0..50 {
                let mut tried = Tried::new();
                for _ in 0..3 {
                    let picked = pick(&set, &turn, Avoided { tried: &tried, absent: &[] }).unwrap();
                    assert!(!picked.again);
                    tried.push(picked.endpoint);
                }
                assert!(
                    pick(&set, &turn, Avoided { tried: &tried, absent: &[] }).unwrap().again,
                    "all were tried: any will do"
                );
            }
        }
    }

    #[test]
    fn an_endpoint_that_went_out_is_passed_over_before_the_set_is_renewed() {
        let members = members(&[1, 1]);
        let (set, turn, now) = (set(&members, Balance::RoundRobin), AtomicUsize::new(0), Instant::now());
        let down = &members[0].endpoint;
        down.gate.record(Verdict::Connect, &PassiveConfig::default(), now, || true);
        for _ in 0..10 {
            assert!(!Arc::ptr_eq(&pick(&set, &turn, Avoided::default()).unwrap().endpoint, down));
        }
        members[1].endpoint.gate.record(Verdict::Connect, &PassiveConfig::default(), now, || true);
        assert!(pick(&set, &turn, Avoided::default()).is_none());
    }

    #[test]
    fn a_chosen_endpoint_is_picked_while_it_is_usable() {
        let members = members(&[1, 1]);
        let (set, turn, now) = (set(&members, Balance::RoundRobin), AtomicUsize::new(0), Instant::now());
        let chosen = |endpoint: &str, strict| Chosen { endpoint: endpoint.to_owned(), strict };
        let ports = |chosen: &Chosen, tried: &[Arc<Endpoint>]| {
            let picked =
                (0..4).filter_map(|_| pick_chosen(&set, &turn, Avoided { tried, absent: &[] }, chosen));
            picked.map(|picked| picked.endpoint.location().to_string()).collect::<Vec<_>>()
        };
        let (one, two) = ("127.0.0.1:1", "127.0.0.1:2");
        for strict in [false, true] {
            assert_eq!(ports(&chosen(two, strict), &[]), [two; 4]);
        }
        // A retry goes elsewhere, or nowhere.
        let tried = [Arc::clone(&members[1].endpoint)];
        assert_eq!(ports(&chosen(two, false), &tried), [one; 4]);
        assert!(ports(&chosen(two, true), &tried).is_empty());
        assert_eq!(ports(&chosen("127.0.0.1:3", false), &[]), [one, two, one, two]);
        assert!(ports(&chosen("127.0.0.1:3", true), &[]).is_empty());
        members[1].endpoint.gate.record(Verdict::Connect, &PassiveConfig::default(), now, || true);
        assert_eq!(ports(&chosen(two, false), &[]), [one; 4]);
        assert!(ports(&chosen(two, true), &[]).is_empty());
    }

    #[test]
    fn panic_uses_everybody() {
        let (members, now) = (members(&[1, 1, 1, 1]), Instant::now());
        for member in &members[..3] {
            member.endpoint.gate.record(Verdict::Connect, &PassiveConfig::default(), now, || true);
        }
        let check = |percent, expected| {
            let set = EndpointSet::new(&members, Balance::RoundRobin, percent, now);
            assert_eq!(set.usable.len(), expected, "{percent:?}");
            assert!(pick(&set, &AtomicUsize::new(0), Avoided::default()).is_some());
        };
        check(None, 1);
        check(Some(25), 1);
        check(Some(26), 4);
    }
}
