//! Stream filters of type `Layotto`: functions, by names of the file's choice. The listener's routes offer them their
//! requests.

use super::{Translator, draft, look::Look};
use crate::config::node::Value;

/// Keys of a function that are read. Others whose values are texts are what it is told when it is configured.
const FUNCTION: [&str; 2] = ["vm_config", "instance_num"];
/// Both of Layotto's engines are ours.
const VM: [&str; 2] = ["path", "engine"];

impl Translator<'_> {
    pub(super) fn functions(&mut self, listener: &str, filter: &Look<'_>) {
        self.functions.insert(listener.to_owned());
        if !self.draft.has(&["wasm", "layotto"]) {
            self.draft.put_map(&["wasm", "layotto"]);
        }
        let Some(config) = filter.get("config") else { return };
        for function in config.entries(&mut self.found) {
            self.function(listener, &function);
        }
    }

    fn function(&mut self, listener: &str, function: &Look<'_>) {
        if let Some(other) = function.get("from_wasm_plugin") {
            let message = "there are no other plugins to take it from; give it a `vm_config`";
            return self.found.problem(&other, message);
        }
        let path = function.get("vm_config").and_then(|vm| {
            vm.note_unknown(&VM, &mut self.found);
            vm.get("path")
        });
        let Some(path) = path else {
            return self.found.problem(function, "a function needs a `vm_config` with a `path`");
        };
        let at = function.at();
        // Several filters may have one of this name, and all of them count.
        let taken = self.draft.has(&["wasm", "layotto", function.key()]);
        let name = if taken { format!("{listener}.{}", function.key()) } else { function.key().to_owned() };
        let all = draft::list(vec![draft::text("*", at)], at);
        let mut put = |keys: &[&str], node| {
            let path: Vec<&str> =
                ["wasm", "layotto", &name].into_iter().chain(keys.iter().copied()).collect();
            self.draft.put(&path, node, at);
        };
        put(&["file"], path.node().clone());
        put(&["grants", "state"], all.clone());
        put(&["grants", "invoke"], all);
        if let Some(number) = function.get("instance_num").filter(|number| is_positive(number)) {
            put(&["instances"], number.node().clone());
        }
        for entry in function.node().entries() {
            let is_read = FUNCTION.iter().any(|key| entry.key.eq_ignore_ascii_case(key));
            if let (false, Value::Text(_)) = (is_read, &entry.node.value) {
                put(&["settings", &entry.key], entry.node.clone());
            }
        }
        let texts =
            function.node().entries().iter().filter(|entry| matches!(entry.node.value, Value::Text(_)));
        let known: Vec<&str> = texts.map(|entry| entry.key.as_str()).chain(FUNCTION).collect();
        function.note_unknown(&known, &mut self.found);
    }
}

/// Any other number stands for the default.
fn is_positive(number: &Look<'_>) -> bool {
    !matches!(&number.node().value, Value::Number(number) if number.as_f64().is_some_and(|number| number <= 0.0))
}
