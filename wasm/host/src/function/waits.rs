//! Calls that wait for a turn or for an instance, and hold others meanwhile: their callers have theirs until they are
//! answered. None may wait where all there is is held by calls that wait for each other: nobody would ever get it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrigger_blocks::function::Chain;
use parking_lot::Mutex;

/// Those that wait, over all functions.
#[derive(Default)]
pub(crate) struct Waits(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    calls: Vec<Call>,
    next: u64,
}

struct Call {
    number: u64,
    /// Each has a turn and an instance until it is over; the last one, if it waits for an instance itself, a turn alone.
    holders: Chain,
    supply: Supply,
}

/// What is waited for, and how many of it there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Supply {
    kind: Kind,
    room: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// By where the name of the function lies: each version has its own, and its own turns.
    Turn(usize),
    Instance,
}

impl Kind {
    fn turn(function: &Arc<str>) -> Self {
        Self::Turn(Arc::as_ptr(function).addr())
    }
}

/// A call that waits, until this is dropped.
pub(crate) struct Wait<'w> {
    waits: &'w Waits,
    number: u64,
}

/// It would wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stuck;

impl Supply {
    /// The turns of a version of a function, which goes by this very name in the chains of its calls.
    pub(crate) fn turns(function: &Arc<str>, room: usize) -> Self {
        Self { kind: Kind::turn(function), room }
    }

    /// Places for instances.
    pub(crate) fn instances(room: usize) -> Self {
        Self { kind: Kind::Instance, room }
    }
}

impl Waits {
    /// A call begins to wait because there is nothing left. These hold what they have until it is over: its callers, and
    /// where it waits for an instance itself.
    ///
    /// # Errors
    /// When all there is is held by calls that wait for what is held in the same way, in the end by this one.
    pub(crate) fn enter(&self, holders: &Chain, supply: Supply) -> Result<Wait<'_>, Stuck> {
        let mut waiting = self.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        let kind = supply.kind.clone();
        waiting.calls.push(Call { number, holders: holders.clone(), supply });
        if waiting.is_stuck(&kind) {
            waiting.calls.pop();
            return Err(Stuck);
        }
        Ok(Wait { waits: self, number })
    }
}

impl Waiting {
    /// Supposes that nobody gets anything, and lets those go of which somebody else has one.
    fn is_stuck(&self, wanted: &Kind) -> bool {
        let mut stuck: BTreeMap<&Kind, usize> = BTreeMap::new();
        for Call { supply: Supply { kind, room }, .. } in &self.calls {
            stuck.insert(kind, *room);
        }
        while stuck.contains_key(wanted) {
            let held = self.held(&stuck);
            let before = stuck.len();
            stuck.retain(|kind, room| held.get(*kind).is_some_and(|holders| holders.len() >= *room));
            if stuck.len() == before {
                return true;
            }
        }
        false
    }

    /// Who has what among the callers of those that wait for any of these.
    fn held(&self, stuck: &BTreeMap<&Kind, usize>) -> BTreeMap<Kind, BTreeSet<usize>> {
        let mut held = BTreeMap::<Kind, BTreeSet<usize>>::new();
        for call in self.calls.iter().filter(|call| stuck.contains_key(&call.supply.kind)) {
            for (at, (id, function)) in call.holders.calls().enumerate() {
                held.entry(Kind::turn(function)).or_default().insert(id);
                if at > 0 || call.supply.kind != Kind::Instance {
                    held.entry(Kind::Instance).or_default().insert(id);
                }
            }
        }
        held
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.0.lock().calls.retain(|call| call.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one version of this function.
    fn version(function: &str) -> Arc<str> {
        static ALL: Mutex<BTreeMap<String, Arc<str>>> = Mutex::new(BTreeMap::new());
        Arc::clone(ALL.lock().entry(function.to_owned()).or_insert_with(|| function.into()))
    }

    fn chain(functions: &[&str]) -> Chain {
        functions.iter().fold(Chain::default(), |chain, function| chain.with(&version(function)))
    }

    fn turns(function: &str, room: usize) -> Supply {
        Supply::turns(&version(function), room)
    }

    #[test]
    fn nobody_waits_for_those_who_wait_for_him() {
        let waits = Waits::default();
        let enter = |holders: &[&str], function: &str| waits.enter(&chain(holders), turns(function, 1));
        assert_eq!(enter(&["a", "b"], "a").err(), Some(Stuck));
        let first = enter(&["a"], "b").unwrap();
        assert!(enter(&["b"], "a").is_err(), "each has what the other wants");
        assert!(enter(&["c"], "a").is_ok() && enter(&["b"], "c").is_ok(), "nobody has both");
        let second = enter(&["b"], "c").unwrap();
        assert!(enter(&["c"], "a").is_err(), "over a third");
        assert!(enter(&["x", "c"], "a").is_err(), "whoever of the callers it is");
        drop(first);
        assert!(enter(&["c"], "a").is_ok(), "who has got a turn waits no more");
        drop(second);
        assert_eq!(waits.0.lock().calls.len(), 0);
    }

    #[test]
    fn as_long_as_one_goes_on_the_others_wait_for_it() {
        let waits = Waits::default();
        let own = |room| waits.enter(&chain(&["a"]), turns("a", room));
        assert!(own(1).is_err());
        let first = own(3).unwrap();
        let second = own(3).unwrap();
        assert!(own(3).is_err(), "all three turns are held by those who wait for one");
        drop(second);
        let to_other = || waits.enter(&chain(&["a"]), turns("b", 2));
        let third = to_other().unwrap();
        drop(own(3).expect("the third waits for somebody who goes on"));
        let fourth = to_other().unwrap();
        let back = || waits.enter(&chain(&["b"]), turns("a", 3));
        let fifth = back().unwrap();
        assert!(back().is_err(), "who then does not any more");
        drop((first, third, fourth, fifth));
        let callers = chain(&["a"]);
        let one = waits.enter(&callers, turns("a", 2)).unwrap();
        assert!(waits.enter(&callers, turns("a", 2)).is_ok(), "two calls of one caller hold one turn");
        drop(one);
    }

    #[test]
    fn each_version_has_turns_of_its_own() {
        let waits = Waits::default();
        let [old, new]: [Arc<str>; 2] = ["f".into(), "f".into()];
        let enter = |holder: &Arc<str>, function, room| {
            waits.enter(&Chain::default().with(holder), Supply::turns(function, room))
        };
        let g = version("g");
        let first = enter(&old, &g, 1).unwrap();
        let wanted = chain(&["g"]);
        assert!(waits.enter(&wanted, Supply::turns(&new, 1)).is_ok(), "the turn of the new one goes on");
        assert!(waits.enter(&wanted, Supply::turns(&old, 1)).is_err());
        let _second = enter(&new, &new, 64).unwrap();
        assert!(waits.enter(&wanted, Supply::turns(&old, 1)).is_err(), "whatever room the new one has");
        drop(first);
    }

    #[test]
    fn who_waits_for_an_instance_has_a_turn() {
        let waits = Waits::default();
        let instances = || Supply::instances(2);
        assert!(waits.enter(&chain(&["a"]), instances()).is_ok());
        let _first = waits.enter(&chain(&["g"]), turns("f", 1)).unwrap();
        let _second = waits.enter(&chain(&["g"]), turns("f", 1)).unwrap();
        assert!(waits.enter(&chain(&["h"]), instances()).is_ok(), "the one turn of `f` goes on");
        assert!(waits.enter(&chain(&["f"]), instances()).is_err(), "it waits for those who wait for it");
        let nested = Waits::default();
        let _one = nested.enter(&chain(&["a", "b"]), instances()).unwrap();
        assert!(nested.enter(&chain(&["a", "b"]), instances()).is_err(), "nobody who has one goes on");
    }
}
