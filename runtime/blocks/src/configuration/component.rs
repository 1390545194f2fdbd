//! A configured configuration store: its slot, its defaults and its counters.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, ConfigurationStore, Result};

use super::defaults::Defaults;
use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// What the configuration block keeps for one store.
pub struct ConfigurationComponent {
    pub(super) slot: Slot<dyn ConfigurationStore>,
    pub(super) defaults: Defaults,
    pub(super) ops: Ops,
    pub(super) policy: Policy,
}

pub(super) struct Ops {
    pub(super) get: Op,
    pub(super) save: Op,
    pub(super) delete: Op,
    pub(super) watch: Op,
}

impl Member for ConfigurationComponent {
    type Block = dyn ConfigurationStore;
    const BLOCK: &'static str = "configuration";
    const NOUN: &'static str = "configuration store";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let defaults = Defaults::take(spec)?;
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let ops = Ops { get: op("get"), save: op("save"), delete: op("delete"), watch: op("watch") };
        Ok(Self { slot: Slot::new(SlotConfig::of(spec, policy)), defaults, ops, policy })
    }

    fn slot(&self) -> &Slot<dyn ConfigurationStore> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn ConfigurationStore>> {
        if let Built::Configuration(store) = built { Some(store) } else { None }
    }

    fn capabilities(store: &dyn ConfigurationStore) -> Vec<&'static str> {
        let has = store.capabilities();
        let words = [
            (has.writable, "WRITABLE"),
            (has.watchable, "WATCHABLE"),
            (has.resumable, "RESUMABLE"),
            (has.levels, "LEVELS"),
            (has.tags, "TAGS"),
        ];
        words.into_iter().filter_map(|(has, word)| has.then_some(word)).collect()
    }
}
