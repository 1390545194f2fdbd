//! Nested JSON as flat names: `{"db": {"hosts": ["a"]}}` is `db:hosts:0`.

use std::collections::BTreeMap;

use outrigger_component_api::{Error, Result, Secret, SecretValues};
use serde_json::{Map, Value};

/// Every secret of a file by name.
///
/// Flat, each leaf is a secret of one value, named by its path. `multi_valued`, each top-level name is a secret and
/// the paths below it name its values.
pub(crate) fn secrets(
    file: Map<String, Value>,
    separator: &str,
    multi_valued: bool,
) -> Result<BTreeMap<String, SecretValues>> {
    let mut secrets = BTreeMap::new();
    if multi_valued {
        for (name, value) in file {
            let mut values = SecretValues::new();
            match value {
                value @ (Value::Object(_) | Value::Array(_)) => {
                    leaves(String::new(), value, separator, &mut values)?
                }
                scalar => leaves(name.clone(), scalar, separator, &mut values)?,
            }
            secrets.insert(name, values);
        }
    } else {
        let mut values = SecretValues::new();
        leaves(String::new(), Value::Object(file), separator, &mut values)?;
        secrets.extend(
            values.into_iter().map(|(name, value)| (name.clone(), SecretValues::from([(name, value)]))),
        );
    }
    Ok(secrets)
}

fn leaves(path: String, value: Value, separator: &str, into: &mut SecretValues) -> Result<()> {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}{separator}{name}") };
    let text = match value {
        Value::Object(map) => {
            return map
                .into_iter()
                .try_for_each(|(name, value)| leaves(below(&name), value, separator, into));
        }
        Value::Array(items) => {
            let mut items = items.into_iter().enumerate();
            return items.try_for_each(|(i, value)| leaves(below(&i.to_string()), value, separator, into));
        }
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
    };
    match into.insert(path.clone(), Secret::new(text)) {
        None => Ok(()),
        // {"a:b": 1, "a": {"b": 2}}: whichever we took, the other would be wrong without a word.
        Some(_) => Err(Error::invalid("two secrets have the same name; choose another nestedSeparator")
            .with("secret", path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(file: Value, multi_valued: bool) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let Value::Object(file) = file else { panic!("not an object") };
        let plain = |values: SecretValues| {
            values.into_iter().map(|(name, value)| (name, value.expose().clone())).collect()
        };
        Ok(secrets(file, ":", multi_valued)?
            .into_iter()
            .map(|(name, values)| (name, plain(values)))
            .collect())
    }

    #[test]
    fn leaves_are_named_by_their_path() {
        let file = json!({"password": "x", "db": {"user": "me", "ports": [1, 2], "tls": true, "note": null}});
        let read = read(file, false).expect("reads");
        let flat: Vec<_> = read.into_values().flatten().collect();
        let expected = [
            ("db:note", ""),
            ("db:ports:0", "1"),
            ("db:ports:1", "2"),
            ("db:tls", "true"),
            ("db:user", "me"),
            ("password", "x"),
        ];
        assert_eq!(flat, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn multi_valued_secrets_keep_their_top_name() {
        let file = json!({"password": "x", "db": {"user": "me", "tls": {"key": "k"}}});
        let read = read(file, true).expect("reads");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read.get("password"), Some(&[pair("password", "x")].into()));
        assert_eq!(read.get("db"), Some(&[pair("user", "me"), pair("tls:key", "k")].into()));
    }

    #[test]
    fn names_that_fall_together_are_refused() {
        let error = read(json!({"a:b": 1, "a": {"b": 2}}), false).expect_err("refused").to_string();
        assert_eq!(error, "two secrets have the same name; choose another nestedSeparator (secret=a:b)");
    }
}
