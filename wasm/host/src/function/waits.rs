//! Calls that functions make of each other and that wait for their turn. None may wait, over however many others, for a
//! turn that one of its own callers has: nobody would ever get it.

use std::collections::BTreeSet;
use std::sync::Arc;

use outrigger_blocks::function::Chain;
use outrigger_blocks::{Error, ErrorKind, Result};
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
    /// Who has a turn until it is over.
    holders: Chain,
    function: Arc<str>,
}

/// A call that waits, until this is dropped.
pub(crate) struct Wait<'w> {
    waits: &'w Waits,
    number: u64,
}

impl Waits {
    /// A call whose callers are these begins to wait for a turn of a function.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) when those who have the turns may be waiting for its callers.
    pub(crate) fn enter(&self, holders: &Chain, function: &Arc<str>) -> Result<Wait<'_>> {
        let mut waiting = self.0.lock();
        if waiting.leads_back(holders, function) {
            let chain = holders.to(function);
            let message = format!("'{function}' has no turn left, and its callers are in the way: {chain}");
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        let number = waiting.next;
        waiting.next += 1;
        let (holders, function) = (holders.clone(), Arc::clone(function));
        waiting.calls.push(Call { number, holders, function });
        Ok(Wait { waits: self, number })
    }
}

impl Waiting {
    /// Whether any of the holders are among those that the holders of the function's turns, and theirs, wait for.
    fn leads_back(&self, holders: &Chain, function: &str) -> bool {
        let (mut reached, mut seen) = (BTreeSet::from([function]), 0);
        while seen < reached.len() {
            seen = reached.len();
            for call in &self.calls {
                if call.holders.functions().any(|holder| reached.contains(&**holder)) {
                    reached.insert(&call.function);
                }
            }
        }
        holders.functions().any(|holder| reached.contains(&**holder))
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

    fn chain(functions: &[&str]) -> Chain {
        functions.iter().fold(Chain::default(), |chain, function| chain.with(&(*function).into()))
    }

    #[test]
    fn nobody_waits_for_those_who_wait_for_him() {
        let waits = Waits::default();
        let enter = |holders: &[&str], function: &str| waits.enter(&chain(holders), &function.into());
        let error = enter(&["a", "b"], "a").map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert_eq!(error.message(), "'a' has no turn left, and its callers are in the way: a → b → a");
        let first = enter(&["a"], "b").unwrap();
        let _other = enter(&["a"], "b").unwrap();
        assert!(enter(&["b"], "a").is_err(), "each has what the other wants");
        assert!(enter(&["c"], "a").is_ok() && enter(&["b"], "c").is_ok(), "nobody has both");
        let _second = enter(&["b"], "c").unwrap();
        assert!(enter(&["c"], "a").is_err(), "over a third");
        assert!(enter(&["x", "c"], "a").is_err(), "whoever of the callers it is");
        drop((first, _other));
        assert!(enter(&["c"], "a").is_ok(), "who has got a turn waits no more");
    }
}
