//! What one configuration compiles to. Built beside the one in force, from its parts where they are the same.

use std::{collections::BTreeSet, sync::Arc};

use outrigger_blocks::Blocks;
use outrigger_cluster::Context;
use outrigger_component_api::Registry;
use outrigger_telemetry::Metrics;

use crate::{
    components::{Changes, Components},
    config::{Config, Loaded, node::Node, node::Origin},
    functions::Configured,
    traffic::Traffic,
    wasm::Plugins,
};

/// A configuration and everything made from it.
pub struct Snapshot {
    pub loaded: Loaded,
    pub components: Components,
    pub traffic: Traffic,
    pub plugins: Plugins,
    pub functions: Configured,
}

impl Snapshot {
    /// Nothing at all: what the first configuration is compared with.
    pub fn nothing(context: Context) -> Self {
        let loaded =
            Loaded { config: Config::default(), tree: Node::map(Origin::Default), notes: Vec::new() };
        let (components, plugins) = (Components::default(), Plugins::default());
        let functions = Configured::default();
        Self { loaded, components, traffic: Traffic::none(context), plugins, functions }
    }

    /// Compiles a configuration and the `plugins` made of it, keeping from `previous` what it does not touch but for the
    /// components that are `outdated`. Nothing is in force yet.
    pub fn compile(
        loaded: Loaded,
        plugins: Plugins,
        registry: &Arc<Registry>,
        blocks: &Blocks,
        metrics: &Metrics,
        previous: &Snapshot,
        outdated: &BTreeSet<String>,
    ) -> anyhow::Result<(Self, Changes)> {
        // First what can be refused: components start to connect as they are compiled.
        let traffic = Traffic::compile(&loaded, &plugins.modules(), metrics, &previous.traffic)?;
        let (components, changes) =
            Components::compile(&loaded.config, registry, blocks, &previous.components, outdated)?;
        // Functions come last: nothing above depends on them.
        let functions = Configured::default();
        Ok((Self { loaded, components, traffic, plugins, functions }, changes))
    }
}

/// Settings that are read once, at start.
pub fn needs_restart(now: &Config, next: &Config) -> Vec<&'static str> {
    let mut settings = Vec::new();
    let mut compare = |differs: bool, setting| settings.extend(differs.then_some(setting));
    compare(now.app.id != next.app.id, "app.id");
    compare(now.log.format != next.log.format, "log.format");
    compare(now.workers != next.workers, "workers");
    settings
}
