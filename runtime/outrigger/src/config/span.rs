//! YAML (and so JSON) read with the place of every key and value kept: duplicate keys, aliases, `${env:NAME}`.

use std::{path::Path, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{
    node::{Entry, Node, Origin, Text, Value},
    problem::Problem,
};

/// Aliases may not make a small file large: more nodes than this are refused.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 64;

/// Reads an environment variable. Passed in, so that a test need not change the process.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file. An empty one is an empty map.
pub fn parse(file: &Path, text: &str, env: Env<'_>) -> Result<Node, Vec<Problem>> {
    let root = document(file, text, env)?;
    Ok(if root.value == Value::Null { Node::map(root.at) } else { root })
}

/// Reads one document; nothing at all is null.
fn document(file: &Path, text: &str, env: Env<'_>) -> Result<Node, Vec<Problem>> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        file: file.into(),
        env,
        anchors: Vec::new(),
        nodes: 0,
        problems: Vec::new(),
    };
    match reader.document() {
        Ok(node) if reader.problems.is_empty() => Ok(node),
        Ok(_) => Err(reader.problems),
        Err(fatal) => {
            reader.problems.push(fatal);
            Err(reader.problems)
        }
    }
}

/// Reads a value given in an environment variable or a flag: a scalar, or a list or map in flow style.
pub fn parse_value(text: &str, at: &Origin, env: Env<'_>) -> Result<Node, Problem> {
    let mut node =
        document(Path::new(""), text, env).map_err(|problems| match problems.into_iter().next() {
            Some(problem) => Problem { at: at.clone(), ..problem },
            None => Problem::new(at.clone(), "", "cannot be read"),
        })?;
    if text.trim().is_empty() {
        node.value = Value::Text(Text { text: String::new(), written: None });
    }
    relocate(&mut node, at);
    Ok(node)
}

fn relocate(node: &mut Node, at: &Origin) {
    node.at = at.clone();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| relocate(item, at)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key_at = at.clone();
                relocate(&mut entry.node, at);
            }
        }
        _ => {}
    }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    file: Arc<Path>,
    env: Env<'t>,
    /// By anchor id. A tag on an alias that has not ended yet finds nothing.
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    problems: Vec<Problem>,
}

type Fatal = Problem;

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    return Err(self.problem(span, "a second YAML document; one file holds one"));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        let at = Origin::File { file: self.file.clone(), line: 1, column: 1 };
        Ok(root.unwrap_or(Node { value: Value::Null, at }))
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Fatal> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let mark = *error.marker();
                Err(self.problem(Span::empty(mark), format!("not valid YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Fatal> {
        self.count(1, span)?;
        if depth > MAX_DEPTH {
            return Err(self.problem(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let at = self.origin(span);
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = if plain { scalar(&text) } else { None };
                (value.unwrap_or_else(|| self.text(&text, span)), anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.entries(depth)?, anchor),
            Event::Alias(id) => (self.alias(id, span)?, 0),
            other => return Err(self.problem(span, format!("unexpected YAML: {other:?}"))),
        };
        let node = Node { value, at };
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fatal> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Value, Fatal> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(self.problem(span, "a key must be a plain word")),
            };
            let key_at = self.origin(span);
            if key == "<<" {
                self.problems.push(Problem::new(
                    key_at.clone(),
                    &key,
                    "merge keys are not read; repeat the keys",
                ));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            match entries.iter().find(|e| e.key == key) {
                Some(first) => {
                    let message = format!("the key `{key}` was already given at {}", first.key_at);
                    self.problems.push(Problem::new(key_at, &key, message));
                }
                None => entries.push(Entry { key, key_at, node }),
            }
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Value, Fatal> {
        let known = self.anchors.iter().find(|(anchor, _)| *anchor == id).map(|(_, node)| node.clone());
        let node = known.ok_or_else(|| self.problem(span, "an alias inside its own anchor"))?;
        self.count(size(&node), span)?;
        Ok(node.value)
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), Fatal> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(self.problem(span, format!("more than {MAX_NODES} values (aliases count in full)")));
        }
        Ok(())
    }

    fn text(&mut self, text: &str, span: Span) -> Value {
        match fill(text, self.env) {
            Ok(None) => Value::Text(Text { text: text.to_owned(), written: None }),
            Ok(Some(filled)) => Value::Text(Text { text: filled, written: Some(text.to_owned()) }),
            Err(message) => {
                let problem = self.problem(span, message);
                self.problems.push(problem);
                Value::Null
            }
        }
    }

    fn origin(&self, span: Span) -> Origin {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        Origin::File { file: self.file.clone(), line, column }
    }

    fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(self.origin(span), "", message)
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|e| size(&e.node)).sum(),
        _ => 0,
    }
}

/// The YAML 1.2 core schema: what an unquoted word is when it is not a string.
fn scalar(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => Value::Number(number(text)?),
    })
}

fn number(text: &str) -> Option<serde_json::Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Into::into);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Into::into);
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    unsigned
        .parse::<u64>()
        .map(Into::into)
        .ok()
        .or_else(|| unsigned.parse::<i64>().map(Into::into).ok())
        .or_else(|| unsigned.parse::<f64>().ok().and_then(serde_json::Number::from_f64))
}

/// Fills in `${env:NAME}` and `${env:NAME:-otherwise}`; `None` when there is nothing to fill in.
fn fill(text: &str, env: Env<'_>) -> Result<Option<String>, String> {
    const OPEN: &str = "${env:";
    if !text.contains(OPEN) {
        return Ok(None);
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((inside, tail)) = after.split_once('}') else {
            return Err("`${env:` is not closed with `}`".to_owned());
        };
        let (name, otherwise) = match inside.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
            None => (inside, None),
        };
        let value = env(name).or(otherwise);
        let value = value.ok_or_else(|| format!("the environment variable {name} is not set"))?;
        out.extend([before, &value]);
        rest = tail;
    }
    out.push_str(rest);
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn env(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/anywhere".to_owned())
    }

    fn read(text: &str) -> Result<serde_json::Value, String> {
        let problems = |p: Vec<Problem>| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        parse(Path::new("f"), text, &env).map(|n| n.to_json()).map_err(problems)
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let cases = [
            ("a: 1", json!(1)),
            ("a: -7", json!(-7)),
            ("a: 1.5", json!(1.5)),
            ("a: 0x10", json!(16)),
            ("a: yes", json!("yes")),
            ("a: 1.2.3", json!("1.2.3")),
            ("a: 5s", json!("5s")),
            ("a: '1'", json!("1")),
            ("a: true", json!(true)),
            ("a:", json!(null)),
            ("a: [~, b-]", json!([null, "b-"])),
            ("a: infinity", json!("infinity")),
            ("a: ${env:HOME}/x", json!("/anywhere/x")),
            ("a: ${env:NOPE:-other}", json!("other")),
            ("x: &b {k: 1}\na: *b", json!({"k": 1})),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap()["a"], expected, "{text}");
        }
        assert_eq!(read("").unwrap(), json!({}));
        assert_eq!(
            read("{\n\t\"a\":\t[\n\t\t{\n\t\t\t\"b\" : 1,\"c\":\"\\/\\u00e9\"}\n\t\t\n\t]\n}\n").unwrap(),
            json!({"a": [{"b": 1, "c": "/é"}]})
        );
        assert_eq!(read(r#"{"a": {"b": [1, "two"]}}"#).unwrap(), json!({"a": {"b": [1, "two"]}}));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let cases = [
            ("a: 1\nb: 2\na: 3", "f:3:1: a: the key `a` was already given at f:1:1"),
            ("a: [1", "f:2:1: not valid YAML"),
            ("a: 1\n b: 2", "f:2:3: not valid YAML"),
            ("a: ${env:NOPE}", "f:1:4: the environment variable NOPE is not set"),
            ("a: ${env:NOPE", "f:1:4: `${env:` is not closed"),
            ("a: 1\n---\nb: 2", "f:3:1: a second YAML document"),
            ("[a]: 1", "f:1:1: a key must be a plain word"),
            ("<<: {a: 1}", "f:1:1: <<: merge keys are not read"),
        ];
        for (text, expected) in cases {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn aliases_cannot_make_a_small_file_large() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", "));
        }
        assert!(read(&bomb).unwrap_err().contains("more than 200000 values"));
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let seeds =
            [include_str!("../../../../configs/canary.yaml"), include_str!("../../../../configs/tcp.yaml")];
        let tokens = [
            "{", "}", "[", "]", ":", ": ", "- ", "&a", "*a", "'", "\"", "\n", "  ", "#", "|", "${env:", "\t",
            "é", "!!", "---",
        ];
        for round in 0..4000 {
            let mut text: Vec<char> = seeds[round % 2].chars().collect();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(0..text.len());
                let end = (at + random.usize(0..6)).min(text.len());
                text.splice(at..end, tokens[random.usize(0..tokens.len())].chars());
            }
            let text: String = text.into_iter().collect();
            // Read or refused with a place: either is fine.
            if let Err(problems) = parse(Path::new("f"), &text, &env) {
                assert!(!problems.is_empty(), "{text}");
            }
        }
    }
}
