//! What an operator changes about functions while we run. It lies over the configuration, and lasts as long as the
//! process.

use std::collections::{BTreeMap, BTreeSet};

use super::{LayottoFunctionConfig, Table};

/// A change, by the id requests name a function by.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionChange {
    /// One more function.
    Install { id: String, config: LayottoFunctionConfig },
    /// All functions of the id go.
    Uninstall { id: String },
    /// All functions of the id get so many instances.
    Update { id: String, instances: usize },
}

type Functions = BTreeMap<String, LayottoFunctionConfig>;

/// The changes so far, by names of functions.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    installed: Functions,
    uninstalled: BTreeSet<String>,
    instances: BTreeMap<String, usize>,
}

impl Overlay {
    /// `None` where neither the configuration nor a change speaks of functions.
    pub(super) fn over(&self, config: Option<&Functions>) -> Option<Functions> {
        if config.is_none() && self.installed.is_empty() {
            return None;
        }
        let mut functions = config.cloned().unwrap_or_default();
        functions.retain(|name, _| !self.uninstalled.contains(name));
        functions.extend(self.installed.clone());
        for (name, instances) in &self.instances {
            if let Some(function) = functions.get_mut(name) {
                function.instances = *instances;
            }
        }
        Some(functions)
    }

    /// # Errors
    /// There is one already, or none; in Layotto's words.
    pub(super) fn apply(&mut self, change: FunctionChange, table: &Table) -> Result<(), String> {
        let names = |id: &str| {
            let names: Vec<String> = table.of(id).iter().map(|function| function.name.to_string()).collect();
            if names.is_empty() { Err(format!("{id} is not registered")) } else { Ok(names) }
        };
        match change {
            FunctionChange::Install { id, .. } if !table.of(&id).is_empty() || table.named(&id).is_some() => {
                return Err(format!("{id} is already registered"));
            }
            FunctionChange::Install { id, config } => {
                self.instances.remove(&id);
                self.installed.insert(id, config);
            }
            FunctionChange::Uninstall { id } => {
                for name in names(&id)? {
                    self.installed.remove(&name);
                    self.uninstalled.insert(name);
                }
            }
            FunctionChange::Update { id, instances } => {
                self.instances.extend(names(&id)?.into_iter().map(|name| (name, instances)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_lie_over_the_configuration() {
        let one =
            |file: &str| LayottoFunctionConfig { instances: 1, ..LayottoFunctionConfig::new(file.into()) };
        let config: Functions =
            [("a", "a.wasm"), ("b", "b.wasm")].map(|(n, f)| (n.to_owned(), one(f))).into();
        let mut overlay = Overlay::default();
        assert_eq!(overlay.over(None), None);
        assert_eq!(overlay.over(Some(&config)), Some(config.clone()));
        let install = FunctionChange::Install { id: "c".into(), config: one("c.wasm") };
        overlay.apply(install, &Table::default()).unwrap();
        overlay.uninstalled.insert("a".into());
        overlay.instances.extend([("b".to_owned(), 3), ("gone".to_owned(), 4)]);
        let functions = overlay.over(Some(&config)).unwrap();
        let seen: Vec<_> =
            functions.iter().map(|(name, function)| (name.as_str(), function.instances)).collect();
        assert_eq!(seen, [("b", 3), ("c", 1)]);
        assert_eq!(overlay.over(None).unwrap().len(), 1);
        for change in [
            FunctionChange::Uninstall { id: "nobody".into() },
            FunctionChange::Update { id: "nobody".into(), instances: 1 },
        ] {
            let refused = overlay.apply(change, &Table::default()).unwrap_err();
            assert_eq!(refused, "nobody is not registered");
        }
    }
}
