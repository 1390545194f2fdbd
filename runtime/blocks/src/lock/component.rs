//! A configured lock store: its slot, its key prefix and its counters.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, Key, LockStore, Result};

use crate::caller::Caller;
use crate::guard::{Meter, Op, Policy};
use crate::key::KeyPrefix;
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// Before all keys of locks, so that they can share a server with other blocks.
const SPACE: &str = "lock|||";
/// Where the settings say nothing.
pub(crate) const PREFIX: KeyPrefix = KeyPrefix::AppId;

/// What the lock block keeps for one store.
pub struct LockComponent {
    pub(super) slot: Slot<dyn LockStore>,
    pub(super) ops: Ops,
    prefix: KeyPrefix,
}

pub(super) struct Ops {
    pub(super) try_lock: Op,
    pub(super) unlock: Op,
    pub(super) keep_alive: Op,
}

impl LockComponent {
    pub(super) fn key(&self, caller: &Caller<'_>, resource: &str) -> Result<Key> {
        self.prefix.apply(SPACE, self.slot.name(), caller.app_id, "resource_id", resource)
    }
}

impl Member for LockComponent {
    type Block = dyn LockStore;
    const BLOCK: &'static str = "lock";
    const NOUN: &'static str = "lock store";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let prefix = KeyPrefix::take(spec, PREFIX)?;
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let ops = Ops { try_lock: op("try_lock"), unlock: op("unlock"), keep_alive: op("keep_alive") };
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), ops, prefix })
    }

    fn slot(&self) -> &Slot<dyn LockStore> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn LockStore>> {
        if let Built::Lock(store) = built { Some(store) } else { None }
    }

    fn capabilities(store: &dyn LockStore) -> Vec<&'static str> {
        let has = store.capabilities();
        let words = [(has.persistent, "PERSISTENT"), (has.shared, "SHARED")];
        words.into_iter().filter_map(|(has, word)| has.then_some(word)).collect()
    }
}
