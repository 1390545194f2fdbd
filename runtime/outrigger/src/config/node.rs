//! The tree a configuration file becomes: plain values, each with the place it came from. Meaning is given elsewhere.

use std::{fmt, path::Path, sync::Arc};

use serde_json::Value as Json;

/// Where a value or a key was written, in the words an operator can act on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file; line and column count from one, in characters.
    File { file: Arc<Path>, line: usize, column: usize },
    /// An environment variable, by its full name.
    Env(Arc<str>),
    /// A command-line flag, as it was typed.
    Flag(Arc<str>),
    /// Nobody wrote it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub at: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A string, and what stood in the file when `${env:…}` was filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub text: String,
    pub written: Option<String>,
}

/// One key of a map. Keys are unique, in the order of the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_at: Origin,
    pub node: Node,
}

impl Node {
    pub fn map(at: Origin) -> Self {
        Self { value: Value::Map(Vec::new()), at }
    }

    /// The value stored under `key` when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.node)
    }

    pub fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(n) => Json::Number(n.clone()),
            Value::Text(t) => Json::String(t.text.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect())
            }
        }
    }
}

/// One step into a tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The dotted form of a path: `clusters.cart.endpoints[0]`.
pub fn dotted(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Key(key) if out.is_empty() => out.push_str(key),
            Step::Key(key) => out.extend([".", key]),
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        }
    }
    out
}

impl Node {
    /// Where the last key on the way along `steps` was written; what does not exist is where its parent begins.
    pub fn key_place(&self, steps: &[Step]) -> Origin {
        self.walk(steps).0.clone()
    }

    /// Where a reader should look for what `steps` lead to: at a plain value itself, at the key of a map or list.
    pub fn place(&self, steps: &[Step]) -> Origin {
        let (key, node, whole) = self.walk(steps);
        let plain = !matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null);
        if plain && whole { node.at.clone() } else { key.clone() }
    }

    /// As far as the steps lead: the place of the last key, the node there, and whether all steps were taken.
    fn walk(&self, steps: &[Step]) -> (&Origin, &Node, bool) {
        let (mut node, mut place) = (self, &self.at);
        for step in steps {
            match (step, &node.value) {
                (Step::Key(key), Value::Map(entries)) => {
                    let Some(entry) = entries.iter().find(|e| e.key == *key) else {
                        return (place, node, false);
                    };
                    (node, place) = (&entry.node, &entry.key_at);
                }
                (Step::Index(i), Value::List(items)) => {
                    let Some(item) = items.get(*i) else { return (place, node, false) };
                    (node, place) = (item, &item.at);
                }
                _ => return (place, node, false),
            }
        }
        (place, node, true)
    }

    /// The node at the end of `steps`, when all of them exist.
    pub fn find_mut(&mut self, steps: &[Step]) -> Option<&mut Node> {
        steps.iter().try_fold(self, |node, step| match (step, &mut node.value) {
            (Step::Key(key), Value::Map(entries)) => {
                entries.iter_mut().find(|e| e.key == *key).map(|e| &mut e.node)
            }
            (Step::Index(i), Value::List(items)) => items.get_mut(*i),
            _ => None,
        })
    }

    /// Reads a dotted path against this tree. Names may hold dots themselves, so the longest key that exists wins.
    pub fn steps(&self, dotted: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        let (mut node, mut rest) = (Some(self), dotted);
        while !rest.is_empty() {
            let (step, after) = next_step(node, rest);
            node = node.and_then(|n| match &step {
                Step::Key(key) => n.get(key),
                Step::Index(i) => match &n.value {
                    Value::List(items) => items.get(*i),
                    _ => None,
                },
            });
            steps.push(step);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        steps
    }
}

fn next_step<'p>(node: Option<&Node>, path: &'p str) -> (Step, &'p str) {
    if let Some((index, after)) = path.strip_prefix('[').and_then(|p| p.split_once(']'))
        && let Ok(index) = index.parse()
    {
        return (Step::Index(index), after);
    }
    if let Some(Node { value: Value::List(_), .. }) = node {
        // Other crates write `list.0`.
        let (index, _) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        if let Ok(parsed) = index.parse() {
            return (Step::Index(parsed), path.strip_prefix(index).unwrap_or_default());
        }
    }
    let known = node.map(Node::entries).unwrap_or_default().iter().map(|e| e.key.as_str());
    let longest = known
        .filter(|key| {
            path.strip_prefix(key).is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
        })
        .max_by_key(|key| key.len());
    let end = match longest {
        Some(key) => key.len(),
        None => path.get(1..).and_then(|p| p.find(['.', '['])).map_or(path.len(), |at| at + 1),
    };
    let (key, after) = path.split_at(end);
    (Step::Key(key.to_owned()), after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::span;

    fn tree(yaml: &str) -> Node {
        span::parse(Path::new("t.yaml"), yaml, &|_| None).unwrap()
    }

    #[test]
    fn a_dotted_path_finds_names_that_hold_dots() {
        let node = tree("sni:\n  a.example:\n    list: [1, {deep: 2}]\n");
        let steps = node.steps("sni.a.example.list[1].deep");
        assert_eq!(steps.len(), 5, "{steps:?}");
        assert_eq!(node.place(&steps).to_string(), "t.yaml:3:22");
        assert_eq!(node.key_place(&steps).to_string(), "t.yaml:3:16");
        assert_eq!(dotted(&steps), "sni.a.example.list[1].deep");
        assert_eq!(node.steps("sni.a.example.list.1.deep"), steps);
        assert_eq!(node.place(&node.steps("sni.nowhere.at")).to_string(), "t.yaml:1:1");
    }
}
