//! The group and label of those who name none.

use outrigger_component_api::{ComponentSpec, ConfigurationItem as Item, Error, Result, Selector};
use serde_json::{Value, json};

/// What stands in for a blank group or label; empty leaves it to the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    group: String,
    label: String,
}

impl Defaults {
    /// Takes `defaultGroup` and `defaultLabel` out of a component's settings. The error names the setting.
    pub(crate) fn take(spec: &mut ComponentSpec) -> Result<Self> {
        Ok(Self { group: text(spec, "defaultGroup")?, label: text(spec, "defaultLabel")? })
    }

    /// Name and JSON schema of the settings.
    pub(crate) fn schema() -> Vec<(&'static str, Value)> {
        let of =
            |what| json!({"type": "string", "description": format!("The {what} of those who name none.")});
        vec![("defaultGroup", of("group")), ("defaultLabel", of("label"))]
    }

    pub(super) fn select(&self, mut selector: Selector) -> Selector {
        fill(&mut selector.group, &self.group);
        fill(&mut selector.label, &self.label);
        selector
    }

    pub(super) fn fill_in(&self, mut item: Item) -> Item {
        fill(&mut item.group, &self.group);
        fill(&mut item.label, &self.label);
        item
    }
}

fn fill(level: &mut String, default: &str) {
    if level.trim().is_empty() {
        default.clone_into(level);
    }
}

fn text(spec: &mut ComponentSpec, setting: &'static str) -> Result<String> {
    match spec.take(setting) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            Err(Error::invalid(format!("{setting} must be a text, not {other}")).with("setting", setting))
        }
    }
}
