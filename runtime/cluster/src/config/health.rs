//! How endpoints are judged: by asking them, and by what they answer to real requests.

use std::time::Duration;

use outrigger_http::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which endpoints may be used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Ask each endpoint from time to time. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveConfig>,
    /// Watch the answers to real requests. Default: on.
    pub passive: PassiveConfig,
    /// When fewer than this share of the endpoints is usable, use all of them rather than crush the few.
    /// Default: never; with no usable endpoint a request is refused at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold_percent: Option<u8>,
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActiveConfig {
    /// What to ask.
    #[serde(rename = "type")]
    pub probe: Probe,
    /// The path of an HTTP check. Default `/`.
    #[serde(default = "root")]
    pub path: String,
    /// The `Host` of an HTTP check. Default: the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The service named in a gRPC check. Default: empty, the server as a whole.
    #[serde(default)]
    pub service: String,
    /// Time between two checks, give or take a tenth. Default 5 s.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// Time for an answer. Default 1 s.
    #[serde(default = "one_second", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Good answers in a row that bring an endpoint back. Default 2; the first check after start counts in
    /// full.
    #[serde(default = "two")]
    pub healthy: u32,
    /// Bad answers in a row that take an endpoint out. Default 3.
    #[serde(default = "three")]
    pub unhealthy: u32,
}

/// The kinds of active check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A connection can be made, TLS handshake included where the cluster uses it.
    Tcp,
    /// `GET path` answers 2xx or 3xx, in the cluster's protocol.
    Http,
    /// `grpc.health.v1.Health/Check` answers `SERVING`.
    Grpc,
}

fn root() -> String {
    "/".to_owned()
}
fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
fn one_second() -> Duration {
    Duration::from_secs(1)
}
fn two() -> u32 {
    2
}
fn three() -> u32 {
    3
}

/// Passive ejection. An endpoint that fails is left out for a while and comes back by probation: one request
/// at a time until one succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PassiveConfig {
    /// 5xx answers in a row, lost connections included; 0 turns this detector off. Default 5.
    pub consecutive_5xx: u32,
    /// 502, 503, 504, lost or failed connections and timeouts in a row; 0 turns it off. Default 5.
    pub consecutive_gateway: u32,
    /// How long the first ejection lasts; the n-th lasts n times as long. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub base_ejection: Duration,
    /// The longest ejection. Default 300 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_ejection: Duration,
    /// The share of endpoints that may be ejected at once; one always may, unless it is the only one.
    /// Default 50.
    pub max_ejected_percent: u8,
    /// After a failed connect an endpoint is left out this long, doubled at each further one up to
    /// `connect_backoff_max`. This is not an ejection and has no cap: there is nobody there. 0 turns it
    /// off. Default 100 ms.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_backoff: Duration,
    /// Default 1 s, so that a restarted endpoint is found quickly.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_backoff_max: Duration,
}

impl Default for PassiveConfig {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway: 5,
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 50,
            connect_backoff: Duration::from_millis(100),
            connect_backoff_max: Duration::from_secs(1),
        }
    }
}

impl HealthConfig {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push(Problem::new(path, message));
            }
        };
        let panic = self.panic_threshold_percent;
        require(panic.is_none_or(|percent| percent <= 100), "panic_threshold_percent", "must be at most 100");
        if let Some(active) = &self.active {
            require(active.interval >= Duration::from_millis(10), "active.interval", "must be at least 10ms");
            require(!active.timeout.is_zero(), "active.timeout", "must be above 0");
            require(active.healthy > 0, "active.healthy", "must be at least 1");
            require(active.unhealthy > 0, "active.unhealthy", "must be at least 1");
            require(active.path.starts_with('/'), "active.path", "must begin with /");
        }
        let passive = &self.passive;
        require(passive.max_ejected_percent <= 100, "passive.max_ejected_percent", "must be at most 100");
        require(
            passive.max_ejection >= passive.base_ejection,
            "passive.max_ejection",
            "must not be below base_ejection",
        );
        require(
            passive.connect_backoff_max >= passive.connect_backoff,
            "passive.connect_backoff_max",
            "must not be below connect_backoff",
        );
        problems
    }
}
