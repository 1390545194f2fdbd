//! Reading a component's settings: strict about names, lenient about how a value is spelled.
//!
//! Our own format gives typed values; Layotto's and Dapr's give strings for everything, and spell names in any case.
//! Both go through [`parse`], so a backend's `Config` is an ordinary serde struct: where it wants a number or a
//! boolean, a string that reads as one will do, and where it wants a string, a number or boolean is taken as written.
//! (Fields behind `flatten` or an untagged enum are out of serde's reach here and stay strict.)

use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error as JsonError, Value};

use crate::{Error, Result};

/// A component's settings as configured.
pub type Settings = serde_json::Map<String, Value>;

/// Reads settings as a backend's config. The error names the setting and says what it should have been.
pub fn parse<T: DeserializeOwned>(settings: Settings) -> Result<T> {
    serde_path_to_error::deserialize(Lenient(Value::Object(settings))).map_err(|error| {
        let path = error.path().to_string();
        let error = Error::invalid(error.into_inner().to_string());
        if path == "." { error } else { error.with("setting", path) }
    })
}

/// A JSON value that converts between scalars where the target asks for another one than it holds.
struct Lenient(Value);

impl Lenient {
    /// The value a string stands for, if it reads as `T`.
    fn read<T: std::str::FromStr>(text: &str, wanted: &str) -> Result<T, JsonError>
    where
        T::Err: Display,
    {
        text.trim()
            .parse()
            .map_err(|_| JsonError::custom(format_args!("invalid value: {text:?}, expected {wanted}")))
    }
}

macro_rules! from_string {
    ($($method:ident $visit:ident $type:ty, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            match self.0 {
                Value::String(text) => visitor.$visit(Self::read::<$type>(&text, $wanted)?),
                other => other.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = JsonError;

    from_string! {
        deserialize_i8 visit_i64 i64, "a whole number";
        deserialize_i16 visit_i64 i64, "a whole number";
        deserialize_i32 visit_i64 i64, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u64 u64, "a whole number, not negative";
        deserialize_u16 visit_u64 u64, "a whole number, not negative";
        deserialize_u32 visit_u64 u64, "a whole number, not negative";
        deserialize_u64 visit_u64 u64, "a whole number, not negative";
        deserialize_f32 visit_f64 f64, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    /// The spellings Go's `strconv.ParseBool` takes and the `yes`/`no`, `on`/`off` of Dapr's metadata.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "1" | "yes" | "y" | "on" => visitor.visit_bool(true),
                "false" | "f" | "0" | "no" | "n" | "off" => visitor.visit_bool(false),
                _ => Err(JsonError::custom(format_args!("invalid value: {text:?}, expected true or false"))),
            },
            other => other.deserialize_bool(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Number(number) => visitor.visit_string(number.to_string()),
            Value::Bool(value) => visitor.visit_string(value.to_string()),
            other => other.deserialize_string(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    /// Known names are matched without regard to case.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let Value::Object(map) = self.0 else { return self.0.deserialize_struct(name, fields, visitor) };
        let known = |key: String| {
            let known = fields.iter().find(|field| field.eq_ignore_ascii_case(&key));
            known.map_or(key, |field| (*field).to_owned())
        };
        visitor
            .visit_map(MapDeserializer::new(map.into_iter().map(|(key, value)| (known(key), Lenient(value)))))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Lenient))),
            Value::Object(map) => visitor
                .visit_map(MapDeserializer::new(map.into_iter().map(|(key, value)| (key, Lenient(value))))),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, JsonError> for Lenient {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::Secret;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Config {
        host: String,
        max_retries: u32,
        offset: i64,
        ratio: f64,
        enable_tls: bool,
        limit: Option<u64>,
        password: Secret,
        mode: Mode,
        hosts: Vec<u16>,
        labels: BTreeMap<String, bool>,
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Full,
        Off,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        port: u16,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                host: "localhost".to_owned(),
                max_retries: 3,
                offset: 0,
                ratio: 0.0,
                enable_tls: false,
                limit: None,
                password: Secret::default(),
                mode: Mode::Full,
                hosts: Vec::new(),
                labels: BTreeMap::new(),
                inner: Inner::default(),
            }
        }
    }

    fn read(value: Value) -> Result<Config> {
        match value {
            Value::Object(settings) => parse(settings),
            other => panic!("not an object: {other}"),
        }
    }

    #[test]
    fn strings_and_typed_values_read_the_same() {
        let typed = json!({
            "host": "db", "maxRetries": 5, "offset": -2, "ratio": 0.5, "enableTls": true, "limit": 9,
            "password": "1234", "mode": "off", "hosts": [1, 2], "labels": {"a": true}, "inner": {"port": 80}
        });
        let strings = json!({
            "host": "db", "maxretries": " 5", "OFFSET": "-2", "ratio": "0.5", "enableTLS": "yes", "limit": "9",
            "password": 1234, "mode": "off", "hosts": ["1", 2], "labels": {"a": "1"}, "inner": {"Port": "80"}
        });
        assert_eq!(read(typed).expect("typed"), read(strings).expect("strings"));
        assert_eq!(read(json!({})).expect("defaults"), Config::default());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let check = |value: Value, expected: &str| {
            assert_eq!(read(value).expect_err("refused").to_string(), expected);
        };
        check(
            json!({"maxRetries": "many"}),
            r#"invalid value: "many", expected a whole number, not negative (setting=maxRetries)"#,
        );
        check(json!({"maxRetries": -1}), "invalid value: integer `-1`, expected u32 (setting=maxRetries)");
        check(
            json!({"enableTls": "maybe"}),
            r#"invalid value: "maybe", expected true or false (setting=enableTls)"#,
        );
        check(
            json!({"inner": {"port": "65536"}}),
            "invalid value: integer `65536`, expected u16 (setting=inner.port)",
        );
        check(json!({"mode": "half"}), "unknown variant `half`, expected `full` or `off` (setting=mode)");
        check(json!({"host": ["a"]}), "invalid type: sequence, expected a string (setting=host)");
        let unknown = read(json!({"hots": "db"})).expect_err("refused").to_string();
        assert!(
            unknown.starts_with("unknown field `hots`, expected one of `host`, `maxRetries`"),
            "{unknown}"
        );
    }

    #[test]
    fn one_setting_twice_is_refused() {
        let error = read(json!({"host": "a", "HOST": "b"})).expect_err("refused").to_string();
        assert!(error.starts_with("duplicate field `host`"), "{error}");
    }
}
