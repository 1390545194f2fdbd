//! Layotto's JSON, read as it is: a translation of trees. What the file says is written again in the words of
//! `outrigger.yaml`, each value keeping its place, and then read by the same structs under the same checks. The layers
//! of our own format stay out of it, and what has no effect here is accepted and noted.

mod clusters;
mod components;
mod draft;
mod functions;
mod listeners;
mod look;
mod routes;
mod rpcs;

use std::collections::{BTreeMap, BTreeSet};

use outrigger_component_api::{BlockKind, Registry};

use super::{
    Config,
    layers::{Sources, told},
    node::{Node, Origin, Value},
    problem::Problem,
};
use draft::Draft;
use look::{Findings, Look};

/// A file in our words.
pub struct Translation {
    pub tree: Node,
    /// What was accepted without effect.
    pub notes: Vec<Problem>,
    pub blocks: Places,
}

/// The block each component is for: its type alone does not tell where no such type exists.
#[derive(Default)]
pub struct Places(BTreeMap<String, BlockKind>);

impl Places {
    /// Lets components whose type does not exist stand in their blocks, never ready: Layotto's files name many.
    pub fn place(&self, config: &mut Config) {
        for (key, component) in &mut config.components {
            component.block = self.0.get(key).copied();
        }
    }
}

/// Whether a document is Layotto's: our own format knows no `servers`.
pub fn recognises(document: &Node) -> bool {
    document.get("servers").is_some_and(|servers| matches!(servers.value, Value::List(_)))
}

/// A foreign file is all there is: nothing can be laid over it.
pub fn stands_alone(sources: &Sources, document: &Node) -> Result<(), Vec<Problem>> {
    let place = || document.at.clone();
    let mut problems = Vec::new();
    if sources.files.len() > 1 {
        problems.push(Problem::new(place(), "", "a Layotto configuration stands alone: give no other file"));
    }
    for set in &sources.sets {
        let at = Origin::Flag(format!("--set {}", told(set)).into());
        let message = "nothing can be laid over a Layotto configuration; `outrigger config show -c FILE` writes it \
                       as an outrigger.yaml, to which this applies";
        problems.push(Problem::new(at, "", message));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Translates a document, or says all that cannot be understood.
pub fn translate(document: &Node, registry: &Registry) -> Result<Translation, Vec<Problem>> {
    let mut translator = Translator {
        registry,
        draft: Draft::new(document.at.clone()),
        found: Findings::default(),
        blocks: Places::default(),
        http2: BTreeSet::new(),
        functions: BTreeSet::new(),
    };
    translator.document(&Look::root(document));
    let Translator { draft, found, blocks, .. } = translator;
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    Ok(Translation { tree: draft.finish(), notes: found.notes, blocks })
}

/// The work in progress: each part of the file has its own `impl` beside this one.
struct Translator<'r> {
    registry: &'r Registry,
    draft: Draft,
    found: Findings,
    blocks: Places,
    /// Clusters that some listener sends HTTP/2 to: Layotto says that there, we at the cluster.
    http2: BTreeSet<String>,
    /// Listeners whose requests are for functions.
    functions: BTreeSet<String>,
}

/// Sections of MOSN that mean nothing here, and what stands in for them.
const WITHOUT_EFFECT: [(&str, &str); 6] = [
    ("tracing", "trace context is passed on whatever the driver"),
    ("metrics", "metrics are served at /metrics of the admin listener"),
    ("pprof", "there is no Go runtime to profile"),
    ("dynamic_resources", "there is no xDS client"),
    ("static_resources", "there is no xDS client"),
    ("extends", "nothing here reads it"),
];

impl Translator<'_> {
    fn document(&mut self, root: &Look<'_>) {
        let known = ["servers", "cluster_manager"].into_iter().chain(WITHOUT_EFFECT.map(|(name, _)| name));
        root.note_unknown(&known.collect::<Vec<_>>(), &mut self.found);
        for (name, why) in WITHOUT_EFFECT {
            if let Some(section) = root.get(name) {
                self.found.note(&section, format!("has no effect: {why}"));
            }
        }
        // A listener that is not written is not opened: Layotto opens none either.
        self.draft.put_map(&["api", "listeners"]);
        self.draft.put(&["admin", "address"], draft::null(root.at()), root.at());
        self.servers(root);
        self.channels(root);
        self.clusters(root);
    }
}

#[cfg(test)]
mod tests;
