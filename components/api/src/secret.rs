//! A value code can read and output cannot.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

const MASK: &str = "***";

/// Holds a secret: deserialized like a plain `T`, but shown as `***` by `Debug` and by serde, so that neither a log
/// line nor a config dump can carry it by accident. Reading it is a visible call of [`Secret::expose`].
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for handing to whoever needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Secret_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("writeOnly".to_owned(), true.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_output_shows_the_value() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Config {
            password: Secret,
        }
        let config: Config = serde_json::from_str(r#"{"password":"hunter2"}"#).expect("parses as a string");
        assert_eq!(config.password.expose(), "hunter2");
        assert_eq!(format!("{config:?}"), "Config { password: *** }");
        assert_eq!(serde_json::to_string(&config).expect("serializes"), r#"{"password":"***"}"#);
    }

    #[test]
    fn the_schema_marks_it_write_only() {
        let schema = schemars::schema_for!(Secret<String>);
        assert_eq!(schema.get("writeOnly"), Some(&true.into()));
        assert_eq!(schema.get("type"), Some(&"string".into()));
    }
}
