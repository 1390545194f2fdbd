//! Settings: how to reach Redis, which every block has, and what each block adds.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use outrigger_component_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};

/// No component waits longer than this before it tries again, whatever it is told: a Redis that is back is used
/// within two seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What kind of Redis `redisHost` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedisType {
    /// One server, or the sentinels that know which one it is.
    #[default]
    Node,
    /// A Redis cluster.
    Cluster,
}

/// Writes a config: the settings of every block, which a flattened struct could not read as leniently, then its own.
macro_rules! config {
    (
        $(#[$about:meta])* $name:ident {
            $($(#[$meta:meta])* $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
        pub struct $name {
            /// The server as `host:port`; for a cluster or for sentinels, some of them separated by commas. Default:
            /// `localhost:6379`.
            pub redis_host: String,
            /// The port where `redisHost` has none. Default: 6379, for sentinels 26379.
            pub redis_port: Option<u16>,
            /// The ACL user. Default: none, which is Redis' user `default`.
            pub redis_username: Option<String>,
            /// The password of the user, or of the server (`requirepass`).
            pub redis_password: Option<Secret>,
            /// The number of the database; a cluster has only 0.
            #[serde(rename = "redisDB", alias = "db")]
            pub redis_db: u16,
            /// `node` (the default) or `cluster`.
            pub redis_type: RedisType,
            /// Connect by TLS. The server's certificate is verified, against `caCert` or else the system's roots.
            #[serde(rename = "enableTLS")]
            pub enable_tls: bool,
            /// The certificates that are trusted instead of the system's: PEM, or the path of a file of it.
            pub ca_cert: Option<String>,
            /// The certificate to show to the server: PEM, or the path of a file of it.
            pub client_cert: Option<String>,
            /// The private key of `clientCert`: PEM, or the path of a file of it.
            pub client_key: Option<Secret>,
            /// `redisHost` names sentinels: they are asked which server is the master, again whenever it is lost.
            pub failover: bool,
            /// The name the sentinels know the master by; needed for `failover`.
            pub sentinel_master_name: Option<String>,
            /// The ACL user at the sentinels.
            pub sentinel_username: Option<String>,
            /// The password at the sentinels.
            pub sentinel_password: Option<Secret>,
            /// How often a call tries again to connect before it fails, and follows a cluster's redirections.
            /// Default: 3.
            #[serde(alias = "maxRetries")]
            pub redis_max_retries: u32,
            /// The pause after the first attempt to connect; it doubles with each. Default: 8ms.
            #[serde(deserialize_with = "duration", serialize_with = "humantime_serde::serialize")]
            #[schemars(with = "String")]
            pub redis_min_retry_interval: Duration,
            /// The longest pause between attempts, and how long calls fail at once after the last of them. Default:
            /// 512ms; never more than a second.
            #[serde(alias = "maxRetryBackoff", deserialize_with = "duration", serialize_with = "humantime_serde::serialize")]
            #[schemars(with = "String")]
            pub redis_max_retry_interval: Duration,
            /// How long connecting may take, handshake and attempts included. Default: 5s.
            #[serde(deserialize_with = "duration", serialize_with = "humantime_serde::serialize")]
            #[schemars(with = "String")]
            pub dial_timeout: Duration,
            /// How long Redis may take to answer a command. Default: 3s.
            #[serde(deserialize_with = "duration", serialize_with = "humantime_serde::serialize")]
            #[schemars(with = "String")]
            pub read_timeout: Duration,
            $($(#[$meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    redis_host: "localhost:6379".to_owned(),
                    redis_port: None,
                    redis_username: None,
                    redis_password: None,
                    redis_db: 0,
                    redis_type: RedisType::Node,
                    enable_tls: false,
                    ca_cert: None,
                    client_cert: None,
                    client_key: None,
                    failover: false,
                    sentinel_master_name: None,
                    sentinel_username: None,
                    sentinel_password: None,
                    redis_max_retries: 3,
                    redis_min_retry_interval: Duration::from_millis(8),
                    redis_max_retry_interval: Duration::from_millis(512),
                    dial_timeout: Duration::from_secs(5),
                    read_timeout: Duration::from_secs(3),
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            pub(crate) fn server(&self) -> Server<'_> {
                Server {
                    hosts: &self.redis_host,
                    port: self.redis_port,
                    username: self.redis_username.as_deref(),
                    password: self.redis_password.as_ref(),
                    db: self.redis_db,
                    r#type: self.redis_type,
                    tls: self.enable_tls.then_some(Tls {
                        ca: self.ca_cert.as_deref(),
                        certificate: self.client_cert.as_deref(),
                        key: self.client_key.as_ref(),
                    }),
                    has_certificates: self.ca_cert.is_some()
                        || self.client_cert.is_some()
                        || self.client_key.is_some(),
                    failover: self.failover,
                    master: self.sentinel_master_name.as_deref(),
                    sentinel_username: self.sentinel_username.as_deref(),
                    sentinel_password: self.sentinel_password.as_ref(),
                    pace: Pace {
                        retries: self.redis_max_retries,
                        first_pause: self.redis_min_retry_interval.min(LONGEST_PAUSE),
                        longest_pause: self.redis_max_retry_interval.min(LONGEST_PAUSE),
                        dial: self.dial_timeout,
                        answer: self.read_timeout,
                    },
                }
            }
        }
    };
}

config! {
    /// Settings of the blocks that add none of their own.
    RedisConfig {}
}

config! {
    /// Settings of `state.redis`.
    RedisStateConfig {
        /// The time to live of entries that are written without one, in seconds. Default: for ever.
        ttl_in_seconds: Option<u64> = None,
    }
}

config! {
    /// Settings of `pubsub.redis`.
    RedisPubSubConfig {
        /// The consumer group of every subscription, instead of the application's id.
        #[serde(rename = "consumerID")]
        consumer_id: Option<String> = None,
        /// How long a message may stay unsettled before another member of the group gets it. Default: what the
        /// subscription asks for.
        #[serde(deserialize_with = "some_duration", serialize_with = "humantime_serde::option::serialize")]
        #[schemars(with = "Option<String>")]
        processing_timeout: Option<Duration> = None,
        /// How often to look for messages that have been unsettled for too long, at the least. Default: when the next
        /// one may be due.
        #[serde(deserialize_with = "some_duration", serialize_with = "humantime_serde::option::serialize")]
        #[schemars(with = "Option<String>")]
        redeliver_interval: Option<Duration> = None,
        /// The most messages that are fetched at once. Default: 100.
        queue_depth: NonZeroU32 = NonZeroU32::MIN.saturating_add(99),
        /// The most messages a subscription has in hand at once. Default: what the subscription asks for.
        concurrency: Option<NonZeroU32> = None,
        /// Keep about this many messages of each topic, whether they were delivered or not. Default: all.
        max_len_approx: Option<u64> = None,
    }
}

/// How to reach Redis, as configured.
pub(crate) struct Server<'c> {
    pub(crate) hosts: &'c str,
    pub(crate) port: Option<u16>,
    pub(crate) username: Option<&'c str>,
    pub(crate) password: Option<&'c Secret>,
    pub(crate) db: u16,
    pub(crate) r#type: RedisType,
    pub(crate) tls: Option<Tls<'c>>,
    pub(crate) has_certificates: bool,
    pub(crate) failover: bool,
    pub(crate) master: Option<&'c str>,
    pub(crate) sentinel_username: Option<&'c str>,
    pub(crate) sentinel_password: Option<&'c Secret>,
    pub(crate) pace: Pace,
}

/// Whom to trust, and who we are.
pub(crate) struct Tls<'c> {
    pub(crate) ca: Option<&'c str>,
    pub(crate) certificate: Option<&'c str>,
    pub(crate) key: Option<&'c Secret>,
}

/// How long to wait and how often to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) retries: u32,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) dial: Duration,
    pub(crate) answer: Duration,
}

impl Pace {
    /// The pause after an attempt, counted from 0.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        self.first_pause.saturating_mul(1 << attempt.min(16)).min(self.longest_pause)
    }
}

/// A duration as people write it (`1m30s`), or a bare number of milliseconds as the ecosystem has it.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as 500ms, 3s or 1m30s")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
            match text.trim().parse() {
                Ok(millis) => Ok(Duration::from_millis(millis)),
                Err(_) => humantime::parse_duration(text.trim())
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_u64<E: serde::de::Error>(self, millis: u64) -> Result<Duration, E> {
            Ok(Duration::from_millis(millis))
        }
    }

    let duration = deserializer.deserialize_str(Text)?;
    if duration.is_zero() { Err(D::Error::custom("a duration of zero leaves no time")) } else { Ok(duration) }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::{Settings, parse_settings};

    use super::*;

    fn read(json: serde_json::Value) -> outrigger_component_api::Result<RedisStateConfig> {
        let settings: Settings = json.as_object().cloned().expect("an object");
        parse_settings(settings)
    }

    #[test]
    fn settings_read_as_documented() {
        let strings = serde_json::json!({
            "redisHost": "db:6380", "redisPassword": "x", "redisDB": "2", "enableTLS": "true", "redisType": "cluster",
            "maxRetries": "5", "maxRetryBackoff": "3000000000", "dialTimeout": "1m30s", "readTimeout": 250,
            "ttlInSeconds": "60"
        });
        let expected = RedisStateConfig {
            redis_host: "db:6380".to_owned(),
            redis_password: Some("x".to_owned().into()),
            redis_db: 2,
            enable_tls: true,
            redis_type: RedisType::Cluster,
            redis_max_retries: 5,
            redis_max_retry_interval: Duration::from_millis(3_000_000_000),
            dial_timeout: Duration::from_secs(90),
            read_timeout: Duration::from_millis(250),
            ttl_in_seconds: Some(60),
            ..RedisStateConfig::default()
        };
        assert_eq!(read(strings).expect("reads"), expected);
        assert_eq!(read(serde_json::json!({})).expect("reads"), RedisStateConfig::default());
        assert_eq!(expected.server().pace.longest_pause, LONGEST_PAUSE);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let check = |json, expected: &str| {
            assert_eq!(read(json).expect_err("refused").to_string(), expected);
        };
        check(
            serde_json::json!({"dialTimeout": "soon"}),
            r#"invalid value: string "soon", expected a duration such as 500ms, 3s or 1m30s (setting=dialTimeout)"#,
        );
        check(
            serde_json::json!({"readTimeout": 0}),
            "a duration of zero leaves no time (setting=readTimeout)",
        );
        check(
            serde_json::json!({"redisType": "ring"}),
            "unknown variant `ring`, expected `node` or `cluster` (setting=redisType)",
        );
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pace = RedisConfig::default().server().pace;
        let pauses: Vec<_> = (0..8).map(|attempt| pace.pause(attempt).as_millis()).collect();
        assert_eq!(pauses, [8, 16, 32, 64, 128, 256, 512, 512]);
        assert_eq!(pace.pause(u32::MAX), Duration::from_millis(512));
    }
}
