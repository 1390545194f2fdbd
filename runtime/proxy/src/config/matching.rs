//! What a route asks of a request, as written in the configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// One way to match: everything named here must hold. An empty match accepts every request of the route's hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// The path, without the query. Default: any path.
    pub path: Option<PathMatch>,
    /// The method, in upper case as on the wire (`GET`). Default: any method.
    pub method: Option<String>,
    /// Request headers by name (any case). Several values of one header are joined with `, ` before they are compared.
    pub headers: BTreeMap<String, ValueMatch>,
    /// Query parameters by name (case matters, percent-decoded). The first value counts when a parameter is repeated.
    pub query: BTreeMap<String, ValueMatch>,
    /// A gRPC service or method: matches `POST` with content type `application/grpc*`. Excludes `path` and `method`.
    pub grpc: Option<GrpcMatch>,
}

/// How the path is compared. Paths written here are in canonical form: no dot segments, no repeated slashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// The whole path, byte for byte.
    Exact(String),
    /// Whole segments: `/cart` matches `/cart`, `/cart/` and `/cart/items`, not `/carts`. A trailing slash is ignored.
    Prefix(String),
    /// A regular expression over the whole path (linear time; no look-around, no back-references; at most 1,024 bytes).
    Regex(String),
    /// Segments with blanks: `{name}` stands for one segment, a final `*` for whatever follows its slash:
    /// `/users/{id}/*` matches `/users/7/` and `/users/7/orders/1`.
    Template(String),
}

/// A gRPC service, method or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcMatch {
    /// Full service name, `shop.v1.Cart`. Default: any service.
    pub service: Option<String>,
    /// Method name, `AddItem`. Default: any method.
    pub method: Option<String>,
}

/// How one header or query value is compared. `x-env: canary` is short for `x-env: { exact: canary }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ValueMatch {
    /// The value equals this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// The whole value matches this regular expression (linear time, at most 1,024 bytes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// `true`: the field is there, whatever its value. `false`: it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// Turns the answer round. A missing field then matches, as it does not have the value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}

impl ValueMatch {
    /// The short form: this very value.
    pub fn exact(value: impl Into<String>) -> Self {
        Self { exact: Some(value.into()), ..Self::default() }
    }
}

/// The long form of [`ValueMatch`], for serde and the schema.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct LongForm {
    /// The value equals this.
    exact: Option<String>,
    /// The whole value matches this regular expression (linear time, at most 1,024 bytes).
    regex: Option<String>,
    /// `true`: the field is there, whatever its value. `false`: it is absent.
    present: Option<bool>,
    /// Turns the answer round.
    invert: bool,
}

impl<'de> Deserialize<'de> for ValueMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherForm)
    }
}

struct EitherForm;

impl<'de> Visitor<'de> for EitherForm {
    type Value = ValueMatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or a map with `exact`, `regex`, `present` or `invert`")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ValueMatch, E> {
        Ok(ValueMatch::exact(value))
    }

    // YAML reads `x-debug: 1` and `x-debug: true` as what they look like; on the wire they are text.
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ValueMatch, E> {
        Ok(ValueMatch::exact(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ValueMatch, E> {
        Ok(ValueMatch::exact(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ValueMatch, E> {
        Ok(ValueMatch::exact(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ValueMatch, A::Error> {
        let LongForm { exact, regex, present, invert } =
            LongForm::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ValueMatch { exact, regex, present, invert })
    }
}

impl JsonSchema for ValueMatch {
    fn schema_name() -> Cow<'static, str> {
        "ValueMatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = LongForm::json_schema(generator);
        schemars::json_schema!({
            "description": "How one header or query value is compared; a plain value is short for `exact`.",
            "anyOf": [{ "type": ["string", "integer", "boolean"] }, long]
        })
    }
}
