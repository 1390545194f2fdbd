//! `{ secretRef: { store, key } }` in a component's settings: found at check, filled in from the store at build.

use outrigger_component_api::{Error, Result, SecretOptions, SecretStore, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::node::Step;

/// The key that makes a map a reference.
pub const KEY: &str = "secretRef";

/// Where a setting's value is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The component that is the secret store.
    pub store: String,
    /// The secret's name there.
    pub key: String,
    /// Which of its values, when the secret holds several. Default: the one of the secret's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Every reference in the settings, with its path; or why what looks like one is none.
pub fn references(settings: &Settings) -> Vec<(Vec<Step>, Result<SecretRef, String>)> {
    let mut found = Vec::new();
    for (key, value) in settings {
        search(value, vec![Step::Key(key.clone())], &mut found);
    }
    found
}

fn search(value: &Value, path: Vec<Step>, found: &mut Vec<(Vec<Step>, Result<SecretRef, String>)>) {
    let deeper = |step: Step| path.iter().cloned().chain([step]).collect();
    match value {
        Value::Object(map) => match read(map) {
            Some(reference) => found.push((path, reference)),
            None => map.iter().for_each(|(key, value)| search(value, deeper(Step::Key(key.clone())), found)),
        },
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| search(item, deeper(Step::Index(i)), found));
        }
        _ => {}
    }
}

fn read(map: &Settings) -> Option<Result<SecretRef, String>> {
    let reference = map.get(KEY)?;
    if map.len() > 1 {
        return Some(Err(format!("{KEY} stands alone: take away what is beside it")));
    }
    Some(
        serde_json::from_value(reference.clone()).map_err(|e| crate::config::problem::reword(&e.to_string())),
    )
}

/// Puts something in the place of every reference that reads as a text and as a number, so that the rest of the
/// settings can be checked before any store is asked.
pub fn fill_in(settings: &mut Settings) {
    settings.values_mut().for_each(fill_in_value);
}

fn fill_in_value(value: &mut Value) {
    match value {
        Value::Object(map) if map.contains_key(KEY) => *value = Value::String("0".to_owned()),
        Value::Object(map) => fill_in(map),
        Value::Array(items) => items.iter_mut().for_each(fill_in_value),
        _ => {}
    }
}

/// Replaces one reference in the settings by its value.
pub async fn resolve(
    settings: &mut Settings,
    path: &[Step],
    reference: &SecretRef,
    store: &dyn SecretStore,
) -> Result<()> {
    let value = get(reference, store).await?;
    if let Some(place) = place(settings, path) {
        *place = Value::String(value);
    }
    Ok(())
}

/// The value a reference means.
pub async fn get(reference: &SecretRef, store: &dyn SecretStore) -> Result<String> {
    let values = store.get(&reference.key, SecretOptions::default()).await?;
    let field = reference.field.as_ref().unwrap_or(&reference.key);
    let value = values.get(field).ok_or_else(|| {
        let names: Vec<&str> = values.keys().map(String::as_str).collect();
        let message = format!("the secret has no value '{field}'; it has: {}", names.join(", "));
        Error::invalid(message).with("store", &reference.store).with("key", &reference.key)
    })?;
    Ok(value.expose().clone())
}

fn place<'s>(settings: &'s mut Settings, path: &[Step]) -> Option<&'s mut Value> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(settings.get_mut(first)?, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(i) => value.get_mut(i),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(json: Value) -> Settings {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn references_are_found_at_any_depth() {
        let settings = settings(json!({
            "password": {"secretRef": {"store": "vault", "key": "db"}},
            "hosts": [{"token": {"secretRef": {"store": "vault", "key": "t", "field": "f"}}}],
            "broken": {"secretRef": {"store": "vault"}},
            "crowded": {"secretRef": {"store": "vault", "key": "k"}, "else": 1},
            "plain": {"store": "vault", "key": "k"},
        }));
        let found = references(&settings);
        let paths: Vec<String> = found.iter().map(|(path, _)| crate::config::node::dotted(path)).collect();
        assert_eq!(paths, ["broken", "crowded", "hosts[0].token", "password"]);
        assert_eq!(found[0].1.as_ref().unwrap_err(), "the key `key` is required");
        assert!(found[1].1.as_ref().unwrap_err().contains("stands alone"));
        assert_eq!(found[2].1.as_ref().unwrap().field.as_deref(), Some("f"));
    }

    #[test]
    fn what_is_filled_in_reads_as_text_and_number() {
        let mut settings = settings(json!({"a": [{"secretRef": {}}], "b": {"c": {"secretRef": 1}}, "d": 1}));
        fill_in(&mut settings);
        assert_eq!(Value::Object(settings), json!({"a": ["0"], "b": {"c": "0"}, "d": 1}));
    }
}
