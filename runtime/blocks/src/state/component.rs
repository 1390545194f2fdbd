//! A configured state store: its slot, its key prefix and its counters.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, Result, StateStore};

use crate::KeyPrefix;
use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// What the state block keeps for one store.
pub struct StateComponent {
    pub(super) slot: Slot<dyn StateStore>,
    pub(super) prefix: KeyPrefix,
    pub(super) ops: Ops,
}

pub(super) struct Ops {
    pub(super) get: Op,
    pub(super) get_bulk: Op,
    pub(super) set: Op,
    pub(super) delete: Op,
    pub(super) write_bulk: Op,
    pub(super) transact: Op,
}

impl StateComponent {
    /// A store that is starting; its slot takes the backend when there is one.
    pub fn new(config: SlotConfig, prefix: KeyPrefix, meter: &Meter) -> Self {
        let op = |name| meter.op(Self::BLOCK, &config.name, name);
        let ops = Ops {
            get: op("get"),
            get_bulk: op("get_bulk"),
            set: op("set"),
            delete: op("delete"),
            write_bulk: op("write_bulk"),
            transact: op("transact"),
        };
        Self { slot: Slot::new(config), prefix, ops }
    }

    /// What it puts before its keys.
    pub fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }
}

impl Member for StateComponent {
    type Block = dyn StateStore;
    const BLOCK: &'static str = "state";
    const NOUN: &'static str = "state store";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let prefix = KeyPrefix::take(spec, KeyPrefix::None)?;
        Ok(Self::new(SlotConfig::of(spec, policy), prefix, meter))
    }

    fn slot(&self) -> &Slot<dyn StateStore> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn StateStore>> {
        if let Built::State(store) = built { Some(store) } else { None }
    }

    fn capabilities(store: &dyn StateStore) -> Vec<&'static str> {
        store.capabilities().words().collect()
    }
}
