//! Whether what functions are granted is there.

use outrigger_blocks::function::{GrantProblem, Known, Section};
use outrigger_component_api::{BlockKind, Registry};

use super::{ComponentConfig, Config, Node};

/// What is wrong, as paths and messages.
pub(super) fn problems(config: &Config, tree: &Node, registry: &Registry) -> Vec<(String, String)> {
    let known = known(config, tree, registry);
    let of_function = |(name, function): (&String, &outrigger_blocks::function::FunctionConfig)| {
        let problem = |it: GrantProblem| (format!("functions.{name}.{}", it.path), it.message);
        function.grants.problems(&known).into_iter().map(problem).collect::<Vec<_>>()
    };
    config.functions.iter().flat_map(of_function).collect()
}

/// Everything the files name that functions can be granted, or be called by. A function's name stands for a cluster, too; which applications there are shows only later.
pub fn known(config: &Config, tree: &Node, registry: &Registry) -> Known {
    let mut known =
        Known::default().with(Section::Http, config.clusters.keys().chain(config.functions.keys()));
    let of = |block: BlockKind| {
        let is_of = move |component: &ComponentConfig| {
            let kind = registry.find(&component.r#type).ok().map(|info| info.kind).or(component.block);
            kind == Some(block)
        };
        let there = config.components.iter().filter(move |(_, component)| is_of(component));
        there.map(|(key, component)| component.name(key)).chain(broken(config, tree))
    };
    for section in Section::ALL {
        if let Some(block) = block(section) {
            known = known.with(section, of(block));
        }
    }
    known.with_inputs(of(BlockKind::InputBinding))
}

/// Components that cannot be read: told once, and not at every place that refers to them.
fn broken<'t>(config: &'t Config, tree: &'t Node) -> impl Iterator<Item = &'t str> {
    let written = tree.get("components").map(Node::entries).unwrap_or_default();
    let keys = written.iter().map(|entry| entry.key.as_str());
    keys.filter(|key| !config.components.contains_key(*key))
}

/// The block whose components a section names.
const fn block(section: Section) -> Option<BlockKind> {
    match section {
        Section::State => Some(BlockKind::State),
        Section::Pubsub => Some(BlockKind::PubSub),
        Section::Configuration => Some(BlockKind::Configuration),
        Section::Lock => Some(BlockKind::Lock),
        Section::Sequencer => Some(BlockKind::Sequencer),
        Section::Secrets => Some(BlockKind::Secrets),
        Section::Bindings => Some(BlockKind::OutputBinding),
        Section::Invoke | Section::Http => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_of_what_is_not_configured_is_told_with_what_is() {
        let config = serde_json::json!({
            "components": { "cart": { "type": "state.in-memory" }, "bus": { "type": "pubsub.in-memory" } },
            "clusters": { "backend": { "endpoints": ["127.0.0.1:1"] } },
            "functions": {
                "good": { "file": "x.wasm", "grants": {
                    "state": ["cart"], "pubsub": ["bus/orders"], "http": ["backend", "good"], "invoke": ["anybody"] } },
                "bad": { "file": "x.wasm", "grants": {
                    "state": ["crat", "bus"], "pubsub": ["bsu/orders"], "http": ["bakend"], "lock": ["cart"] } },
            },
        });
        let config: Config = serde_json::from_value(config).unwrap();
        let tree = Node { value: crate::config::node::Value::Null, at: crate::config::node::Origin::Default };
        let told = problems(&config, &tree, &crate::backends::registry());
        let told: Vec<_> = told.iter().map(|(path, message)| format!("{path}: {message}")).collect();
        let expected = [
            "functions.bad.grants.state[0]: state store 'crat' is not configured; did you mean 'cart'?",
            "functions.bad.grants.state[1]: state store 'bus' is not configured; there are: cart",
            "functions.bad.grants.pubsub[0]: pub/sub component 'bsu' is not configured; there are: bus",
            "functions.bad.grants.lock[0]: lock store 'cart' is not configured; there is none",
            "functions.bad.grants.http[0]: cluster 'bakend' is not configured; did you mean 'backend'?",
        ];
        assert_eq!(told, expected);
    }
}
