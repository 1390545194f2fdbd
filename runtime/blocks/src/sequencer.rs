//! Sequences: numbers that only grow, from a named sequencer.

mod cache;
mod component;
mod rules;

use std::sync::Arc;

use outrigger_component_api::{Key, NextOptions, Result, Segment, Sequencer as Backend};

pub use component::SequencerComponent;
pub(crate) use rules::Rules;

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::slot::Readiness;
use crate::stores::Stores;
use cache::Taken;

/// The sequencer block.
#[derive(Default)]
pub struct Sequencer {
    /// The sequencers calls can name.
    pub stores: Stores<SequencerComponent>,
}

/// What the numbers of one sequence promise each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Increment {
    /// Unique, growing over time, but taken in advance by each process: not in the order of calls to different
    /// processes, and some are left out when one ends.
    #[default]
    Weak,
    /// Larger than every number given out before, to whomever. One call to the backend each.
    Strong,
}

impl Sequencer {
    /// The next number of a sequence.
    pub async fn next(
        &self,
        caller: &Caller<'_>,
        store: &str,
        key: &str,
        increment: Increment,
    ) -> Result<i64> {
        let store = self.stores.find(caller, store)?;
        let stored = store.key(caller, key)?;
        let options = NextOptions { bigger_than: store.rules.bigger_than(key, &stored) };
        match increment {
            Increment::Weak if !store.lacks_segments() => store.weak(caller, stored, options).await,
            Increment::Weak | Increment::Strong => store.strong(caller, &stored, options).await,
        }
    }
}

impl SequencerComponent {
    /// Not repeated when the answer is lost: that would leave a number out, and each counts.
    async fn strong(&self, caller: &Caller<'_>, key: &Key, options: NextOptions) -> Result<i64> {
        let call = Call { op: &self.ops.next, class: Class::Once, caller };
        self.slot.run(call, |backend| async move { backend.next(key, options).await }).await
    }

    /// From the numbers taken in advance, as long as there are any: those need no backend.
    async fn weak(&self, caller: &Caller<'_>, key: Key, options: NextOptions) -> Result<i64> {
        let numbers = self.cache.numbers(&key);
        loop {
            match numbers.take(self.rules.refill_at()) {
                Taken::Number(number) => return Ok(number),
                Taken::RunningLow(number) => {
                    // One caller fetches what comes next; whatever becomes of that, it has its number.
                    if let Some(refill) = numbers.try_refill() {
                        match self.segment(caller, &key, options).await {
                            Ok(Some(segment)) => refill.add(segment),
                            Ok(None) | Err(_) => refill.failed(),
                        }
                    }
                    return Ok(number);
                }
                Taken::Nothing => {
                    let refill = numbers.refill(caller.deadline).await?;
                    // Somebody else may have fetched some while we waited for our turn.
                    if numbers.is_empty() {
                        match self.segment(caller, &key, options).await? {
                            Some(segment) => refill.add(segment),
                            // It had not been ready when we asked before.
                            None => return self.strong(caller, &key, options).await,
                        }
                    }
                }
            }
        }
    }

    fn lacks_segments(&self) -> bool {
        matches!(&*self.slot.readiness(), Readiness::Ready(backend) if !backend.capabilities().segments)
    }

    /// `None` from a backend that has no segments.
    async fn segment(&self, caller: &Caller<'_>, key: &Key, options: NextOptions) -> Result<Option<Segment>> {
        let call = Call { op: &self.ops.segment, class: Class::Idempotent, caller };
        let size = self.rules.segment_size();
        let fetch = |backend: Arc<dyn Backend>| async move {
            match backend.capabilities().segments {
                true => backend.segment(key, size, options).await.map(Some),
                false => Ok(None),
            }
        };
        self.slot.run(call, fetch).await
    }
}

#[cfg(test)]
mod tests;
