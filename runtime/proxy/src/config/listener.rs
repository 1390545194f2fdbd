//! One listener as written in the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_http::ServerConfig;
use outrigger_http::access_log::AccessLogConfig;
use outrigger_net::tls::ServerTls;
use outrigger_net::{Address, ListenerLimits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::path::PathMode;

/// A socket to listen on, and what is spoken there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// `127.0.0.1:8080`, `[::]:80` or `unix:/run/web.sock`; port 0 takes a free port.
    pub address: Address,
    /// What is spoken. Default: `http`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Terminates TLS here (`http` and `tcp`). Default: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Bounds on connections.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Lets other processes bind the same address and share its connections. Default: no.
    #[serde(default)]
    pub reuse_port: bool,
    /// `http`: limits and time-outs of the HTTP server.
    #[serde(default)]
    pub http: ServerConfig,
    /// `http`: what to do with unusual paths.
    #[serde(default)]
    pub paths: PathsConfig,
    /// `http`: one line per request. Default: no log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogConfig>,
    /// `tcp`: the cluster connections go to. `tls_passthrough`: the one for names `sni` does not list, and for
    /// connections without a name; without it those are closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `tls_passthrough`: server name (`a.example`, `*.b.example`) to cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sni: BTreeMap<String, String>,
    /// `tcp` and `tls_passthrough`: WebAssembly filters for what both sides say, by their names under `wasm.plugins`, the
    /// one nearest to the client first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wasm: Vec<String>,
    /// `tcp` and `tls_passthrough`: closes a connection on which neither side has sent anything for this long.
    /// Default: `1h`.
    #[serde(default = "one_hour", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
}

fn one_hour() -> Duration {
    Duration::from_secs(3600)
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.0, HTTP/1.1 and HTTP/2 (by ALPN with TLS, by preface without); requests take the `routes`.
    #[default]
    Http,
    /// Bytes, to one cluster. The server may speak first.
    Tcp,
    /// Bytes of TLS connections, to a cluster chosen by the server name of the ClientHello; nothing is decrypted.
    TlsPassthrough,
}

/// What to do with unusual paths; see the table in `path.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathsConfig {
    /// Dot segments and repeated slashes. Default: `normalise`.
    pub mode: PathMode,
    /// `%2F` and `%5C`. Default: `refuse`.
    pub escaped_slashes: EscapedSlashes,
}

/// `%2F` and `%5C` in a path: a backend that decodes them sees another path than the routes did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscapedSlashes {
    /// 400 when some route of the host looks at the path; elsewhere they pass.
    #[default]
    Refuse,
    /// They pass, and do not separate segments for matching.
    Keep,
}

impl ListenerConfig {
    /// An HTTP listener with defaults.
    pub fn http(address: Address) -> Self {
        Self {
            address,
            protocol: Protocol::Http,
            tls: None,
            limits: ListenerLimits::default(),
            reuse_port: false,
            http: ServerConfig::default(),
            paths: PathsConfig::default(),
            access_log: None,
            cluster: None,
            wasm: Vec::new(),
            sni: BTreeMap::new(),
            idle_timeout: one_hour(),
        }
    }

    /// A TCP listener with defaults.
    pub fn tcp(address: Address, cluster: impl Into<String>) -> Self {
        Self { protocol: Protocol::Tcp, cluster: Some(cluster.into()), ..Self::http(address) }
    }
}
