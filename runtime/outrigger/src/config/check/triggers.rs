//! What calls functions has to be there, and what one of them takes no other does.

use std::collections::BTreeMap;

use outrigger_blocks::function::{EventTrigger, FunctionConfig, ScheduleTrigger};
use outrigger_component_api::BlockKind;
use outrigger_proxy::config::BackendConfig;

use super::{Checker, Step, below, keys, suggestion};
use crate::function_triggers;

impl<'c> Checker<'c> {
    /// The triggers of all functions.
    pub(super) fn triggers(&mut self) {
        let config = self.config;
        let mut takers = BTreeMap::new();
        for (name, function) in &config.functions {
            self.events(name, function);
            for (trigger, times) in &function.schedules {
                self.schedule(&keys(&["functions", name, "schedules", trigger]), times);
            }
            self.bindings(name, function, &mut takers);
        }
    }

    /// Whether a function takes the events of a binding.
    pub(super) fn is_taken(&self, binding: &str) -> bool {
        let mut functions = self.config.functions.values();
        functions.any(|function| function.bindings.iter().any(|taken| taken == binding))
    }

    /// Functions of a folder are known only later: their names stand for nothing yet.
    pub(super) fn backends(&mut self) {
        let config = self.config;
        if crate::wasm::folder(&config.wasm).is_none() {
            return;
        }
        let is_known =
            |name: &String| config.clusters.contains_key(name) || config.functions.contains_key(name);
        let names = || config.clusters.keys().chain(config.functions.keys()).map(String::as_str);
        for (route, settings) in &config.routes {
            for (index, BackendConfig { cluster, .. }) in settings.backends.iter().enumerate() {
                if is_known(cluster) || self.exists(&["clusters", cluster]) {
                    continue;
                }
                let mut at = keys(&["routes", route, "backends"]);
                at.extend([Step::Index(index), Step::Key("cluster".to_owned())]);
                let hint = suggestion(cluster, names());
                let message = format!(
                    "there is no cluster `{cluster}`{hint}; a function of the folder needs one: \
                     `clusters: {{ {cluster}: {{ endpoints: [{{ function: {cluster} }}] }} }}`"
                );
                self.report(&at, message);
            }
        }
    }

    fn events(&mut self, name: &str, function: &'c FunctionConfig) {
        let mut first: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (trigger, EventTrigger { pubsub, topic, .. }) in &function.events {
            let at = keys(&["functions", name, "events", trigger]);
            self.refers(&below(&at, "pubsub"), BlockKind::PubSub, "pub/sub component", pubsub);
            if let Some(other) = first.insert((pubsub, topic), trigger) {
                self.report(&below(&at, "topic"), format!("events.{other} has this topic already"));
            }
        }
    }

    fn schedule(&mut self, at: &[Step], ScheduleTrigger { schedule, lock }: &ScheduleTrigger) {
        if let Err(why) = (function_triggers::reader())(schedule) {
            self.report(&below(at, "schedule"), why);
        }
        if let Some(lock) = lock {
            self.refers(&below(at, "lock"), BlockKind::Lock, "lock store", lock);
        }
    }

    fn bindings(
        &mut self,
        name: &'c str,
        function: &'c FunctionConfig,
        takers: &mut BTreeMap<&'c str, &'c str>,
    ) {
        for (index, binding) in function.bindings.iter().enumerate() {
            let mut at = keys(&["functions", name, "bindings"]);
            at.push(Step::Index(index));
            self.refers(&at, BlockKind::InputBinding, "input binding", binding);
            if let Some(other) = takers.insert(binding, name) {
                self.report(&at, format!("the function '{other}' takes the events of '{binding}' already"));
            }
        }
    }

    /// A reference has to name a component of a block.
    fn refers(&mut self, at: &[Step], block: BlockKind, noun: &str, name: &str) {
        let of_block = self.config.components.iter().filter(|(_, it)| self.block(it) == Some(block));
        let names: Vec<&str> = of_block.map(|(key, component)| component.name(key)).collect();
        if !names.contains(&name) {
            let hint = suggestion(name, names.iter().copied());
            self.report(at, format!("there is no {noun} named '{name}'{hint}"));
        }
    }
}
