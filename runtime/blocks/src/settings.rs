//! The settings a block reads itself, whatever backend serves it: they are taken out before the backend, which denies
//! what it does not know, sees the rest.

use outrigger_component_api::{BlockKind, ComponentSpec, Result};
use serde_json::{Value, json};

use crate::bindings::InputComponent;
use crate::configuration::Defaults;
use crate::key::{self, KeyPrefix};
use crate::lock;
use crate::pubsub;
use crate::registry::RegistryComponent;
use crate::secrets::SecretAccess;
use crate::sequencer::Rules;

/// Name and JSON schema of each setting of a block.
pub fn block_settings(block: BlockKind) -> Vec<(&'static str, Value)> {
    match block {
        BlockKind::State => vec![key_prefix("none (default), name, appid")],
        BlockKind::Lock => vec![key_prefix("appid (default), name, none")],
        BlockKind::Sequencer => [vec![key_prefix("appid (default), name, none")], Rules::schema()].concat(),
        BlockKind::Configuration => Defaults::schema(),
        BlockKind::InputBinding => InputComponent::settings(),
        BlockKind::AppRegistry => RegistryComponent::settings(),
        _ => Vec::new(),
    }
}

/// Takes a block's settings out and checks them. The error names the setting.
pub fn take_block_settings(block: BlockKind, spec: &mut ComponentSpec) -> Result<()> {
    match block {
        BlockKind::State => KeyPrefix::take(spec, KeyPrefix::None).map(drop),
        BlockKind::Lock => KeyPrefix::take(spec, lock::PREFIX).map(drop),
        BlockKind::Sequencer => Rules::take(spec).map(drop),
        BlockKind::Configuration => Defaults::take(spec).map(drop),
        BlockKind::Secrets => SecretAccess::take(spec).map(drop),
        BlockKind::PubSub => pubsub::check_settings(spec),
        BlockKind::InputBinding => InputComponent::take_settings(spec).map(drop),
        BlockKind::AppRegistry => RegistryComponent::check_settings(spec),
        _ => Ok(()),
    }
}

fn key_prefix(words: &str) -> (&'static str, Value) {
    let description = format!("What stands before the keys: {words}, or a text of your own.");
    (key::SETTING, json!({"type": "string", "description": description}))
}
