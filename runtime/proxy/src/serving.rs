//! A compiled configuration: what listeners and requests look at while traffic flows.

use std::sync::{Arc, OnceLock};

use outrigger_http::ServerConfig;
use outrigger_http::access_log::AccessLog;
use outrigger_http::chain::Chain;
use outrigger_http::forward::TrustedPeers;
use outrigger_net::tls::ServerConfig as TlsConfig;
use outrigger_telemetry::Metrics;
use outrigger_telemetry::span::Tracer;

use crate::action::Action;
use crate::config::{EscapedSlashes, ListenerConfig, RouteConfig};
use crate::l4::StreamListener;
use crate::metrics::RouteMetrics;
use crate::path::PathMode;
use crate::route::Table;

pub(crate) struct CompiledListener {
    pub(crate) config: ListenerConfig,
    pub(crate) tls: Option<Arc<TlsConfig>>,
    pub(crate) speaks: Speaks,
}

pub(crate) enum Speaks {
    Http(Arc<HttpListener>),
    Stream(Arc<StreamListener>),
}

/// All a request on an HTTP listener is decided by. Swapped whole on reload; a request reads it once.
pub(crate) struct HttpListener {
    pub(crate) table: Table,
    /// What the table's indexes point at.
    pub(crate) routes: Box<[Arc<Route>]>,
    pub(crate) path_mode: PathMode,
    pub(crate) keep_escaped_slashes: bool,
    pub(crate) server: Arc<ServerConfig>,
    /// Whose word about the original client is believed.
    pub(crate) trusted: TrustedPeers,
    /// Set when the listener starts, as that is when files are opened.
    pub(crate) access_log: OnceLock<Arc<AccessLog>>,
    pub(crate) tracer: Tracer,
    /// Counts requests no route took.
    pub(crate) unrouted: RouteMetrics,
}

impl HttpListener {
    pub(crate) fn new(
        config: &ListenerConfig,
        table: Table,
        routes: Vec<Arc<Route>>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            table,
            routes: routes.into(),
            path_mode: config.paths.mode,
            keep_escaped_slashes: config.paths.escaped_slashes == EscapedSlashes::Keep,
            server: Arc::new(config.http.clone()),
            // Checked with the other settings; nobody is trusted where that found a mistake.
            trusted: TrustedPeers::compile(&config.http.trusted_peers).unwrap_or_default(),
            access_log: OnceLock::new(),
            tracer: metrics.tracer().clone(),
            unrouted: RouteMetrics::new(metrics, "none"),
        }
    }
}

/// One route at run time.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) action: Action,
    pub(crate) filters: Chain,
    pub(crate) metrics: RouteMetrics,
    config: RouteConfig,
}

impl Route {
    pub(crate) fn new(
        name: &str,
        config: RouteConfig,
        action: Action,
        filters: Chain,
        metrics: &Metrics,
    ) -> Self {
        Self { name: name.into(), action, filters, metrics: RouteMetrics::new(metrics, name), config }
    }

    /// Whether a new configuration would lead to the same route.
    pub(crate) fn is_same(&self, config: &RouteConfig, action: &Action, filters: &Chain) -> bool {
        self.config == *config
            && self.action.has_same_clusters(action)
            && self.filters.has_same_modules(filters)
    }
}
