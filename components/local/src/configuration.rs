//! Configuration from what the host has.

mod env;
mod file;
mod format;

pub use env::{EnvConfiguration, EnvConfigurationBackend, EnvConfigurationConfig};
pub use file::{FileConfiguration, FileConfigurationBackend, FileConfigurationConfig};

use outrigger_component_api::{ConfigurationItem as Item, Error, Result, Selector};

/// Neither files nor the environment have levels.
fn without_levels(group: &str, label: &str) -> Result<()> {
    for (level, name) in [("group", group), ("label", label)] {
        if !name.is_empty() {
            let message = format!("this component has no {level}s; leave the {level} out");
            return Err(Error::invalid(message).with("given", name));
        }
    }
    Ok(())
}

/// The items selected, in the order asked, or all by key.
fn select(items: &format::Items, selector: &Selector) -> Result<Vec<Item>> {
    without_levels(&selector.group, &selector.label)?;
    if selector.keys.is_empty() {
        return Ok(items.iter().map(|(key, content)| item(key, content)).collect());
    }
    let found = selector.keys.iter().filter_map(|key| Some(item(key, items.get(key)?)));
    Ok(found.collect())
}

fn item(key: &str, content: &str) -> Item {
    Item { key: key.to_owned(), content: content.to_owned(), ..Item::default() }
}
