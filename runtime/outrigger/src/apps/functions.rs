//! Functions as applications: found by their names before all others, and called through a cluster of their own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use arc_swap::ArcSwap;
use outrigger_blocks::{
    Blocks, Meter,
    function::Door,
    invoke::{Callers, Place, Speaks, Target},
};
use outrigger_cluster::{Clusters, Context};

use crate::function_triggers::{self, Endpoints};

/// Stands before the names of their clusters.
const PREFIX: &str = "function:";

/// The functions of this process.
pub(super) struct Functions {
    blocks: Weak<Blocks>,
    meter: Meter,
    clusters: Clusters,
    /// Made when one is first called.
    targets: ArcSwap<BTreeMap<Box<str>, Arc<Target>>>,
}

impl Functions {
    pub(super) fn new(blocks: &Arc<Blocks>, context: Context) -> Self {
        let services = Arc::new(Endpoints::new(blocks, Door::Invoke));
        Self {
            blocks: Arc::downgrade(blocks),
            meter: blocks.meter().clone(),
            clusters: Clusters::empty(Context { services, ..context }),
            targets: ArcSwap::default(),
        }
    }

    /// The function of this name, if it can be asked anything at all.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Target>> {
        let blocks = self.blocks.upgrade()?;
        let triggers = blocks.functions.get(name)?.triggers;
        if !triggers.http && !triggers.invoke {
            return None;
        }
        if let Some(target) = self.targets.load().get(name) {
            return Some(Arc::clone(target));
        }
        let target = self.target(name)?;
        // Two at a time may both make one; both are good, and the first one stays.
        let targets = self.targets.rcu(|targets| {
            let mut targets = BTreeMap::clone(targets);
            targets.retain(|known, _| blocks.functions.has(known));
            targets.entry(name.into()).or_insert_with(|| Arc::clone(&target));
            targets
        });
        Some(targets.get(name).map_or(target, Arc::clone))
    }

    fn target(&self, name: &str) -> Option<Arc<Target>> {
        let wanted = BTreeMap::from([(format!("{PREFIX}{name}"), function_triggers::cluster(name))]);
        let clusters = Clusters::compile(&wanted, &self.clusters)
            .inspect_err(|problems| tracing::error!(name, ?problems, "a function cannot be called"));
        let clusters = clusters.ok()?;
        let cluster = clusters.get(&format!("{PREFIX}{name}"))?;
        let place = Place::App { speaks: Speaks::Http, callers: Callers::default() };
        Some(Arc::new(Target::new(name, Arc::clone(cluster), place, &self.meter)))
    }
}
