//! Every setting the schema accepts is either exercised by a test that observes its effect, and says so here, or
//! listed as waiting for one. A setting nobody thought of fails this test.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::program::Folder;

/// Setting, and the test that observes it.
const OBSERVED: &[(&str, &str)] = &[
    ("app.id", "app::it_starts_when_the_api_listens_and_finds_it"),
    ("app.port", "admin::the_app_is_probed_when_its_port_is_known"),
    ("app.protocol", "app::it_starts_when_the_api_listens_and_finds_it"),
    ("workers", "reload::what_needs_a_restart_is_said"),
    ("log.level", "reload::what_needs_a_restart_is_said"),
    ("log.format", "reload::what_needs_a_restart_is_said"),
    ("api.listeners.*.address", "reload::listeners_open_move_and_close"),
    ("api.hosts", "access rules: runtime/api/src/access.rs"),
    ("api.token", "reload::a_new_token_holds_for_open_connections"),
    ("admin.address", "admin::health_has_layottos_shape"),
    ("admin.hosts", "admin::pages_and_foreign_names_are_turned_away"),
    ("admin.token", "admin::without_the_token_only_probes_answer"),
    ("components.*.type", "settings::types_and_their_settings_are_listed"),
    ("components.*.settings", "admin::the_dump_shows_defaults_and_hides_secrets"),
    ("components.*.scopes", "scopes: runtime/blocks/src/scope.rs"),
    ("components.*.policy.timeout", "guard: runtime/blocks"),
    ("components.*.policy.retries", "guard: runtime/blocks"),
    ("components.*.policy.backoff.base", "runtime/resilience/src/backoff.rs"),
    ("components.*.policy.backoff.max", "runtime/resilience/src/backoff.rs"),
    ("components.*.policy.breaker.*", "runtime/resilience/src/breaker.rs"),
    ("shutdown.timeout", "app::alone_it_stops_within_its_deadline"),
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

fn is_observed(leaf: &str) -> bool {
    OBSERVED.iter().any(|(setting, _)| match setting.strip_suffix(".*") {
        Some(prefix) => leaf.starts_with(prefix),
        None => *setting == leaf,
    })
}

fn schema() -> Value {
    let output = Folder::empty().command(&["config", "schema"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_setting_is_observed_somewhere() {
    let leaves = leaves(&schema());
    assert!(leaves.len() > 15, "{leaves:?}");
    let unobserved: Vec<_> = leaves.iter().filter(|leaf| !is_observed(leaf)).collect();
    assert!(unobserved.is_empty(), "no test observes {unobserved:#?}");
    let stale = |setting: &&(&str, &str)| {
        !leaves.iter().any(|leaf| leaf.starts_with(setting.0.trim_end_matches(".*")))
    };
    let stale: Vec<_> = OBSERVED.iter().filter(stale).collect();
    assert!(stale.is_empty(), "these settings do not exist: {stale:#?}");
}

#[test]
fn a_setting_nobody_thought_of_is_caught() {
    let mut schema = schema();
    schema["properties"]["planted"] = serde_json::json!({"type": "string"});
    assert!(leaves(&schema).iter().any(|leaf| !is_observed(leaf)));
}
