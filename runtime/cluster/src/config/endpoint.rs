//! Where endpoints come from.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use outrigger_http::Problem;
use outrigger_net::Address;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The largest weight, so that shares stay exact and schedules short.
pub(super) const MAX_WEIGHT: u32 = 1_000;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// Where it listens.
    Address(Address),
    /// In this process: a function, by its name.
    Function(Box<str>),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Function(name) => write!(f, "function:{name}"),
        }
    }
}

/// One endpoint: an address alone, or with a weight; or a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct EndpointConfig {
    /// Where it is.
    #[serde(flatten)]
    pub location: Location,
    /// Its share of the traffic relative to the others, 1 to 1000. Default 1.
    pub weight: u32,
}

impl EndpointConfig {
    /// Where it listens, unless it is a function.
    pub fn address(&self) -> Option<&Address> {
        match &self.location {
            Location::Address(address) => Some(address),
            Location::Function(_) => None,
        }
    }
}

impl From<Address> for EndpointConfig {
    fn from(address: Address) -> Self {
        Self { location: Location::Address(address), weight: 1 }
    }
}

/// The long form. Read through a visitor and not an untagged enum, which would swallow the reason.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Long {
    /// Where it listens. This or `function`.
    address: Option<Address>,
    /// A function of this process: its name. One that is not there yet is passed over; alone it is like an endpoint that
    /// refuses connections. It gets requests from the moment it is there.
    function: Option<Box<str>>,
    /// Its share of the traffic relative to the others, 1 to 1000. Default 1.
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for EndpointConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = EndpointConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an address such as \"127.0.0.1:80\", { address, weight } or { function, weight }",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EndpointConfig, E> {
                text.parse::<Address>().map(EndpointConfig::from).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointConfig, A::Error> {
                let Long { address, function, weight } = Long::deserialize(MapAccessDeserializer::new(map))?;
                let location = match (address, function) {
                    (Some(address), None) => Location::Address(address),
                    (None, Some(name)) => Location::Function(name),
                    _ => return Err(A::Error::custom("an endpoint is either an address or a function")),
                };
                Ok(EndpointConfig { location, weight })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for EndpointConfig {
    fn schema_name() -> Cow<'static, str> {
        "EndpointConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (short, long) = (generator.subschema_for::<Address>(), generator.subschema_for::<Long>());
        json_schema!({ "anyOf": [short, long] })
    }
}

/// What cannot work in a list of endpoints.
pub(super) fn problems(endpoints: &[EndpointConfig]) -> Vec<Problem> {
    let (mut problems, mut seen) = (Vec::new(), HashSet::new());
    for (index, endpoint) in endpoints.iter().enumerate() {
        if !(1..=MAX_WEIGHT).contains(&endpoint.weight) {
            problems.push(Problem::new(format!("endpoints.{index}.weight"), "must be between 1 and 1000"));
        }
        match &endpoint.location {
            Location::Address(address) if address.port() == Some(0) => {
                problems.push(Problem::new(format!("endpoints.{index}"), "port 0 cannot be connected to"));
            }
            Location::Function(name) if !is_name(name) => {
                let message =
                    format!("'{name}' cannot be a function's name: lower-case letters, digits and dashes");
                problems.push(Problem::new(format!("endpoints.{index}.function"), message));
            }
            _ => {}
        }
        if !seen.insert(&endpoint.location) {
            let message = format!("{} is listed twice; give it a weight instead", endpoint.location);
            problems.push(Problem::new(format!("endpoints.{index}"), message));
        }
    }
    problems
}

/// Whether a function can be called that.
fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-')
        && name.len() <= 63
}

/// Endpoints are the addresses of a name, kept up to date. The last good answer stays while DNS fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// A host name, looked up in `/etc/hosts` first.
    pub name: String,
    /// The port of every endpoint.
    pub port: u16,
    /// Looks again after this long whatever the record's TTL. Default: the TTL, between 1 s and 5 min.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub refresh: Option<Duration>,
}

impl DnsConfig {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if hickory_resolver::proto::rr::Name::from_utf8(&self.name).is_err() || self.name.is_empty() {
            problems.push(Problem::new("name", format!("'{}' is not a host name", self.name)));
        }
        if self.port == 0 {
            problems.push(Problem::new("port", "port 0 cannot be connected to"));
        }
        if self.refresh.is_some_and(|refresh| refresh < Duration::from_millis(100)) {
            problems.push(Problem::new("refresh", "must be at least 100ms"));
        }
        problems
    }
}
