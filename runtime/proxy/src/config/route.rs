//! One route as written in the configuration: which requests, and what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_http::chain::FiltersConfig;
use outrigger_resilience::RetryPolicy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matching::MatchConfig;

/// Which requests, and what becomes of them: exactly one of `backends`, `redirect` and `respond`.
///
/// Among routes that match, the most specific wins, as in the Kubernetes Gateway API: exact host, then the longest
/// wildcard host, then any host; exact path, then regular expression, then the prefix or template with the most
/// literal characters (a template wins a tie), then any path; then one that names a method, then the most headers,
/// then the most query parameters; then the route whose name sorts first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    /// Names of the HTTP listeners the route is served on. Default: all of them.
    pub listeners: Vec<String>,
    /// Host names without port: `shop.example`, or `*.shop.example` for everything below it. Default: any host.
    pub hosts: Vec<String>,
    /// Any of these must match. Default: every request of the hosts.
    #[serde(rename = "match")]
    pub matches: Vec<MatchConfig>,
    /// What happens to requests before they are answered, and to responses on their way back.
    pub filters: FiltersConfig,
    /// Changes to the request line before it is sent upstream.
    pub rewrite: Option<RewriteConfig>,
    /// Answer with a redirect.
    pub redirect: Option<RedirectConfig>,
    /// Answer with a fixed response.
    pub respond: Option<RespondConfig>,
    /// Where requests go, in proportion to the weights.
    pub backends: Vec<BackendConfig>,
    /// Time for the whole request and response, retries included; `0s` for none. Default: `15s`, and none for
    /// upgraded connections and for gRPC, which says its own deadline in `grpc-timeout`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// Try again when an attempt fails: never on the same endpoint while another is healthy, and no more than the
    /// cluster's retry budget allows. Default: no retries.
    pub retry: Option<RetryPolicy>,
}

/// One weighted cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Name of the cluster.
    pub cluster: String,
    /// Share of the requests, relative to the other backends; 0 sends none. Default: 1.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// What the backend sees instead of the client's request line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewriteConfig {
    /// The `Host` (`:authority`) sent upstream. Default: the client's.
    pub host: Option<String>,
    /// Replaces the whole path; the query stays.
    pub path: Option<String>,
    /// Replaces the matched prefix: with `prefix: /v1` and this `/`, `/v1/a` becomes `/a`. Needs a `prefix` path in
    /// every match.
    pub prefix: Option<String>,
}

/// A redirect; what is not named stays as the client asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectConfig {
    /// 301, 302, 303, 307 or 308. Default: 302.
    pub status: u16,
    /// `http` or `https`. Default: as the request came.
    pub scheme: Option<String>,
    /// Host name, without port. Default: the request's.
    pub host: Option<String>,
    /// Port. Default: the well-known one when the scheme changes, otherwise the request's.
    pub port: Option<u16>,
    /// Replaces the whole path; the query stays.
    pub path: Option<String>,
    /// Replaces the matched prefix. Needs a `prefix` path in every match.
    pub prefix: Option<String>,
}

impl Default for RedirectConfig {
    fn default() -> Self {
        Self { status: 302, scheme: None, host: None, port: None, path: None, prefix: None }
    }
}

/// A fixed response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RespondConfig {
    /// Status, 200 to 599. Default: 200.
    pub status: u16,
    /// The body. Default: empty.
    pub body: String,
    /// Headers; `content-type` defaults to `text/plain; charset=utf-8` when there is a body.
    pub headers: BTreeMap<String, String>,
}

impl Default for RespondConfig {
    fn default() -> Self {
        Self { status: 200, body: String::new(), headers: BTreeMap::new() }
    }
}
