//! Configuration: layers of files, variables and flags become one tree, the tree becomes structs, and every problem
//! on the way is told with its place. Each crate owns the struct of its own section; `native` puts them together.

pub mod check;
pub mod layers;
pub mod layotto;
pub mod merge;
pub mod native;
pub mod node;
pub mod problem;
pub mod read;
pub mod schema;
pub mod show;
pub mod span;
pub mod telemetry;

use outrigger_component_api::Registry;

pub use check::reachable;
pub use layers::{Document, Sources};
pub use native::Config;
pub use problem::{Problem, Problems};

use layotto::Translation;
use node::{Entry, Node, Origin, Value};

/// A configuration without problems, and the tree it was read from: reports and dumps need the places.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub tree: Node,
    /// What a foreign format says without effect here.
    pub notes: Vec<Problem>,
}

impl Loaded {
    /// A problem found later than at reading, told at the place of the setting that caused it.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let steps = self.tree.steps(path);
        Problem::new(self.tree.place(&steps), &node::dotted(&steps), message)
    }
}

/// Reads a configuration and checks it as far as that is possible without opening anything.
pub fn load(sources: &Sources, registry: &Registry) -> Result<Loaded, Problems> {
    let documents = sources.documents();
    match documents.iter().flatten().find(|document| layotto::recognises(document)) {
        Some(document) => load_layotto(sources, document, registry),
        None => load_native(sources, documents, registry),
    }
}

/// Our own format, from all layers.
fn load_native(sources: &Sources, documents: Vec<Document>, registry: &Registry) -> Result<Loaded, Problems> {
    let mut tree = sources.join(documents).map_err(Problems::sorted)?;
    drop_removed(&mut tree);
    if sources.files.is_empty() {
        add_default_set(&mut tree);
    }
    finish(tree, Vec::new(), registry, |_| {})
}

fn load_layotto(sources: &Sources, document: &Node, registry: &Registry) -> Result<Loaded, Problems> {
    layotto::stands_alone(sources, document).map_err(Problems::sorted)?;
    let Translation { tree, notes, blocks } =
        layotto::translate(document, registry).map_err(Problems::sorted)?;
    finish(tree, notes, registry, |config| blocks.place(config))
}

/// From the tree to structs that have been checked.
fn finish(
    tree: Node,
    notes: Vec<Problem>,
    registry: &Registry,
    complete: impl FnOnce(&mut Config),
) -> Result<Loaded, Problems> {
    let (mut config, mut problems) = read::read::<Config>(&tree, &[]);
    if let Some(config) = &mut config {
        complete(config);
        check::all(config, &tree, registry, &mut problems);
    }
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, tree, notes }),
        _ => Err(Problems::sorted(problems)),
    }
}

/// Maps whose keys are names: `name: null` in a later layer takes away what an earlier one put there.
const NAMED: [&[&str]; 12] = [
    &["components"],
    &["apps"],
    &["subscriptions"],
    &["listeners"],
    &["routes"],
    &["clusters"],
    &["functions"],
    &["wasm", "plugins"],
    &["api", "listeners"],
    &["api", "tokens"],
    &["admin", "tokens"],
    &["api", "limits", "calls"],
];

fn drop_removed(tree: &mut Node) {
    for path in NAMED {
        let steps: Vec<_> = path.iter().map(|key| node::Step::Key((*key).to_owned())).collect();
        if let Some(Node { value: Value::Map(entries), .. }) = tree.find_mut(&steps) {
            entries.retain(|entry| entry.node.value != Value::Null);
        }
    }
}

/// Without any file the first call should succeed: a durable component for each block that can have one.
fn add_default_set(tree: &mut Node) {
    if tree.get("components").is_some() {
        return;
    }
    let text = |text: &str| Node {
        value: Value::Text(node::Text { text: text.to_owned(), written: None }),
        at: Origin::Default,
    };
    let entry = |key: &str, node: Node| Entry { key: key.to_owned(), key_at: Origin::Default, node };
    let map = |entries| Node { value: Value::Map(entries), at: Origin::Default };
    let components = DEFAULT_SET.iter().map(|(name, kind)| entry(name, map(vec![entry("type", text(kind))])));
    let components = entry("components", map(components.collect()));
    if let Value::Map(entries) = &mut tree.value {
        entries.push(components);
    }
}

/// Name and type of each component of the default set. They share one file.
const DEFAULT_SET: &[(&str, &str)] = &[
    ("state", "state.sqlite"),
    ("configuration", "configuration.sqlite"),
    ("lock", "lock.sqlite"),
    ("sequencer", "sequencer.sqlite"),
    ("pubsub", "pubsub.sqlite"),
];
