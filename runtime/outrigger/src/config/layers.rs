//! The layers of a configuration, lowest first: files in order, `OUTRIGGER__…` variables, `--set` flags.
//! (Defaults lie below all of them, in the structs that are read.)

use std::path::{Path, PathBuf};

use super::{
    merge::Layers,
    node::{Entry, Node, Origin, Step, Value},
    problem::Problem,
    show::holds_secret,
    span,
};

/// `OUTRIGGER__ADMIN__ADDRESS` speaks of `admin.address`.
pub const ENV_PREFIX: &str = "OUTRIGGER__";

/// A file that was read, or what is wrong with it.
pub type Document = Result<Node, Vec<Problem>>;

/// What a configuration is read from. Kept for the life of the process, because a reload reads it again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub files: Vec<PathBuf>,
    /// `a.b=value`, as typed.
    pub sets: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// The given files and flags, and this process's environment.
    pub fn new(files: Vec<PathBuf>, sets: Vec<String>) -> Self {
        // A variable that is not UTF-8 cannot be one of ours: both our names and our values are text.
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { files, sets, env: env.collect() }
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())
    }

    /// The files as they are.
    pub fn documents(&self) -> Vec<Document> {
        self.files.iter().map(|file| read_file(file, &|name| self.variable(name))).collect()
    }

    /// All layers in one tree.
    #[cfg(test)]
    pub fn merge(&self) -> Result<Node, Vec<Problem>> {
        self.join(self.documents())
    }

    /// The variables and flags over the files, in one tree. Every layer is read even when one fails, so that all
    /// problems show at once.
    pub fn join(&self, documents: Vec<Document>) -> Result<Node, Vec<Problem>> {
        let mut stack = Stack::default();
        let env = |name: &str| self.variable(name);
        for document in documents {
            match document {
                Ok(node) => stack.lay(&node),
                Err(found) => stack.problems.extend(found),
            }
        }
        for (name, value) in self.overrides() {
            let at = Origin::Env(name.as_str().into());
            let path = name.strip_prefix(ENV_PREFIX).unwrap_or_default();
            stack.overlay(path.split("__").map(str::to_owned).collect(), value, &at, &env);
        }
        for set in &self.sets {
            let at = Origin::Flag(format!("--set {}", told(set)).into());
            match set.split_once('=') {
                Some((path, value)) => stack.overlay(names(&stack.tree, path), value, &at, &env),
                None => stack.problems.push(Problem::new(at, "", "expected a.b=value")),
            }
        }
        if stack.problems.is_empty() { Ok(stack.tree) } else { Err(stack.problems) }
    }

    /// Sorted, so that a map is laid down before its keys.
    fn overrides(&self) -> Vec<&(String, String)> {
        let mut found: Vec<_> = self.env.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        found.sort();
        found
    }
}

/// A flag as it was typed, but for what may be secret.
pub(super) fn told(set: &str) -> String {
    match set.split_once('=') {
        Some((path, _)) if holds_secret(path.split(['.', '['])) => format!("{path}=***"),
        _ => set.to_owned(),
    }
}

fn read_file(file: &Path, env: span::Env<'_>) -> Document {
    let start = Origin::File { file: file.into(), line: 1, column: 1 };
    let text = std::fs::read_to_string(file)
        .map_err(|error| vec![Problem::new(start.clone(), "", format!("cannot be read: {error}"))])?;
    let node = span::parse(file, &text, env)?;
    if !matches!(node.value, Value::Map(_)) {
        return Err(vec![Problem::new(start, "", "expected a map of sections")]);
    }
    Ok(node)
}

fn names(tree: &Node, path: &str) -> Vec<String> {
    let name = |step| match step {
        Step::Key(key) => key,
        Step::Index(i) => i.to_string(),
    };
    tree.steps(path).into_iter().map(name).collect()
}

/// The layers so far, and what they make: the names in a variable or a flag are looked up in it.
struct Stack {
    layers: Layers,
    tree: Node,
    problems: Vec<Problem>,
}

impl Default for Stack {
    fn default() -> Self {
        Self { layers: Layers::default(), tree: Node::map(Origin::Default), problems: Vec::new() }
    }
}

impl Stack {
    fn lay(&mut self, layer: &Node) {
        self.layers = std::mem::take(&mut self.layers).with(layer);
        match self.layers.tree() {
            Ok(tree) => self.tree = tree,
            Err(error) => self.problems.push(Problem::new(layer.at.clone(), "", error.to_string())),
        }
    }

    /// Lays one value at `path`.
    fn overlay(&mut self, path: Vec<String>, value: &str, at: &Origin, env: span::Env<'_>) {
        let read = if path.iter().any(String::is_empty) {
            Err(Problem::new(at.clone(), "", "a name between the separators is empty"))
        } else {
            span::parse_value(value, at, env)
        };
        match read {
            Ok(value) => self.lay(&layer(Some(&self.tree), &path, value)),
            Err(problem) => self.problems.push(problem),
        }
    }
}

/// The layer that has `value` at `path`, spelled as `tree` spells it, and nothing else.
fn layer(tree: Option<&Node>, path: &[String], value: Node) -> Node {
    let Some((name, rest)) = path.split_first() else { return value };
    let at = value.at.clone();
    if let Some(Node { value: Value::List(items), .. }) = tree
        && let Some(index) = name.parse::<usize>().ok().filter(|index| *index < items.len())
    {
        // A list is replaced whole, so the layer has all of it.
        let change =
            |(i, item): (usize, &Node)| if i == index { changed(item, rest, &value) } else { item.clone() };
        return Node { value: Value::List(items.iter().enumerate().map(change).collect()), at };
    }
    let key = spelling(tree.map(Node::entries).unwrap_or_default(), name, &at);
    let node = layer(tree.and_then(|tree| tree.get(&key)), rest, value);
    Node { value: Value::Map(vec![Entry { key, key_at: at.clone(), node }]), at }
}

fn changed(item: &Node, path: &[String], value: &Node) -> Node {
    let mut stack = Stack::default();
    stack.lay(item);
    stack.lay(&layer(Some(item), path, value.clone()));
    stack.tree
}

/// A variable's name is in capitals and knows no dash, so it means the key that exists in another spelling
/// (`KEYPREFIX` for `keyPrefix`, `CART_V1` for `cart-v1`); a key nobody wrote yet is taken in lower case.
fn spelling(entries: &[Entry], name: &str, at: &Origin) -> String {
    let exact = entries.iter().any(|e| e.key == name);
    if exact || !matches!(at, Origin::Env(_)) {
        return name.to_owned();
    }
    let known = entries.iter().find(|e| fold(&e.key) == fold(name));
    known.map_or_else(|| name.to_lowercase(), |e| e.key.clone())
}

fn fold(name: &str) -> String {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sources(file: &Path, env: &[(&str, &str)], sets: &[&str]) -> Sources {
        Sources {
            files: vec![file.to_owned()],
            sets: sets.iter().map(|s| (*s).to_owned()).collect(),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn later_layers_win_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.yaml"), dir.path().join("b.yaml"));
        std::fs::write(&first, "app: {id: one, port: 1}\ncomponents: {my-db: {settings: {keyPrefix: none}}}\nroutes: {gone: {hosts: [x]}}")
            .unwrap();
        std::fs::write(&second, "app: {port: 2}").unwrap();
        let mut all = sources(
            &first,
            &[
                ("OUTRIGGER__APP__PORT", "3"),
                ("OUTRIGGER__COMPONENTS__MY_DB__SETTINGS__KEYPREFIX", "app"),
                ("OUTRIGGER__LOG__LEVEL", "debug"),
                ("OUTRIGGER__ROUTES__GONE", "null"),
                ("OTHER", "x"),
            ],
            &["app.port=4", "clusters.c.endpoints=[a, b]", "log.format="],
        );
        all.files.push(second);
        let tree = all.merge().unwrap();
        assert_eq!(
            tree.to_json(),
            json!({
                "app": {"id": "one", "port": 4},
                "components": {"my-db": {"settings": {"keyPrefix": "app"}}},
                "log": {"level": "debug", "format": ""},
                "routes": {"gone": null},
                "clusters": {"c": {"endpoints": ["a", "b"]}},
            })
        );
        let place = |path: &str| tree.place(&tree.steps(path)).to_string();
        assert_eq!(place("app.port"), "flag --set app.port=4");
        assert_eq!(place("log.level"), "environment variable OUTRIGGER__LOG__LEVEL");
        assert!(place("app.id").ends_with("a.yaml:1:11"), "{}", place("app.id"));
    }

    #[test]
    fn an_item_of_a_list_is_laid_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, "clusters:\n  a.b:\n    endpoints: [x, {address: y, weight: 1}, z]\n").unwrap();
        let env = [("OUTRIGGER__CLUSTERS__A.B__ENDPOINTS__1__WEIGHT", "2")];
        let tree = sources(&file, &env, &["clusters.a.b.endpoints[0]=w"]).merge().unwrap();
        let endpoints = json!(["w", {"address": "y", "weight": 2}, "z"]);
        assert_eq!(tree.to_json()["clusters"]["a.b"]["endpoints"], endpoints);
        let place = |path: &str| tree.place(&tree.steps(path)).to_string();
        assert_eq!(place("clusters.a.b.endpoints[0]"), "flag --set clusters.a.b.endpoints[0]=w");
        assert!(place("clusters.a.b.endpoints[1].address").ends_with("a.yaml:3:30"));
    }

    #[test]
    fn every_layer_reports_its_own_problems() {
        let missing = Path::new("/nowhere/x.yaml");
        let all = sources(missing, &[("OUTRIGGER__APP____ID", "x"), ("OUTRIGGER__A", "[1")], &["novalue"]);
        let problems: Vec<_> = all.merge().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].starts_with("/nowhere/x.yaml:1:1: cannot be read: "), "{problems:?}");
        assert!(problems[1].starts_with("environment variable OUTRIGGER__A: not valid YAML"), "{problems:?}");
        assert!(problems[2].starts_with("environment variable OUTRIGGER__APP____ID: "), "{problems:?}");
        assert!(problems[3].starts_with("flag --set novalue: expected a.b=value"), "{problems:?}");
    }
}
