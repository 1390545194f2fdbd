//! From tree to structs, collecting every problem: a value that does not fit is noted, cut out, and reading goes on.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::{
    node::{Node, Origin, Step, Text, Value, dotted},
    problem::{Problem, reword},
    show::holds_secret,
};

/// More than this many problems help nobody.
const MAX_PROBLEMS: usize = 50;

/// What could be read, and what could not. A value beside problems lacks the parts they speak of.
pub type Reading<T> = (Option<T>, Vec<Problem>);

/// Reads the part of `tree` under `base` as a `T`.
pub fn read<T: DeserializeOwned>(tree: &Node, base: &[Step]) -> Reading<T> {
    collect(tree, base, |json| {
        serde_path_to_error::deserialize(json).map_err(|error| Refusal {
            path: error.path().iter().filter_map(step).collect(),
            message: error.inner().to_string(),
        })
    })
}

/// Why an attempt failed: the path below what was read, and serde's message.
pub struct Refusal {
    pub path: Vec<Step>,
    pub message: String,
}

/// Tries `attempt` again and again, each time without what it stumbled on, and so learns of every problem.
pub fn collect<T>(
    tree: &Node,
    base: &[Step],
    attempt: impl Fn(serde_json::Value) -> Result<T, Refusal>,
) -> Reading<T> {
    let mut work = tree.clone();
    let mut problems: Vec<(Vec<Step>, Problem)> = Vec::new();
    let value = loop {
        let json = work.find_mut(base).map(|n| n.to_json()).unwrap_or_default();
        let refusal = match attempt(json) {
            Ok(value) => break Some(value),
            Err(refusal) => refusal,
        };
        let message = refusal.message;
        let path = locate(&mut work, base, refusal.path, &message);
        if as_typed(&mut work, &path) || respell(&mut work, &path, &message) {
            continue;
        }
        // A map that lost a broken key may now miss it: that is the same problem again.
        let told = problems.iter().any(|(known, _)| known.starts_with(&path));
        if !told {
            let written = as_written(tree, &work, &path);
            let unknown = unknown_key(&message).is_some();
            let place = if unknown { work.key_place(&path) } else { work.place(&path) };
            let keys = written.iter().filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            });
            let message = if holds_secret(keys) { hush(reword(&message)) } else { reword(&message) };
            let problem = Problem::new(place, &dotted(&written), message);
            problems.push((path.clone(), problem));
        }
        if path.len() <= base.len() || !cut(&mut work, &path) || problems.len() >= MAX_PROBLEMS {
            break None;
        }
    };
    (value, problems.into_iter().map(|(_, problem)| problem).collect())
}

/// The message without the value it quotes.
fn hush(message: String) -> String {
    if let Some((expected, found)) = message.split_once(", found ") {
        let quotes = |mark| found.contains(mark);
        let found = if quotes('"') {
            "a text"
        } else if quotes('`') {
            "something else"
        } else {
            found
        };
        return format!("{expected}, found {found}");
    }
    match message.strip_prefix("unknown value `").and_then(|rest| rest.split_once('`')) {
        Some((_, hint)) => format!("unknown value{hint}"),
        None => message,
    }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } | Segment::Enum { variant: key } => Some(Step::Key(key.clone())),
        Segment::Unknown => None,
    }
}

/// The path serde stopped at. Where serde buffered a value (tagged and flattened structs) its path ends early;
/// a message that names an unknown key leads the rest of the way.
fn locate(work: &mut Node, base: &[Step], path: Vec<Step>, message: &str) -> Vec<Step> {
    let mut steps = base.to_vec();
    for step in path {
        steps.push(as_spelled(work, &steps, step));
        if work.find_mut(&steps).is_none() {
            steps.pop();
        }
    }
    if let Some(key) = unknown_key(message)
        && steps.last() != Some(&Step::Key(key.to_owned()))
        && let Some(node) = work.find_mut(&steps)
        && let Some(below) = search(node, key)
    {
        steps.extend(below);
    }
    steps
}

/// Component settings may be spelled in any case; serde tells the name it knows.
fn as_spelled(work: &mut Node, parent: &[Step], step: Step) -> Step {
    let (Step::Key(key), Some(node)) = (&step, work.find_mut(parent)) else { return step };
    let mut keys = node.entries().iter().map(|e| &e.key);
    let spelled = keys.clone().find(|k| *k == key).or_else(|| keys.find(|k| k.eq_ignore_ascii_case(key)));
    spelled.cloned().map_or(step, Step::Key)
}

fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

fn search(node: &Node, key: &str) -> Option<Vec<Step>> {
    if node.get(key).is_some() {
        return Some(vec![Step::Key(key.to_owned())]);
    }
    let below = |step: Step, node: &Node| {
        let rest = search(node, key)?;
        Some(std::iter::once(step).chain(rest).collect())
    };
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|e| below(Step::Key(e.key.clone()), &e.node)),
        Value::List(items) => items.iter().enumerate().find_map(|(i, item)| below(Step::Index(i), item)),
        _ => None,
    }
}

/// `OUTRIGGER__API__TOKEN=12345` looks like a number where a string is meant: variables and flags carry no quotes,
/// so the text as it was typed gets its chance.
fn as_typed(work: &mut Node, path: &[Step]) -> bool {
    let Some(node) = work.find_mut(path) else { return false };
    if !matches!(node.at, Origin::Env(_) | Origin::Flag(_)) {
        return false;
    }
    let text = match &node.value {
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        _ => return false,
    };
    node.value = Value::Text(Text { text, written: None });
    true
}

/// A variable cannot spell `keyPrefix`: a key it named is read as the known one that differs only in case.
fn respell(work: &mut Node, path: &[Step], message: &str) -> bool {
    let (Some((Step::Key(key), parent)), Some(known)) = (path.split_last(), message.split_once("`, ")) else {
        return false;
    };
    let known =
        known.1.split('`').skip(1).step_by(2).find(|name| name.eq_ignore_ascii_case(key) && name != key);
    let (Some(known), Some(Node { value: Value::Map(entries), .. })) = (known, work.find_mut(parent)) else {
        return false;
    };
    if entries.iter().any(|e| e.key == known) {
        return false;
    }
    let spoken = entries.iter_mut().find(|e| e.key == *key && matches!(e.key_at, Origin::Env(_)));
    spoken.map(|entry| entry.key = known.to_owned()).is_some()
}

fn cut(work: &mut Node, path: &[Step]) -> bool {
    let Some((last, parent)) = path.split_last() else { return false };
    match (last, work.find_mut(parent).map(|n| &mut n.value)) {
        (Step::Key(key), Some(Value::Map(entries))) => {
            let before = entries.len();
            entries.retain(|e| e.key != *key);
            entries.len() < before
        }
        (Step::Index(i), Some(Value::List(items))) if *i < items.len() => {
            items.remove(*i);
            true
        }
        _ => false,
    }
}

/// Cutting shifts what follows in a list; people want the index they wrote.
fn as_written(tree: &Node, work: &Node, path: &[Step]) -> Vec<Step> {
    let (mut whole, mut left) = (Some(tree), Some(work));
    path.iter()
        .map(|step| match (step, whole.map(|n| &n.value), left.map(|n| &n.value)) {
            (Step::Index(i), Some(Value::List(all)), Some(Value::List(rest))) => {
                let item = rest.get(*i);
                let at = all.iter().position(|n| Some(&n.at) == item.map(|n| &n.at)).unwrap_or(*i);
                (whole, left) = (all.get(at), item);
                Step::Index(at)
            }
            (Step::Key(key), _, _) => {
                (whole, left) = (whole.and_then(|n| n.get(key)), left.and_then(|n| n.get(key)));
                step.clone()
            }
            _ => step.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use serde::Deserialize;

    use super::*;
    use crate::config::span;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Whole {
        #[serde(default)]
        things: BTreeMap<String, Thing>,
        token: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Thing {
        port: u16,
        #[serde(default)]
        list: Vec<Kind>,
        #[serde(default, rename = "keyPrefix")]
        key_prefix: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
    #[allow(dead_code)]
    enum Kind {
        One { path: String },
    }

    fn problems(yaml: &str) -> Vec<String> {
        let tree = span::parse(Path::new("f"), yaml, &|_| None).unwrap();
        let (_, mut problems) = read::<Whole>(&tree, &[]);
        problems.sort_by(|a, b| a.at.cmp(&b.at));
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_problems_are_told_at_once_each_at_its_place() {
        let yaml = "\
things:
  a: { prot: 1, port: x }
  b:
    port: 70000
    list:
      - type: one
        path: 5
      - type: one
        path: ok
      - type: one
        pth: p
      - type: two
  c: {}
nope: 1
";
        assert_eq!(
            problems(yaml),
            [
                "f:2:8: things.a.prot: unknown key `prot` (did you mean `port`?)",
                "f:2:23: things.a.port: expected a whole number from 0 to 65535, found the text \"x\"",
                "f:4:11: things.b.port: expected a whole number from 0 to 65535, found integer `70000`",
                "f:6:9: things.b.list[0]: expected a string, found integer `5`",
                "f:11:9: things.b.list[2].pth: unknown key `pth` (did you mean `path`?)",
                "f:12:15: things.b.list[3].type: unknown value `two` (known: one)",
                "f:13:3: things.c: the key `port` is required",
                "f:14:1: nope: unknown key `nope` (known: things, token)",
            ]
            .map(str::to_owned)
        );
    }

    #[test]
    fn variables_and_flags_need_no_quotes_nor_capitals() {
        let tree = span::parse(Path::new("f"), "things: {a: {port: 1}}", &|_| None).unwrap();
        let over = crate::config::layers::Sources {
            env: vec![("OUTRIGGER__THINGS__A__KEYPREFIX".to_owned(), "5".to_owned())],
            sets: vec!["token=12345".to_owned()],
            ..Default::default()
        };
        let layers = crate::config::merge::Layers::default();
        let tree = layers.with(&tree).with(&over.merge().unwrap()).tree().unwrap();
        let (whole, problems) = read::<Whole>(&tree, &[]);
        assert_eq!(problems, []);
        let whole = whole.unwrap();
        assert_eq!(whole.token.as_deref(), Some("12345"));
        assert_eq!(whole.things["a"].key_prefix, "5");
    }
}
