//! A configured secret store: its slot, its access rules and its counters.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, Result, SecretStore};

use super::SecretAccess;
use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// What the secrets block keeps for one store.
pub struct SecretComponent {
    pub(super) slot: Slot<dyn SecretStore>,
    pub(super) access: SecretAccess,
    pub(super) ops: Ops,
}

pub(super) struct Ops {
    pub(super) get: Op,
    pub(super) bulk: Op,
}

impl SecretComponent {
    /// A store that is starting; its slot takes the backend when there is one.
    pub fn new(config: SlotConfig, access: SecretAccess, meter: &Meter) -> Self {
        let op = |name| meter.op(Self::BLOCK, &config.name, name);
        let ops = Ops { get: op("get"), bulk: op("bulk") };
        Self { slot: Slot::new(config), access, ops }
    }
}

impl Member for SecretComponent {
    type Block = dyn SecretStore;
    const BLOCK: &'static str = "secrets";
    const NOUN: &'static str = "secret store";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let access = SecretAccess::take(spec)?;
        Ok(Self::new(SlotConfig::of(spec, policy), access, meter))
    }

    fn slot(&self) -> &Slot<dyn SecretStore> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn SecretStore>> {
        if let Built::Secrets(store) = built { Some(store) } else { None }
    }
}
