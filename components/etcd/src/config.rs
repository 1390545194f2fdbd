//! Settings, with the names the ecosystem gives them.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_component_api::{Error, Result, Secret};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Settings of every type on etcd.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EtcdConfig {
    /// The members of the cluster, `host:port` each, separated by `;` or `,` or as a list. `https://` asks for TLS.
    pub endpoints: Addresses,
    /// The same, as configuration stores are given it.
    pub address: Addresses,
    /// What stands before all keys, from `/` to `/`. Default: `/layotto/`, `/` for configuration, and
    /// `/outrigger/apps/` for the registry.
    pub key_prefix_path: Option<String>,
    /// Who we are there. Default: nobody, for a cluster without authentication.
    pub username: String,
    pub password: Secret,
    /// How long connecting may take, in seconds or as in `500ms`. Default: 5.
    #[serde(deserialize_with = "seconds", serialize_with = "humantime_serde::option::serialize")]
    #[schemars(with = "Option<String>")]
    pub dial_timeout: Option<Duration>,
    /// The same, as configuration stores are given it.
    #[serde(deserialize_with = "seconds", serialize_with = "humantime_serde::option::serialize")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// PEM file with the authorities that vouch for the cluster. With it, connections use TLS. Read at every connect.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with our certificate, for a cluster that wants to see one.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with that certificate's private key.
    pub tls_cert_key: Option<PathBuf>,
}

/// `host:port` of one or several servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<String>);

impl From<&str> for Addresses {
    fn from(text: &str) -> Self {
        let parts = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
        Self(parts.map(str::to_owned).collect())
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("addresses, as a list or separated by `;`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Addresses, E> {
                Ok(text.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Addresses, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = items.next_element::<String>()? {
                    all.extend(Addresses::from(text.as_str()).0);
                }
                Ok(Addresses(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Addresses {
    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "array"], "items": {"type": "string"}})
    }
}

/// A time that is a number of seconds, or says its unit.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Seconds;
    impl Visitor<'_> for Seconds {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of seconds, or a time such as 500ms")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
            Ok(Some(Duration::from_secs(seconds)))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let text = text.trim();
            if let Ok(seconds) = text.parse() {
                return self.visit_u64(seconds);
            }
            humantime::parse_duration(text).map(Some).map_err(|_| {
                E::custom(format_args!(
                    "invalid value: {text:?}, expected a number of seconds, or a time such as 500ms"
                ))
            })
        }
    }
    deserializer.deserialize_any(Seconds)
}

/// Settings that fit together: what a client is made from.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// With their scheme.
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<(String, Secret)>,
    pub(crate) dial_timeout: Duration,
    pub(crate) tls: Option<Tls>,
}

/// The files of a TLS connection.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) ca: PathBuf,
    /// Our certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl EtcdConfig {
    /// Holds the settings against each other.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        let wrong = |message: &'static str, setting: &'static str| {
            Err(Error::invalid(message).with("setting", setting))
        };
        let written = match (self.endpoints.0.as_slice(), self.address.0.as_slice()) {
            ([], []) => return wrong("endpoints is empty: name at least one server", "endpoints"),
            ([], address) => address,
            (endpoints, []) => endpoints,
            _ => return wrong("address says the same as endpoints: remove one of them", "address"),
        };
        if self.username.is_empty() != self.password.expose().is_empty() {
            return wrong("username and password go together: give both or none", "username");
        }
        if self.dial_timeout.is_some() && self.timeout.is_some() {
            return wrong("timeout says the same as dialTimeout: remove one of them", "timeout");
        }
        let dial_timeout = self.dial_timeout.or(self.timeout).unwrap_or(Duration::from_secs(5));
        if dial_timeout.is_zero() {
            return wrong("dialTimeout must be above 0", "dialTimeout");
        }
        let tls = self.tls(written)?;
        let endpoints = written.iter().map(|text| endpoint(text, tls.is_some())).collect::<Result<_>>()?;
        let user = (!self.username.is_empty()).then(|| (self.username.clone(), self.password.clone()));
        Ok(Cluster { endpoints, user, dial_timeout, tls })
    }

    fn tls(&self, endpoints: &[String]) -> Result<Option<Tls>> {
        let identity = match (&self.tls_cert, &self.tls_cert_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => {
                let message = "tlsCert and tlsCertKey go together: give both or none";
                return Err(Error::invalid(message).with("setting", "tlsCert"));
            }
        };
        let asked = endpoints.iter().any(|endpoint| endpoint.starts_with(HTTPS));
        match &self.tls_ca {
            Some(ca) => Ok(Some(Tls { ca: ca.clone(), identity })),
            None if asked || identity.is_some() => {
                let message = "TLS needs tlsCa: the authorities that vouch for the cluster";
                Err(Error::invalid(message).with("setting", "tlsCa"))
            }
            None => Ok(None),
        }
    }

    /// The prefix, beginning and ending with a slash.
    pub(crate) fn prefix(&self, default: &str) -> String {
        let bare = self.key_prefix_path.as_deref().unwrap_or(default).trim_matches('/');
        if bare.is_empty() { "/".to_owned() } else { format!("/{bare}/") }
    }
}

const HTTP: &str = "http://";
const HTTPS: &str = "https://";

fn endpoint(text: &str, tls: bool) -> Result<String> {
    let refuse = |message: &'static str| {
        Err(Error::invalid(message).with("setting", "endpoints").with("endpoint", text))
    };
    let bare = match (text.strip_prefix(HTTP), text.strip_prefix(HTTPS)) {
        (Some(_), _) if tls => {
            return refuse("the endpoint is without TLS, but tlsCa is given: write https://");
        }
        (Some(bare), _) | (_, Some(bare)) => bare,
        (None, None) => text,
    };
    let bare = bare.trim_end_matches('/');
    if bare.is_empty() || bare.contains(['/', '@', ' ']) {
        return refuse("the endpoint is malformed: expected host:port");
    }
    let has_port = bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if has_port { "" } else { ":2379" };
    Ok(format!("{}{bare}{port}", if tls { HTTPS } else { HTTP }))
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::{Settings, parse_settings};
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<EtcdConfig> {
        let settings: Settings = json.as_object().cloned().expect("an object");
        parse_settings(settings)
    }

    #[test]
    fn settings_read_as_existing_files_write_them() {
        let lock = json!({"endpoints": "a:1;b:2, c:3", "keyPrefixPath": "/lock", "username": "", "password": "",
            "dialTimeout": "5"});
        let config = read(lock).expect("read");
        assert_eq!(config.endpoints, "a:1;b:2;c:3".into());
        assert_eq!(
            (config.dial_timeout, config.prefix("/layotto/")),
            (Some(Duration::from_secs(5)), "/lock/".to_owned())
        );
        let store = read(json!({"address": ["a:1", "b:2"], "timeout": 10})).expect("read");
        let cluster = store.cluster().expect("fits");
        assert_eq!(cluster.endpoints, ["http://a:1", "http://b:2"]);
        assert_eq!((cluster.dial_timeout, cluster.user.is_none()), (Duration::from_secs(10), true));
        assert_eq!(
            read(json!({"dialTimeout": "250ms"})).expect("read").dial_timeout,
            Some(Duration::from_millis(250))
        );
    }

    #[test]
    fn a_prefix_is_a_path() {
        let check = |setting: Option<&str>, expected: &str| {
            let config = EtcdConfig { key_prefix_path: setting.map(str::to_owned), ..EtcdConfig::default() };
            assert_eq!(config.prefix("/layotto/"), expected, "{setting:?}");
        };
        check(None, "/layotto/");
        check(Some(""), "/");
        check(Some("/"), "/");
        check(Some("a/b"), "/a/b/");
        check(Some("/a/"), "/a/");
    }

    #[test]
    fn endpoints_get_scheme_and_port() {
        let check = |text: &str, tls: bool, expected: Option<&str>| {
            assert_eq!(endpoint(text, tls).ok().as_deref(), expected, "{text} {tls}");
        };
        check("localhost", false, Some("http://localhost:2379"));
        check("http://a:1/", false, Some("http://a:1"));
        check("a:1", true, Some("https://a:1"));
        check("https://a", true, Some("https://a:2379"));
        check("[::1]:7", false, Some("http://[::1]:7"));
        check("http://a:1", true, None);
        check("http://", false, None);
        check("a/b", false, None);
        check("me@a:1", false, None);
    }

    #[test]
    fn what_does_not_fit_together_names_the_setting() {
        let check = |json: serde_json::Value, setting: &str| {
            let error = read(json.clone()).expect("reads").cluster().expect_err("refused");
            let named = error.context().iter().any(|(name, value)| *name == "setting" && value == setting);
            assert!(named, "{json}: {error}");
        };
        check(json!({}), "endpoints");
        check(json!({"endpoints": "a", "address": ["a"]}), "address");
        check(json!({"endpoints": "a", "username": "u"}), "username");
        check(json!({"endpoints": "a", "password": "p"}), "username");
        check(json!({"endpoints": "a", "dialTimeout": 0}), "dialTimeout");
        check(json!({"endpoints": "a", "dialTimeout": 1, "timeout": 1}), "timeout");
        check(json!({"endpoints": "https://a"}), "tlsCa");
        check(json!({"endpoints": "a", "tlsCert": "x", "tlsCertKey": "y"}), "tlsCa");
        check(json!({"endpoints": "a", "tlsCa": "x", "tlsCert": "x"}), "tlsCert");
        read(json!({"endpoints": 5})).expect_err("refused");
        read(json!({"dialTimeout": "soon"})).expect_err("refused");
    }
}
