//! Looking into the document: values with their kind asked for, keys in any case, as Go's JSON reader takes them.

use crate::config::{
    node::{Node, Origin, Step, Value, dotted},
    problem::{Problem, suggestion},
};

/// What was found wrong, and what was accepted without effect.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Problem>,
}

impl Findings {
    pub(super) fn problem(&mut self, at: &Look<'_>, message: impl Into<String>) {
        self.problems.push(at.told(message));
    }

    pub(super) fn note(&mut self, at: &Look<'_>, message: impl Into<String>) {
        self.notes.push(at.told(message));
    }
}

/// A value and the way to it.
#[derive(Clone)]
pub(super) struct Look<'n> {
    node: &'n Node,
    key_at: &'n Origin,
    path: Vec<Step>,
}

impl<'n> Look<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self { node, key_at: &node.at, path: Vec::new() }
    }

    /// Where its key was written; of an item, where it begins.
    pub(super) fn at(&self) -> &'n Origin {
        self.key_at
    }

    pub(super) fn node(&self) -> &'n Node {
        self.node
    }

    /// The last step of the way to it: a component's name, a setting's.
    pub(super) fn key(&self) -> &str {
        match self.path.last() {
            Some(Step::Key(key)) => key,
            _ => "",
        }
    }

    fn told(&self, message: impl Into<String>) -> Problem {
        let plain = !matches!(self.node.value, Value::Map(_) | Value::List(_) | Value::Null);
        let at = if plain { &self.node.at } else { self.key_at };
        Problem::new(at.clone(), &dotted(&self.path), message)
    }

    fn below(&self, step: Step, node: &'n Node, key_at: &'n Origin) -> Self {
        let path = self.path.iter().cloned().chain([step]).collect();
        Self { node, key_at, path }
    }

    /// The value under `key`; null is as good as absent.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let entries = self.node.entries();
        let exact = entries.iter().find(|entry| entry.key == key);
        let entry = exact.or_else(|| entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key)))?;
        let found = self.below(Step::Key(entry.key.clone()), &entry.node, &entry.key_at);
        (entry.node.value != Value::Null).then_some(found)
    }

    /// The first of several names for one thing.
    pub(super) fn any(&self, keys: &[&str]) -> Option<Self> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// What a map holds.
    pub(super) fn entries(&self, found: &mut Findings) -> Vec<Self> {
        if !matches!(self.node.value, Value::Map(_)) {
            found.problem(self, format!("expected a map, found {}", self.kind()));
        }
        let entries = self.node.entries().iter();
        entries.map(|entry| self.below(Step::Key(entry.key.clone()), &entry.node, &entry.key_at)).collect()
    }

    /// What a list holds.
    pub(super) fn items(&self, found: &mut Findings) -> Vec<Self> {
        let Value::List(items) = &self.node.value else {
            found.problem(self, format!("expected a list, found {}", self.kind()));
            return Vec::new();
        };
        items.iter().enumerate().map(|(i, item)| self.below(Step::Index(i), item, &item.at)).collect()
    }

    /// The items of the list under `key`; none when it is absent.
    pub(super) fn list(&self, key: &str, found: &mut Findings) -> Vec<Self> {
        self.get(key).map(|list| list.items(found)).unwrap_or_default()
    }

    /// A text; a number or boolean is taken as written.
    pub(super) fn text(&self, found: &mut Findings) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => {
                found.problem(self, format!("expected a text, found {}", self.kind()));
                None
            }
        }
    }

    /// The text under `key`, when it is there and not empty.
    pub(super) fn text_of(&self, key: &str, found: &mut Findings) -> Option<String> {
        self.get(key)?.text(found).filter(|text| !text.is_empty())
    }

    /// Whether `key` is there and true.
    pub(super) fn flag(&self, key: &str, found: &mut Findings) -> bool {
        match self.get(key).map(|value| (value.node.value == Value::Bool(true), value)) {
            Some((false, value)) if value.node.value != Value::Bool(false) => {
                found.problem(&value, format!("expected true or false, found {}", value.kind()));
                false
            }
            Some((set, _)) => set,
            None => false,
        }
    }

    /// Notes the keys that nobody reads.
    pub(super) fn note_unknown(&self, known: &[&str], found: &mut Findings) {
        for entry in self.node.entries() {
            if known.iter().all(|key| !entry.key.eq_ignore_ascii_case(key)) {
                let unknown = self.below(Step::Key(entry.key.clone()), &entry.node, &entry.key_at);
                let message = format!("has no effect{}", near(&entry.key, known));
                found.notes.push(Problem { at: entry.key_at.clone(), ..unknown.told(message) });
            }
        }
    }

    fn kind(&self) -> &'static str {
        match &self.node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// A guess at what was meant, without the list of all there is.
fn near(wrong: &str, known: &[&str]) -> String {
    let hint = suggestion(wrong, known.iter().copied());
    if hint.contains("did you mean") { hint } else { String::new() }
}
