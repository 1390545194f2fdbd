//! A configured state store: its slot, its key prefix and its counters.

use outrigger_component_api::{ComponentSpec, Result, StateStore};

use super::KeyPrefix;
use crate::guard::{Meter, Op, Policy};
use crate::health::ComponentReport;
use crate::scope::Scopes;
use crate::slot::{Readiness, Slot, SlotConfig};
use crate::stores::Member;

const BLOCK: &str = "state";

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
        let op = |name| meter.op(BLOCK, &config.name, name);
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

    /// A store as configured. The block's own settings are taken out of `spec`; the rest is the backend's.
    pub fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let prefix = KeyPrefix::take(spec)?;
        let config = SlotConfig {
            name: spec.name.clone(),
            type_name: spec.r#type.clone(),
            scopes: Scopes::new(spec.scopes.iter().cloned()),
            policy,
        };
        Ok(Self::new(config, prefix, meter))
    }

    /// What it puts before its keys.
    pub fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// How it is doing.
    pub async fn report(&self) -> ComponentReport {
        let capabilities = match &*self.slot.readiness() {
            Readiness::Ready(store) => store.capabilities().words().collect(),
            Readiness::Starting | Readiness::NotReady { .. } => Vec::new(),
        };
        ComponentReport {
            block: BLOCK,
            name: self.slot.name().to_owned(),
            type_name: self.slot.type_name().to_owned(),
            health: self.slot.health().await,
            capabilities,
        }
    }
}

impl Member for StateComponent {
    type Block = dyn StateStore;
    const NOUN: &'static str = "state store";

    fn slot(&self) -> &Slot<dyn StateStore> {
        &self.slot
    }
}
