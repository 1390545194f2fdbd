//! Settings of a cluster, and what cannot work among them.

mod endpoint;
mod health;

use std::time::Duration;

use outrigger_http::Problem;
use outrigger_net::tls::ClientTls;
use outrigger_resilience::{BreakerConfig, LimitsConfig, RetryBudgetConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use endpoint::{DnsConfig, EndpointConfig, Location};
pub use health::{ActiveConfig, HealthConfig, PassiveConfig, Probe};

/// A set of endpoints that answer alike, and how to treat them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Fixed endpoints: `"127.0.0.1:9001"`, `"unix:/run/app.sock"`, `{ address, weight }`, or the function of this
    /// process that `{ function, weight }` names.
    pub endpoints: Vec<EndpointConfig>,
    /// Endpoints found under a DNS name instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsConfig>,
    /// Who gets the next request. Default `least_request`.
    pub balance: Balance,
    /// What the endpoints speak. Default `http1`.
    pub protocol: Protocol,
    /// TLS towards the endpoints. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// Time to connect, TLS handshake included. Default 1 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How long and how many connections are kept for reuse.
    pub pool: PoolConfig,
    /// How endpoints are judged.
    pub health: HealthConfig,
    /// Refuses calls to the whole cluster while it fails. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerConfig>,
    /// Upper bounds; above them requests are refused with 503 (`overflow`).
    pub limits: LimitsConfig,
    /// How many retries the traffic may carry.
    pub retry_budget: RetryBudgetConfig,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dns: None,
            balance: Balance::default(),
            protocol: Protocol::default(),
            tls: None,
            connect_timeout: Duration::from_secs(1),
            pool: PoolConfig::default(),
            health: HealthConfig::default(),
            breaker: None,
            limits: LimitsConfig::default(),
            retry_budget: RetryBudgetConfig::default(),
        }
    }
}

/// How the next endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, weights ignored.
    RoundRobin,
    /// In turn by weight, spread smoothly (earliest deadline first).
    Weighted,
    /// At random, by weight.
    Random,
    /// The one with fewer requests in progress, relative to its weight, of two drawn at random by weight.
    #[default]
    LeastRequest,
}

/// What is spoken to the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge without.
    Http2,
}

/// Connections between requests. All numbers hold per worker and endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// Connections unused for this long are closed. Keep it below the endpoints' own. Default 50 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
    /// Idle connections kept, most recently used first. Default 256.
    pub max_idle: usize,
    /// HTTP/2 streams on one connection before another is opened. Default 100.
    pub max_streams: usize,
    /// HTTP/2: asks whether the endpoint still lives (PING) when nothing has come from it for this long although
    /// streams are open; without an answer within as long again, at most 20 s, they fail. Default 6 min, as gRPC
    /// servers end connections that ask more often than every 5 min; `0s` never asks.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ping_interval: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        // Most servers keep idle connections for 60 s or more; closing first avoids the race of a request
        // that meets the server's close on the way.
        let ping_interval = Duration::from_secs(360);
        Self { idle_timeout: Duration::from_secs(50), max_idle: 256, max_streams: 100, ping_interval }
    }
}

impl ClusterConfig {
    /// Whether there is nothing to connect to: functions take requests and no connections.
    pub fn is_only_functions(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.iter().all(|endpoint| endpoint.address().is_none())
    }

    /// Everything that cannot work, with paths inside this cluster's section.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push(Problem::new(path, message));
            }
        };
        let (fixed, dns) = (!self.endpoints.is_empty(), self.dns.is_some());
        require(!(fixed && dns), "dns", "give either endpoints or dns, not both");
        require(fixed || dns, "endpoints", "a cluster needs endpoints, or dns");
        require(!self.connect_timeout.is_zero(), "connect_timeout", "must be above 0");
        require(!self.pool.idle_timeout.is_zero(), "pool.idle_timeout", "must be above 0");
        require(self.pool.max_streams > 0, "pool.max_streams", "must be at least 1");
        require(self.retry_budget.ratio >= 0.0, "retry_budget.ratio", "must not be negative");
        require(!self.retry_budget.window.is_zero(), "retry_budget.window", "must be above 0");
        let grpc = self.health.active.as_ref().is_some_and(|active| active.probe == Probe::Grpc);
        require(
            !grpc || self.protocol == Protocol::Http2,
            "health.active.type",
            "grpc needs protocol: http2",
        );
        problems.extend(endpoint::problems(&self.endpoints));
        problems.extend(self.dns.iter().flat_map(|dns| dns.problems()).map(|p| p.within("dns")));
        problems.extend(self.health.problems().into_iter().map(|p| p.within("health")));
        let breaker = self.breaker.iter().flat_map(BreakerConfig::problems);
        problems.extend(breaker.map(|(field, message)| Problem::new(format!("breaker.{field}"), message)));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClusterConfig, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_documented_form() {
        let config = parse(
            r#"{"endpoints":["127.0.0.1:9001",{"address":"unix:/run/a.sock","weight":3},
                {"function":"hello","weight":2}],"balance":"weighted",
                "protocol":"http2","connect_timeout":"1s","breaker":{},
                "health":{"active":{"type":"http","path":"/healthz","interval":"5s","timeout":"1s","healthy":2,
                "unhealthy":3},"passive":{"consecutive_5xx":5,"consecutive_gateway":5,"base_ejection":"30s",
                "max_ejected_percent":50}},"limits":{"max_connections":10,"max_pending":0,"max_requests":5}}"#,
        )
        .unwrap();
        assert_eq!(config.problems(), []);
        assert_eq!(config.endpoints.iter().map(|endpoint| endpoint.weight).collect::<Vec<_>>(), [1, 3, 2]);
        let again = parse(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config, "what is written can be read");
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &[&str]| {
            let problems = parse(text).unwrap().problems();
            assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), expected, "{text}");
        };
        check("{}", &["endpoints"]);
        check(r#"{"endpoints":["127.0.0.1:1"],"dns":{"name":"a","port":1}}"#, &["dns"]);
        check(r#"{"endpoints":["127.0.0.1:1","127.0.0.1:1"]}"#, &["endpoints.1"]);
        check(r#"{"endpoints":[{"address":"127.0.0.1:1","weight":0}]}"#, &["endpoints.0.weight"]);
        check(r#"{"endpoints":[{"function":"a"},{"function":"a"}]}"#, &["endpoints.1"]);
        check(
            r#"{"endpoints":[{"function":"A b"},{"function":""}]}"#,
            &["endpoints.0.function", "endpoints.1.function"],
        );
        check(r#"{"endpoints":["127.0.0.1:1"],"connect_timeout":"0s"}"#, &["connect_timeout"]);
        check(
            r#"{"endpoints":["127.0.0.1:1"],"health":{"active":{"type":"grpc"}}}"#,
            &["health.active.type"],
        );
        check(r#"{"dns":{"name":"","port":0,"refresh":"0s"}}"#, &["dns.name", "dns.port", "dns.refresh"]);
        let health = r#"{"endpoints":["127.0.0.1:1"],"health":{"panic_threshold_percent":101,
            "active":{"type":"http","path":"x","interval":"0s","timeout":"0s","healthy":0,"unhealthy":0},
            "passive":{"max_ejected_percent":101,"base_ejection":"2s","max_ejection":"1s"}}}"#;
        check(
            health,
            &[
                "health.panic_threshold_percent",
                "health.active.interval",
                "health.active.timeout",
                "health.active.healthy",
                "health.active.unhealthy",
                "health.active.path",
                "health.passive.max_ejected_percent",
                "health.passive.max_ejection",
            ],
        );
    }

    #[test]
    fn unreadable_endpoints_say_why() {
        let check = |endpoint: &str, expected: &str| {
            let error = parse(&format!(r#"{{"endpoints":[{endpoint}]}}"#)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(r#""localhost:80""#, "localhost:80");
        check(r#"{"address":"127.0.0.1:80","wieght":2}"#, "wieght");
        check(r#"{"address":"127.0.0.1:80","function":"hello"}"#, "either an address or a function");
        check(r#"{"weight":2}"#, "either an address or a function");
        check("7", "an address");
    }
}
