//! Every setting the schema accepts is observed by a test. A setting nobody thought of fails this test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::program::Folder;

/// Settings under a prefix, and the crates whose tests observe them. The more particular prefix comes first.
const OBSERVED_BY: &[(&str, &[&str])] = &[
    ("components.*.policy.", &["blocks", "resilience"]),
    ("clusters.*.tls.", &["cluster", "net"]),
    ("clusters.", &["cluster", "resilience"]),
    // The same sections, built by the same code; that they arrive is seen in this crate.
    ("admin.tls.", &["net"]),
    ("api.listeners.*.http.http2.floods.", &["net", "http"]),
    ("api.listeners.*.http.", &["http"]),
    ("api.listeners.*.limits.", &["net"]),
    ("api.listeners.*.tls.", &["net"]),
    ("listeners.*.http.http2.floods.", &["net", "http"]),
    ("listeners.*.http.", &["http", "proxy"]),
    ("listeners.*.access_log.", &["http", "proxy"]),
    ("listeners.*.limits.", &["net", "proxy"]),
    ("listeners.*.tls.", &["net", "proxy"]),
    ("listeners.", &["proxy"]),
    ("routes.*.filters.", &["http", "proxy"]),
    ("routes.*.retry.", &["cluster", "proxy", "resilience"]),
    ("routes.", &["proxy"]),
    ("functions.", &["blocks", "../wasm/host", "outrigger"]),
    ("wasm.", &["../wasm/host", "outrigger"]),
    ("", &["outrigger"]),
];

/// Every leaf of the schema as a dotted path; `*` is a name of the user's choice.
fn leaves(schema: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    walk(schema, schema, String::new(), 0, &mut out);
    out
}

fn walk(root: &Value, node: &Value, path: String, depth: usize, out: &mut BTreeSet<String>) {
    assert!(depth < 20, "the schema goes round at {path}");
    let referred = node.get("$ref").and_then(Value::as_str).and_then(|r| root.pointer(r.strip_prefix('#')?));
    if let Some(referred) = referred {
        return walk(root, referred, path, depth + 1, out);
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut leaf = true;
    for (name, property) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        leaf = false;
        walk(root, property, below(name), depth + 1, out);
    }
    if let Some(named @ Value::Object(_)) = node.get("additionalProperties") {
        leaf = false;
        walk(root, named, below("*"), depth + 1, out);
    }
    for choice in ["anyOf", "oneOf"].iter().filter_map(|key| node.get(*key)?.as_array()).flatten() {
        leaf = false;
        if choice.get("type").and_then(Value::as_str) != Some("null") {
            walk(root, choice, path.clone(), depth + 1, out);
        }
    }
    if leaf {
        out.insert(path);
    }
}

/// The test code of the crates that answer for a setting.
fn tests_for(leaf: &str) -> String {
    let (_, crates) = OBSERVED_BY.iter().find(|(prefix, _)| leaf.starts_with(prefix)).unwrap();
    let runtime = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut code = String::new();
    for file in crates.iter().flat_map(|name| rust_files(&runtime.join(name))) {
        let text = fs::read_to_string(&file).unwrap();
        let is_test = file.components().any(|part| part.as_os_str() == "tests")
            || file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        let tests =
            if is_test { Some(text.as_str()) } else { text.split_once("#[cfg(test)]").map(|(_, t)| t) };
        // This very file names settings without observing them.
        if !file.ends_with("it/coverage.rs") {
            code.extend(tests);
        }
    }
    code
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|e| e == "rs") {
            files.push(entry);
        }
    }
    files
}

/// Whether the tests that answer for a setting speak of it at all.
fn is_observed(leaf: &str) -> bool {
    let key = leaf.trim_end_matches(".*").rsplit('.').next().unwrap();
    let code = tests_for(leaf);
    code.match_indices(key).any(|(at, _)| {
        let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        !word(code[..at].chars().next_back()) && !word(code[at + key.len()..].chars().next())
    })
}

fn schema() -> Value {
    let output = Folder::empty().command(&["config", "schema"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_setting_is_observed_somewhere() {
    let leaves = leaves(&schema());
    assert!(leaves.len() > 50, "{leaves:?}");
    let unobserved = leaves.iter().filter(|leaf| !is_observed(leaf));
    assert_eq!(unobserved.collect::<Vec<_>>(), [""; 0], "no test observes these");
}

#[test]
fn a_setting_nobody_thought_of_is_caught() {
    let mut schema = schema();
    schema["properties"]["planted_setting"] = serde_json::json!({"type": "string"});
    schema["$defs"]["ClusterConfig"]["properties"]["planted_too"] = serde_json::json!({"type": "string"});
    let caught: Vec<_> = leaves(&schema).into_iter().filter(|leaf| leaf.contains("planted")).collect();
    assert_eq!(caught, ["clusters.*.planted_too", "planted_setting"]);
    assert!(caught.iter().all(|leaf| !is_observed(leaf)));
}
