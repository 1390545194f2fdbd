//! Settings of the server side, with the limits of a cautious edge as defaults.

use std::time::Duration;

use outrigger_net::frames::FloodLimits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A setting that cannot work, found when a configuration is compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Dotted path inside the section, for example `web.http.max_headers`.
    pub path: String,
    pub message: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same problem seen from one level up.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.path = if self.path.is_empty() { parent.to_owned() } else { format!("{parent}.{}", self.path) };
        self
    }
}

/// How a listener speaks HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Largest request head in bytes, request line included; more is 431. At most 1 MiB.
    pub max_header_bytes: usize,
    /// Most header fields in a request; more is 431. At most 256.
    pub max_headers: usize,
    /// Longest request target in bytes; more is 414.
    pub max_uri_bytes: usize,
    /// Time from a request's first byte to the end of its head, and for protocol detection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub header_timeout: Duration,
    /// Longest silence in the middle of a request body. Over HTTP/2 it holds until the answer begins, and not in gRPC
    /// calls: there either side may be silent.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub body_idle_timeout: Duration,
    /// How long a connection may wait for its next request.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
    /// Longest time without the client taking a byte of a response that is ready.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub write_stall_timeout: Duration,
    /// Closes a connection after this many requests; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u64>,
    /// What to do with header names that hold an underscore, which some backends read as a dash. Default: `reject`,
    /// and `allow` on API listeners, behind which nothing could take one for a dash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underscores: Option<Underscores>,
    /// Peers whose `x-forwarded-*`, `forwarded` and `x-envoy-*` headers are kept: addresses or networks
    /// (`10.0.0.0/8`), or `unix` for peers on a Unix socket. Nobody by default.
    /// Trace context (`traceparent`, `tracestate`) is passed on, whoever sent it.
    pub trusted_peers: Vec<String>,
    pub http2: Http2Config,
}

/// Header names that hold an underscore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    Allow,
    /// Drop the field and go on.
    Drop,
    /// Refuse the request with 400.
    #[default]
    Reject,
}

/// HTTP/2 on the server side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2Config {
    /// Requests in flight on one connection.
    pub max_concurrent_streams: u32,
    /// Bytes a stream may send before we have read them.
    pub stream_window_bytes: u32,
    /// The same for the whole connection.
    pub connection_window_bytes: u32,
    /// Response bytes buffered for one stream.
    pub max_send_buffer_bytes: usize,
    /// `cookie` fields one request may be split into.
    pub max_cookie_crumbs: usize,
    /// What a client may do that costs it little and us a lot.
    pub floods: FloodLimits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_header_bytes: 48 * 1024,
            max_headers: 100,
            max_uri_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            write_stall_timeout: Duration::from_secs(30),
            max_requests_per_connection: None,
            underscores: None,
            trusted_peers: Vec::new(),
            http2: Http2Config::default(),
        }
    }
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 1024 * 1024,
            max_send_buffer_bytes: 256 * 1024,
            max_cookie_crumbs: 200,
            floods: FloodLimits::default(),
        }
    }
}

impl ServerConfig {
    /// What holds for header names with an underscore.
    #[must_use]
    pub fn underscore_rule(&self) -> Underscores {
        self.underscores.unwrap_or_default()
    }

    /// Settings no listener could work with.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push(Problem::new(path, message));
            }
        };
        require(
            (512..=1 << 20).contains(&self.max_header_bytes),
            "max_header_bytes",
            "must be between 512 and 1048576",
        );
        require((1..=256).contains(&self.max_headers), "max_headers", "must be between 1 and 256");
        require(
            (1..=self.max_header_bytes).contains(&self.max_uri_bytes),
            "max_uri_bytes",
            "must be between 1 and max_header_bytes",
        );
        for (path, timeout) in [
            ("header_timeout", self.header_timeout),
            ("body_idle_timeout", self.body_idle_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_stall_timeout", self.write_stall_timeout),
        ] {
            require(!timeout.is_zero(), path, "must be longer than zero");
        }
        require(
            self.max_requests_per_connection != Some(0),
            "max_requests_per_connection",
            "must be at least 1",
        );
        for (index, peer) in self.trusted_peers.iter().enumerate() {
            if let Err(error) = peer.parse::<crate::forward::TrustedPeer>() {
                problems.push(Problem::new(format!("trusted_peers.{index}"), error.to_string()));
            }
        }
        let h2 = &self.http2;
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push(Problem::new(format!("http2.{path}"), message));
            }
        };
        require(h2.max_concurrent_streams > 0, "max_concurrent_streams", "must be at least 1");
        require(
            (1..=0x7fff_ffff).contains(&h2.stream_window_bytes),
            "stream_window_bytes",
            "must be between 1 and 2147483647",
        );
        require(
            (1..=0x7fff_ffff).contains(&h2.connection_window_bytes),
            "connection_window_bytes",
            "must be between 1 and 2147483647",
        );
        require(h2.max_send_buffer_bytes > 0, "max_send_buffer_bytes", "must be at least 1");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound() {
        assert_eq!(ServerConfig::default().problems(), []);
    }

    #[test]
    fn each_bad_value_names_its_field() {
        let check = |change: fn(&mut ServerConfig), path: &str| {
            let mut config = ServerConfig::default();
            change(&mut config);
            let problems = config.problems();
            assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), [path]);
        };
        check(|c| c.max_header_bytes = 16 << 20, "max_header_bytes");
        check(|c| c.max_headers = 0, "max_headers");
        check(|c| c.max_uri_bytes = 1 << 20, "max_uri_bytes");
        check(|c| c.header_timeout = Duration::ZERO, "header_timeout");
        check(|c| c.max_requests_per_connection = Some(0), "max_requests_per_connection");
        check(|c| c.trusted_peers = vec!["10.0.0.0/33".into()], "trusted_peers.0");
        check(|c| c.http2.max_concurrent_streams = 0, "http2.max_concurrent_streams");
    }
}
