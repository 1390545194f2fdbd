//! The effective configuration for people and for `/config`: defaults included, origins known, secrets masked.

use outrigger_component_api::Registry;
use serde_json::Value as Json;

use super::{
    Loaded,
    node::{Node, Origin, Value},
};

const MASK: &str = "***";

/// Everything in force, with secrets masked. What came from `${env:…}` is shown as it was written.
pub fn effective(loaded: &Loaded, registry: &Registry) -> Json {
    // Serializing plain structs with text keys cannot fail; a dump with nothing in it would be noticed.
    let mut json = serde_json::to_value(&loaded.config).unwrap_or_default();
    mask(&mut json, Some(&loaded.tree), "");
    for (name, component) in &loaded.config.components {
        let Ok(info) = registry.find(&component.r#type) else { continue };
        let schema = (info.schema)();
        let settings = json.pointer_mut(&format!("/components/{}/settings", escape(name)));
        let Some(Json::Object(settings)) = settings else { continue };
        for (key, value) in settings {
            let secret = schema.pointer(&format!("/properties/{}/writeOnly", escape(key)));
            let literal = value.as_str().is_some_and(|text| !text.contains("${env:")) || value.is_number();
            if secret.is_some() && literal {
                *value = MASK.into();
            }
        }
    }
    json
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Masks by what a key is called: a type's own marks come on top, but a component that forgot one must not leak.
fn mask(json: &mut Json, tree: Option<&Node>, key: &str) {
    if let Some(Node { value: Value::Text(text), .. }) = tree
        && let Some(written) = &text.written
    {
        *json = Json::String(written.clone());
        return;
    }
    match json {
        Json::Object(map) => map.iter_mut().for_each(|(k, v)| mask(v, tree.and_then(|t| t.get(k)), k)),
        Json::Array(items) => {
            let nodes = match tree.map(|t| &t.value) {
                Some(Value::List(nodes)) => nodes.as_slice(),
                _ => &[],
            };
            items.iter_mut().enumerate().for_each(|(i, item)| mask(item, nodes.get(i), key));
        }
        Json::String(_) | Json::Number(_) if is_secret(key) => *json = MASK.into(),
        _ => {}
    }
}

/// Whether what stands at the end of a path may be secret, so that an error must not quote it.
pub fn holds_secret<'k>(keys: impl IntoIterator<Item = &'k str>) -> bool {
    keys.into_iter().any(|key| is_secret(key) || matches!(key, "tokens" | "headers" | "secrets"))
}

fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 10] = [
        "password",
        "passwd",
        "token",
        "apikey",
        "accesskey",
        "privatekey",
        "clientkey",
        "connectionstring",
        "authorization",
        "cookie",
    ];
    let key: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    key.ends_with("secret") || WORDS.iter().any(|word| key.ends_with(word))
}

/// One line a value: `path: value  # origin`.
pub fn with_origins(loaded: &Loaded, registry: &Registry) -> String {
    let mut out = String::new();
    lines(&effective(loaded, registry), Some(&loaded.tree), "", &mut out);
    out
}

fn lines(json: &Json, tree: Option<&Node>, path: &str, out: &mut String) {
    match json {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                lines(value, tree.and_then(|t| t.get(key)), &path, out);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                let node = tree.and_then(|t| match &t.value {
                    Value::List(nodes) => nodes.get(i),
                    _ => None,
                });
                lines(item, node, &format!("{path}[{i}]"), out);
            }
        }
        scalar => {
            let origin = tree.map_or(&Origin::Default, |t| &t.at);
            out.push_str(&format!("{path}: {scalar}  # {origin}\n"));
        }
    }
}

/// The same as YAML.
pub fn yaml(json: &Json) -> String {
    let mut out = String::new();
    write_yaml(json, 0, &mut out);
    out
}

fn write_yaml(json: &Json, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let mut entry = |head: String, value: &Json| {
        out.push_str(&head);
        match value {
            Json::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_yaml(value, depth + 1, out);
            }
            Json::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_yaml(value, depth + 1, out);
            }
            scalar => out.push_str(&format!(" {}\n", plain(scalar))),
        }
    };
    match json {
        Json::Object(map) => {
            map.iter().for_each(|(k, v)| entry(format!("{indent}{}:", plain(&Json::String(k.clone()))), v));
        }
        Json::Array(items) => items.iter().for_each(|v| entry(format!("{indent}-"), v)),
        scalar => out.push_str(&format!("{}\n", plain(scalar))),
    }
}

/// A text stays without quotes where no reader could take it for anything else.
fn plain(scalar: &Json) -> String {
    match scalar {
        Json::String(text) => {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
            let safe =
                text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && text.chars().all(word);
            let reserved = ["true", "false", "null", "yes", "no", "on", "off"];
            let bare = safe && !reserved.contains(&text.to_ascii_lowercase().as_str());
            if bare { text.clone() } else { scalar.to_string() }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::span;
    use serde_json::json;

    #[test]
    fn names_that_promise_a_secret_are_masked() {
        let mut json = json!({
            "password": "x", "redisPassword": "x", "api_token": 7, "clientSecret": "x", "token": null,
            "secretRef": {"store": "vault", "key": "db"}, "keyPrefix": "none", "list": [{"apiKey": "x"}],
        });
        mask(&mut json, None, "");
        assert_eq!(
            json,
            json!({
                "password": "***", "redisPassword": "***", "api_token": "***", "clientSecret": "***", "token": null,
                "secretRef": {"store": "vault", "key": "db"}, "keyPrefix": "none", "list": [{"apiKey": "***"}],
            })
        );
    }

    #[test]
    fn what_came_from_the_environment_is_shown_as_written() {
        let tree =
            span::parse(Path::new("f"), "a: {dsn: 'x${env:A}'}", &|_| Some("hidden".to_owned())).unwrap();
        let mut json = tree.to_json();
        assert_eq!(json["a"]["dsn"], "xhidden");
        mask(&mut json, Some(&tree), "");
        assert_eq!(json["a"]["dsn"], "x${env:A}");
    }

    #[test]
    fn the_yaml_we_write_is_the_yaml_we_read() {
        let json = json!({"a": {"b": [1, {"c": "yes"}, [], "x: y"], "d": {}}, "5": null, "e": "127.0.0.1:80", "f": ""});
        let text = yaml(&json);
        assert_eq!(span::parse(Path::new("f"), &text, &|_| None).unwrap().to_json(), json, "{text}");
    }
}
