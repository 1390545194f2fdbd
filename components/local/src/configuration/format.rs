//! The formats of a configuration file: all of them are keys with texts in the end. Nested names are joined.

use std::collections::BTreeMap;
use std::path::Path;

use outrigger_component_api::{Error, Result};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;

/// Content by key.
pub(super) type Items = BTreeMap<String, String>;

/// Joins nested names.
const JOIN: &str = ".";
/// A file nested deeper than this was not written by hand.
const DEEPEST: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
    Properties,
}

impl Format {
    /// By the ending of the file's name.
    pub(super) fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("properties") => Ok(Self::Properties),
            _ => Err(Error::invalid("file ends in none of .json, .yaml, .yml and .properties")),
        }
    }

    pub(super) fn read(self, text: &str) -> Result<Items> {
        match self {
            Self::Json if text.trim().is_empty() => Ok(Items::new()),
            Self::Json => {
                let value = serde_json::from_str(text).map_err(|error| {
                    malformed("it is not JSON")
                        .with("at", format_args!("{}:{}", error.line(), error.column()))
                })?;
                flatten(value)
            }
            Self::Yaml => flatten(yaml(text)?),
            Self::Properties => properties(text),
        }
    }

    /// What [`Format::read`] reads as these items.
    pub(super) fn write(self, items: &Items) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        match self {
            Self::Json => format!("{:#}\n", serde_json::json!(items)),
            // A JSON string is a YAML string too.
            Self::Yaml => {
                items.iter().map(|(key, content)| format!("{}: {}\n", quoted(key), quoted(content))).collect()
            }
            Self::Properties => items
                .iter()
                .map(|(key, content)| format!("{}={}\n", escaped(key, true), escaped(content, false)))
                .collect(),
        }
    }
}

fn malformed(what: &str) -> Error {
    Error::unavailable(format!("the configuration file is malformed: {what}")).permanent()
}

fn flatten(value: Value) -> Result<Items> {
    let mut items = Items::new();
    match value {
        Value::Null => {}
        Value::Object(map) => map.into_iter().for_each(|(key, value)| add(&mut items, key, value)),
        _ => return Err(malformed("its top is not a map of names")),
    }
    Ok(items)
}

/// Maps are gone into; lists stay together, as JSON.
fn add(items: &mut Items, key: String, value: Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.into_iter().for_each(|(name, value)| add(items, [&key, JOIN, &name].concat(), value));
        }
        Value::String(text) => drop(items.insert(key, text)),
        Value::Null => drop(items.insert(key, String::new())),
        other => drop(items.insert(key, other.to_string())),
    }
}

/// A map, a list, or the key a map waits to give a value to.
enum Open {
    Map(serde_json::Map<String, Value>, Option<String>),
    List(Vec<Value>),
}

/// Plain YAML: maps, lists and scalars, which stay the texts they are. Anchors are refused.
fn yaml(text: &str) -> Result<Value> {
    let mut open: Vec<Open> = Vec::new();
    let mut top = Value::Null;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| {
            malformed("it is not YAML")
                .with("at", format_args!("{}:{}", error.marker().line(), error.marker().col() + 1))
        })?;
        let finished = match event {
            Event::MappingStart(..) => {
                open.push(Open::Map(serde_json::Map::new(), None));
                None
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::Scalar(text, style, ..) => Some(match (style, text.as_ref()) {
                (ScalarStyle::Plain, "" | "~" | "null") => Value::Null,
                _ => Value::from(text.as_ref()),
            }),
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(|open| match open {
                Open::Map(map, _) => Value::Object(map),
                Open::List(list) => Value::Array(list),
            }),
            Event::Alias(_) => return Err(malformed("anchors are not read")),
            _ => None,
        };
        if open.len() > DEEPEST {
            return Err(malformed("it is nested too deeply"));
        }
        let Some(value) = finished else { continue };
        match open.last_mut() {
            None => top = value,
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(key) => drop(map.insert(key, value)),
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
        }
    }
    Ok(top)
}

/// `key=value`, one a line; `#` and `!` begin comments, a backslash escapes and joins lines.
fn properties(text: &str) -> Result<Items> {
    let mut items = Items::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_backslash(&line) {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, next)| next.trim_start()));
        }
        let wrong = || malformed("an escape is cut short").with("line", at + 1);
        let (key, value) = unescaped(&line).ok_or_else(wrong)?;
        items.insert(key, value);
    }
    Ok(items)
}

fn ends_in_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Key and value of a line.
fn unescaped(line: &str) -> Option<(String, String)> {
    let (mut key, mut value, mut in_value) = (String::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let into = if in_value { &mut value } else { &mut key };
        match character {
            '\\' => into.push(match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?;
                    char::from_u32(code)?
                }
                other => other,
            }),
            '=' | ':' | ' ' | '\t' if !in_value => {
                in_value = true;
                // Blanks around one sign belong to neither side.
                let mut signs = usize::from(matches!(character, '=' | ':'));
                while let Some(next) = characters.peek() {
                    match next {
                        ' ' | '\t' => {}
                        '=' | ':' if signs == 0 => signs = 1,
                        _ => break,
                    }
                    characters.next();
                }
            }
            other => into.push(other),
        }
    }
    Some((key, value))
}

fn escaped(text: &str, is_key: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, character) in text.chars().enumerate() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            ' ' | '=' | ':' | '#' | '!' if is_key || at == 0 => out.extend(['\\', character]),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(pairs: &[(&str, &str)]) -> Items {
        pairs.iter().map(|(key, content)| ((*key).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn every_format_reads_the_same() {
        let expected = items(&[("a", "1"), ("b.c", "two words"), ("b.d.e", "true"), ("f", "")]);
        let json = r#"{"a": 1, "b": {"c": "two words", "d": {"e": true}}, "f": null}"#;
        let yaml = "a: 1 # one\nb:\n  c: two words\n  d: { e: true }\nf:\n";
        let properties = "# comment\na=1\n! another\n  b.c : two \\\n    words\nb.d.e true\nf\n";
        for (format, text) in [(Format::Json, json), (Format::Yaml, yaml), (Format::Properties, properties)] {
            assert_eq!(format.read(text).expect("reads"), expected, "{format:?}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let odd = items(&[
            ("a key", "a value"),
            ("=:#!", " leading \\ and \t tab\nnew line\r"),
            ("ä||ö", "{\"json\": [1]}"),
            ("empty", ""),
            ("null", "~"),
        ]);
        for format in [Format::Json, Format::Yaml, Format::Properties] {
            assert_eq!(format.read(&format.write(&odd)).expect("reads"), odd, "{}", format.write(&odd));
            assert_eq!(format.read(&format.write(&Items::new())).expect("reads"), Items::new(), "{format:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_told() {
        let check = |format: Format, text: &str, expected: &str| {
            let error = format.read(text).expect_err("refused").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check(Format::Json, "{\"a\" 1}", "not JSON (at=1:6)");
        check(Format::Json, "[1]", "its top is not a map");
        check(Format::Yaml, "a: [", "not YAML");
        check(Format::Yaml, "a: &x 1\nb: *x", "anchors");
        check(Format::Yaml, &"- ".repeat(500), "nested too deeply");
        check(Format::Properties, "ok=1\nbad=\\u00", "line=2");
        assert!(Format::of(Path::new("settings.toml")).is_err());
    }
}
