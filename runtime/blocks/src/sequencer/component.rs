//! A configured sequencer: its slot, its rules, the numbers it has taken in advance, and its counters.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, Key, Result, Sequencer};

use super::cache::Cache;
use super::rules::Rules;
use crate::caller::Caller;
use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// Before all keys of sequences, so that they can share a server with other blocks.
const SPACE: &str = "sequencer|||";

/// What the sequencer block keeps for one sequencer.
pub struct SequencerComponent {
    pub(super) slot: Slot<dyn Sequencer>,
    pub(super) ops: Ops,
    pub(super) rules: Rules,
    pub(super) cache: Cache,
}

pub(super) struct Ops {
    pub(super) next: Op,
    pub(super) segment: Op,
}

impl SequencerComponent {
    pub(super) fn key(&self, caller: &Caller<'_>, key: &str) -> Result<Key> {
        self.rules.prefix.apply(SPACE, self.slot.name(), caller.app_id, "key", key)
    }
}

impl Member for SequencerComponent {
    type Block = dyn Sequencer;
    const BLOCK: &'static str = "sequencer";
    const NOUN: &'static str = "sequencer";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let rules = Rules::take(spec)?;
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let ops = Ops { next: op("next"), segment: op("segment") };
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), ops, rules, cache: Cache::default() })
    }

    fn slot(&self) -> &Slot<dyn Sequencer> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn Sequencer>> {
        if let Built::Sequencer(sequencer) = built { Some(sequencer) } else { None }
    }

    fn capabilities(sequencer: &dyn Sequencer) -> Vec<&'static str> {
        let has = sequencer.capabilities();
        let words = [(has.segments, "SEGMENTS"), (has.persistent, "PERSISTENT")];
        words.into_iter().filter_map(|(has, word)| has.then_some(word)).collect()
    }
}
