//! The `listeners` and `routes` sections: plain data, checked and turned into something that runs by `compile`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod listener;
mod matching;
mod route;

pub use listener::{EscapedSlashes, ListenerConfig, PathsConfig, Protocol};
pub use matching::{GrpcMatch, MatchConfig, PathMatch, ValueMatch};
pub use route::{BackendConfig, RedirectConfig, RespondConfig, RewriteConfig, RouteConfig};

pub use crate::path::PathMode;

/// Where traffic comes in and where it goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Sockets to listen on, by name.
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// Which HTTP requests go where, by name. The name breaks ties between equally specific routes.
    pub routes: BTreeMap<String, RouteConfig>,
}
