//! What calls functions has to be there, and what one of them takes no other does.

use std::collections::BTreeMap;

use outrigger_blocks::function::{EventTrigger, FunctionConfig, ScheduleTrigger};
use outrigger_component_api::BlockKind;

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
