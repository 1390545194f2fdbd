//! Writing the translation: nodes of our own tree, at the places of the document they come from.

use crate::config::node::{Entry, Node, Origin, Text, Value};

/// The tree that is being written.
pub(super) struct Draft {
    root: Node,
}

impl Draft {
    pub(super) fn new(at: Origin) -> Self {
        Self { root: Node::map(at) }
    }

    /// Puts `node` at `path`, in place of what may be there. Maps on the way are made.
    pub(super) fn put(&mut self, path: &[&str], node: Node, key_at: &Origin) {
        put(&mut self.root, path, node, key_at);
    }

    /// Makes a map at `path` without anything in it.
    pub(super) fn put_map(&mut self, path: &[&str]) {
        let at = self.root.at.clone();
        self.put(path, Node::map(at.clone()), &at);
    }

    /// Whether something is at `path`.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        path.iter().try_fold(&self.root, |node, key| node.get(key)).is_some()
    }

    /// The text at `path`.
    pub(super) fn text(&self, path: &[&str]) -> Option<String> {
        match &path.iter().try_fold(&self.root, |node, key| node.get(key))?.value {
            Value::Text(text) => Some(text.text.clone()),
            _ => None,
        }
    }

    pub(super) fn finish(self) -> Node {
        self.root
    }
}

fn put(place: &mut Node, path: &[&str], node: Node, key_at: &Origin) {
    let Some((key, rest)) = path.split_first() else {
        *place = node;
        return;
    };
    if !matches!(place.value, Value::Map(_)) {
        *place = Node::map(key_at.clone());
    }
    let Value::Map(entries) = &mut place.value else { return };
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key) {
        return put(&mut entry.node, rest, node, key_at);
    }
    let mut made = Node::map(key_at.clone());
    put(&mut made, rest, node, key_at);
    entries.push(Entry { key: (*key).to_owned(), key_at: key_at.clone(), node: made });
}

pub(super) fn null(at: &Origin) -> Node {
    Node { value: Value::Null, at: at.clone() }
}

pub(super) fn text(text: impl Into<String>, at: &Origin) -> Node {
    Node { value: Value::Text(Text { text: text.into(), written: None }), at: at.clone() }
}

pub(super) fn number(number: impl Into<serde_json::Number>, at: &Origin) -> Node {
    Node { value: Value::Number(number.into()), at: at.clone() }
}

pub(super) fn list(items: Vec<Node>, at: &Origin) -> Node {
    Node { value: Value::List(items), at: at.clone() }
}

/// A map of one level; its keys stand where their values do.
pub(super) fn map(entries: impl IntoIterator<Item = (String, Node)>, at: &Origin) -> Node {
    let entry = |(key, node): (String, Node)| Entry { key, key_at: node.at.clone(), node };
    Node { value: Value::Map(entries.into_iter().map(entry).collect()), at: at.clone() }
}
