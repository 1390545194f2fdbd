//! What a built component honours, as documentation shows it.

use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::Value;

use crate::Built;

/// One thing a component may honour.
#[derive(Clone, Debug, PartialEq)]
pub struct Capability {
    pub name: String,
    /// What it means when it holds.
    pub about: String,
    /// `true` or `false`, or a number where it is a bound; null is no bound.
    pub value: Value,
}

impl Built {
    /// The capabilities of its block, in the order of their declaration; none for blocks that leave nothing open.
    pub fn capabilities(&self) -> Vec<Capability> {
        match self {
            Self::State(store) => describe(&store.capabilities()),
            Self::PubSub(broker) => describe(&broker.capabilities()),
            Self::Configuration(store) => describe(&store.capabilities()),
            Self::Lock(store) => describe(&store.capabilities()),
            Self::Sequencer(sequencer) => describe(&sequencer.capabilities()),
            Self::Secrets(_)
            | Self::OutputBinding(_)
            | Self::InputBinding(_)
            | Self::File(_)
            | Self::Hello(_)
            | Self::AppRegistry(_) => Vec::new(),
        }
    }
}

/// The fields of `capabilities`, each with its doc comment.
fn describe<C: Serialize + JsonSchema>(capabilities: &C) -> Vec<Capability> {
    let schema = schema_for!(C);
    let about = |name: &str| {
        let about = schema.get("properties").and_then(|all| all.get(name)?.get("description")?.as_str());
        about.unwrap_or_default().to_owned()
    };
    let Ok(Value::Object(values)) = serde_json::to_value(capabilities) else { return Vec::new() };
    values.into_iter().map(|(name, value)| Capability { about: about(&name), name, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LockCapabilities;

    #[test]
    fn a_capability_is_told_with_its_meaning() {
        let told = describe(&LockCapabilities { persistent: true, shared: false });
        assert_eq!(
            told.iter().map(|it| (it.name.as_str(), &it.value)).collect::<Vec<_>>(),
            [("persistent", &Value::Bool(true)), ("shared", &Value::Bool(false))]
        );
        assert!(told.iter().all(|it| !it.about.is_empty()));
    }
}
