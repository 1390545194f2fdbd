//! A configured file store: its slot and its counters.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{Built, ComponentSpec, FileStore, Result};

use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// What the file block keeps for one store.
pub struct FileComponent {
    pub(super) slot: Slot<dyn FileStore>,
    pub(super) ops: Ops,
    /// How long nothing may move: the policy's timeout.
    pub(super) idle: Duration,
}

pub(super) struct Ops {
    pub(super) put: Op,
    pub(super) get: Op,
    pub(super) list: Op,
    pub(super) delete: Op,
    pub(super) stat: Op,
}

impl Member for FileComponent {
    type Block = dyn FileStore;
    const BLOCK: &'static str = "file";
    const NOUN: &'static str = "file store";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let ops =
            Ops { put: op("put"), get: op("get"), list: op("list"), delete: op("delete"), stat: op("stat") };
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), ops, idle: policy.timeout })
    }

    fn slot(&self) -> &Slot<dyn FileStore> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn FileStore>> {
        if let Built::File(store) = built { Some(store) } else { None }
    }
}
