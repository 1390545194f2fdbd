//! `outrigger.yaml` as a whole: one struct, each section owned by the crate it configures.

use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use outrigger_blocks::{LimitConfig, Policy, SubscriptionConfig, function::FunctionConfig, invoke::Callers};
use outrigger_cluster::ClusterConfig;
use outrigger_component_api::{BlockKind, Secret, Settings};
use outrigger_http::ServerConfig;
use outrigger_net::{Address, ListenerLimits, tls::ServerTls};
use outrigger_proxy::config::{ListenerConfig, RouteConfig};
use outrigger_telemetry::logs::LogConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::telemetry::TelemetryConfig;
use crate::{tokens::TokenConfig, wasm::WasmConfig};

/// Everything outrigger can be told. All maps are keyed by a name of your choice.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "outrigger.yaml")]
pub struct Config {
    /// The application beside us.
    pub app: AppConfig,
    /// Other applications it calls, by their ids. Those beside sidecars of this host are found without, and those in a
    /// registry (`registry.etcd`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, OtherApp>,
    /// Threads that move data. Default: 1 on one core, else 2. Takes effect at start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<NonZeroUsize>,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Where the building-block APIs are served.
    pub api: ApiConfig,
    /// Where the actuator, metrics and management are served.
    pub admin: AdminConfig,
    /// The components behind the building blocks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentConfig>,
    /// Topics the application is given: by gRPC, besides those it asks for; by HTTP, each at its `route`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subscriptions: BTreeMap<String, SubscriptionConfig>,
    /// Where the proxy listens, and for what.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// Which requests go where.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, RouteConfig>,
    /// Who answers them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// WebAssembly filters, and what they may use.
    #[serde(skip_serializing_if = "crate::wasm::is_unused")]
    pub wasm: WasmConfig,
    /// Functions: WebAssembly components, what they may use, and what calls them. Names are up to 63 of a-z, 0-9 and -.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, FunctionConfig>,
    /// Where traces and metrics go.
    pub telemetry: TelemetryConfig,
    /// How the process ends.
    pub shutdown: ShutdownConfig,
}

/// The application beside us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AppConfig {
    /// Its name: scopes and the `appid` key prefix look at it. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The port it listens on. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The host it listens on, an address or a name. Default `127.0.0.1`.
    pub host: String,
    /// What it speaks there.
    pub protocol: AppProtocol,
    /// Whether readiness includes it, when it has a port. Default: yes.
    pub probe: bool,
    /// The apps that may call it, each with the paths it may call (`/orders/*`; none is all). Default: everybody.
    #[serde(skip_serializing_if = "Callers::is_empty")]
    pub callers: Callers,
    /// Whether other sidecars may find it by its id: those of this user on this host, and those that share a registry.
    /// Default: yes.
    pub announce: bool,
}

/// Another application, called by its id. The id `*` stands for every one that is not found otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtherApp {
    /// Where it is reached: `127.0.0.1:8080`.
    pub addresses: Vec<Address>,
    /// Who answers there. Default `app`.
    #[serde(default)]
    pub via: Via,
    /// What it speaks; a sidecar finds that out itself. Default `http`.
    #[serde(default)]
    pub protocol: AppProtocol,
}

/// Who answers at the addresses of another application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The application itself.
    #[default]
    App,
    /// The API of the sidecar beside it.
    Sidecar,
}

impl Default for AppConfig {
    fn default() -> Self {
        let host = std::net::Ipv4Addr::LOCALHOST.to_string();
        Self {
            id: String::new(),
            port: None,
            host,
            protocol: AppProtocol::default(),
            probe: true,
            callers: Callers::default(),
            announce: true,
        }
    }
}

/// What the application speaks on its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    #[default]
    Http,
    Grpc,
}

impl AppProtocol {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// Where the building-block APIs are served. Every listener speaks every dialect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Default: one named `main` on 127.0.0.1:34904. `{}` for none.
    pub listeners: BTreeMap<String, ApiListenerConfig>,
    /// Names, besides `localhost` and addresses, by which callers may reach us. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// When set, callers must send it as `dapr-api-token` or as a bearer token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Further tokens, of which any will do: two while one takes the place of another.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, TokenConfig>,
    /// Bounds on calls.
    pub limits: ApiLimits,
}

/// Bounds on calls, whichever listener they come in by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiLimits {
    /// The longest message of a gRPC call, either way; longer ones are refused. Default 4 MiB.
    pub max_message_bytes: usize,
    /// How many calls, by name of the limit. A call is held to every one it matches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, LimitConfig>,
}

/// One API listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiListenerConfig {
    /// `127.0.0.1:34904`, `[::1]:0` or `unix:/path`.
    pub address: Address,
    /// Terminates TLS here. Default: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Bounds on connections.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Limits and time-outs of the HTTP server.
    #[serde(default)]
    pub http: ServerConfig,
}

impl ApiListenerConfig {
    /// With defaults for the rest.
    pub fn at(address: Address) -> Self {
        Self { address, tls: None, limits: ListenerLimits::default(), http: ServerConfig::default() }
    }
}

/// The admin listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Default 127.0.0.1:34999. `null` for no admin listener.
    pub address: Option<Address>,
    /// Terminates TLS here. Default: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Names, besides `localhost` and addresses, by which callers may reach it. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// When set, every request but the two health probes must carry it as a bearer token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Further tokens, of which any will do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, TokenConfig>,
}

/// One component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentConfig {
    /// The name calls use, where the key cannot be it: names are unique within a block. Default: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type, such as `state.sqlite`; `outrigger components` lists them.
    pub r#type: String,
    /// What the type can be told. A value `{ secretRef: { store, key } }` is taken from a secret store.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// The apps that may use it. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Deadline, retries and breaker of calls to it.
    #[serde(default)]
    pub policy: Policy,
    /// Set by the readers of foreign formats: the block it is for. A type that does not exist is then never ready,
    /// where our own format refuses it.
    #[serde(skip)]
    pub block: Option<BlockKind>,
}

impl ComponentConfig {
    /// The name calls use.
    pub fn name<'n>(&'n self, key: &'n str) -> &'n str {
        self.name.as_deref().unwrap_or(key)
    }
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownConfig {
    /// How long calls under way may take to finish once we are told to stop. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

/// Layotto's port, so that its SDKs find us without being told.
pub const API_PORT: u16 = 34904;
/// Layotto's actuator port.
pub const ADMIN_PORT: u16 = 34999;

impl Default for ApiConfig {
    fn default() -> Self {
        let main = ApiListenerConfig::at(loopback(API_PORT));
        Self {
            listeners: BTreeMap::from([("main".to_owned(), main)]),
            hosts: Vec::new(),
            token: None,
            tokens: BTreeMap::new(),
            limits: ApiLimits::default(),
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            address: Some(loopback(ADMIN_PORT)),
            tls: None,
            hosts: Vec::new(),
            token: None,
            tokens: BTreeMap::new(),
        }
    }
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self { max_message_bytes: 4 << 20, calls: BTreeMap::new() }
    }
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10) }
    }
}

fn loopback(port: u16) -> Address {
    Address::Tcp((std::net::Ipv4Addr::LOCALHOST, port).into())
}
