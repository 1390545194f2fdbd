//! Layers joined into one tree. The `config` crate joins the values; it has no place for a place, so where everything
//! was written is kept beside it, by path.

use std::collections::HashMap;

use ::config::{ConfigBuilder, ConfigError, Map, Source, Value as Raw, ValueKind, builder::DefaultState};

use super::node::{Entry, Node, Origin, Step, Text, Value};

/// The one key of every layer. `config` reads dots and brackets in the outermost keys as paths, and only there; names
/// of ours may hold them.
const ROOT: &str = "outrigger";

/// Layers, lowest first.
#[derive(Default)]
pub struct Layers {
    sources: ConfigBuilder<DefaultState>,
    places: HashMap<Vec<Step>, Place>,
}

/// What a file says about a value besides the value.
struct Place {
    /// Of its key; of the value itself where it is an item of a list.
    key_at: Origin,
    at: Origin,
    /// The text before `${env:…}` was filled in.
    written: Option<String>,
}

/// One layer as `config` sees it.
#[derive(Clone, Debug)]
struct Layer(Raw);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Raw>, ConfigError> {
        Ok(Map::from_iter([(ROOT.to_owned(), self.0.clone())]))
    }
}

impl Layers {
    /// Lays `node` on top: maps join key by key, everything else is replaced.
    #[must_use]
    pub fn with(mut self, node: &Node) -> Self {
        self.note(node, node.at.clone(), &mut Vec::new());
        self.sources = self.sources.add_source(Layer(raw(node)));
        self
    }

    /// All of them as one tree.
    pub fn tree(&self) -> Result<Node, ConfigError> {
        let mut joined = self.sources.build_cloned()?.cache.into_table()?;
        let root = joined.remove(ROOT).unwrap_or_else(|| Map::<String, Raw>::new().into());
        Ok(self.node(root, &mut Vec::new()))
    }

    fn note(&mut self, node: &Node, key_at: Origin, path: &mut Vec<Step>) {
        let written = if let Value::Text(text) = &node.value { text.written.clone() } else { None };
        self.places.insert(path.clone(), Place { key_at, at: node.at.clone(), written });
        let mut below = |step, node: &Node, key_at: &Origin| {
            path.push(step);
            self.note(node, key_at.clone(), path);
            path.pop();
        };
        match &node.value {
            Value::Map(entries) => {
                entries.iter().for_each(|e| below(Step::Key(e.key.clone()), &e.node, &e.key_at));
            }
            Value::List(items) => {
                items.iter().enumerate().for_each(|(i, item)| below(Step::Index(i), item, &item.at));
            }
            _ => {}
        }
    }

    fn node(&self, raw: Raw, path: &mut Vec<Step>) -> Node {
        let place = self.places.get(path);
        let written = place.and_then(|place| place.written.clone());
        let at = place.map_or(Origin::Default, |place| place.at.clone());
        let value = match raw.kind {
            ValueKind::Nil => Value::Null,
            ValueKind::Boolean(b) => Value::Bool(b),
            ValueKind::U64(n) => Value::Number(n.into()),
            ValueKind::I64(n) => Value::Number(n.into()),
            ValueKind::Float(n) => serde_json::Number::from_f64(n).map_or(Value::Null, Value::Number),
            // No layer of ours holds such numbers; as text they fit where no number is meant.
            ValueKind::I128(n) => Value::Text(Text { text: n.to_string(), written }),
            ValueKind::U128(n) => Value::Text(Text { text: n.to_string(), written }),
            ValueKind::String(text) => Value::Text(Text { text, written }),
            ValueKind::Array(items) => Value::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| self.below(Step::Index(i), item, path))
                    .collect(),
            ),
            ValueKind::Table(table) => {
                let entries = table.into_iter().map(|(key, raw)| self.entry(key, raw, path));
                let mut entries: Vec<_> = entries.collect();
                entries.sort_by(|a, b| (&a.key_at, &a.key).cmp(&(&b.key_at, &b.key)));
                Value::Map(entries)
            }
        };
        Node { value, at }
    }

    fn below(&self, step: Step, raw: Raw, path: &mut Vec<Step>) -> Node {
        path.push(step);
        let node = self.node(raw, path);
        path.pop();
        node
    }

    fn entry(&self, key: String, raw: Raw, path: &mut Vec<Step>) -> Entry {
        path.push(Step::Key(key.clone()));
        let key_at = self.places.get(path).map_or(Origin::Default, |place| place.key_at.clone());
        let node = self.node(raw, path);
        path.pop();
        Entry { key, key_at, node }
    }
}

fn raw(node: &Node) -> Raw {
    let kind = match &node.value {
        Value::Null => ValueKind::Nil,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => number(n),
        Value::Text(text) => text.text.clone().into(),
        Value::List(items) => ValueKind::Array(items.iter().map(raw).collect()),
        Value::Map(entries) => {
            ValueKind::Table(entries.iter().map(|e| (e.key.clone(), raw(&e.node))).collect())
        }
    };
    Raw::new(None, kind)
}

fn number(number: &serde_json::Number) -> ValueKind {
    let whole = number.as_u64().map(ValueKind::U64).or_else(|| number.as_i64().map(ValueKind::I64));
    whole.or_else(|| number.as_f64().map(ValueKind::Float)).unwrap_or(ValueKind::Nil)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::config::span;

    fn joined(layers: &[&str]) -> Node {
        let read = |(i, yaml): (usize, &&str)| {
            span::parse(Path::new(&format!("{i}.yaml")), yaml, &|_| Some("filled".to_owned())).unwrap()
        };
        let layers: Vec<Node> = layers.iter().enumerate().map(read).collect();
        layers.iter().fold(Layers::default(), |below, layer| below.with(layer)).tree().unwrap()
    }

    #[test]
    fn maps_join_and_the_rest_is_replaced() {
        let check = |layers: &[&str], expected| assert_eq!(joined(layers).to_json(), expected, "{layers:?}");
        check(
            &["a: {x: 1, y: [1, 2]}\nb: 1", "a: {y: [3], z: 4}"],
            json!({"a": {"x": 1, "y": [3], "z": 4}, "b": 1}),
        );
        check(&["a: {x: 1}", "a: null"], json!({"a": null}));
        check(&["a: {x: 1}", "a: null", "a: {y: 1}"], json!({"a": {"y": 1}}));
        check(&["a: 1", "a: {}"], json!({"a": {}}));
        check(&["a: [{x: 1}, {y: 2}]", "a: [{z: 3}]"], json!({"a": [{"z": 3}]}));
        check(&[], json!({}));
    }

    #[test]
    fn keys_and_values_stay_as_they_were_written() {
        let yaml =
            "a.b: {'C[0]': 1, c: '8080', x y: 1.5}\nA: ['1', 1, 18446744073709551615, -3, true, 'no', é]";
        let expected = json!({
            "a.b": {"C[0]": 1, "c": "8080", "x y": 1.5}, "A": ["1", 1, u64::MAX, -3, true, "no", "é"],
        });
        assert_eq!(joined(&["a: {b: 1}", yaml, "a: null"]).to_json()["a.b"], expected["a.b"]);
        assert_eq!(joined(&[yaml]).to_json(), expected);
    }

    #[test]
    fn every_value_keeps_the_place_it_came_from() {
        let tree =
            joined(&["a: {x: 1, y: 2}\nlist: [{k: 1}, 2, 3]\ntext: '${env:A}'", "list: [7]\na:\n  y: 3\n"]);
        let place = |path: &str| tree.place(&tree.steps(path)).to_string();
        for (path, expected) in [
            ("a.x", "0.yaml:1:8"),
            ("a.y", "1.yaml:3:6"),
            ("a", "1.yaml:2:1"),
            ("list[0]", "1.yaml:1:8"),
            ("list[1]", "1.yaml:1:1"),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
        assert_eq!(tree.key_place(&tree.steps("a.y")).to_string(), "1.yaml:3:3");
        let Some(Node { value: Value::Text(text), .. }) = tree.get("text") else { panic!("{tree:?}") };
        assert_eq!((text.text.as_str(), text.written.as_deref()), ("filled", Some("${env:A}")));
    }
}
