//! What one configuration compiles to. Built beside the one in force, from its parts where they are the same.

use std::{collections::BTreeMap, sync::Arc};

use outrigger_blocks::Blocks;
use outrigger_component_api::Registry;

use crate::{
    components::{Changes, Components},
    config::{Config, Loaded, node::Node, node::Origin},
};

/// A configuration and everything made from it.
pub struct Snapshot {
    pub loaded: Loaded,
    pub components: Components,
}

impl Default for Snapshot {
    /// Nothing at all: what the first configuration is compared with.
    fn default() -> Self {
        let config = Config { components: BTreeMap::new(), ..Config::default() };
        Self {
            loaded: Loaded { config, tree: Node::map(Origin::Default) },
            components: Components::default(),
        }
    }
}

impl Snapshot {
    /// Compiles a configuration, keeping from `previous` what it does not touch. Nothing is in force yet.
    pub fn compile(
        loaded: Loaded,
        registry: &Arc<Registry>,
        blocks: &Blocks,
        previous: &Snapshot,
    ) -> anyhow::Result<(Self, Changes)> {
        let (components, changes) =
            Components::compile(&loaded.config, registry, blocks, &previous.components)?;
        Ok((Self { loaded, components }, changes))
    }
}

/// Settings that are read once, at start.
pub fn needs_restart(now: &Config, next: &Config) -> Vec<&'static str> {
    let mut settings = Vec::new();
    let mut compare = |differs: bool, setting| settings.extend(differs.then_some(setting));
    compare(now.app.id != next.app.id, "app.id");
    compare(now.workers != next.workers, "workers");
    compare(now.log.format != next.log.format, "log.format");
    settings
}
