//! The data plane of one configuration: clusters, and the proxy that sends to them.

use outrigger_cluster::{Clusters, Context};
use outrigger_http::{Problem as SectionProblem, chain::Modules};
use outrigger_proxy::{Proxy, ProxyConfig};
use outrigger_telemetry::Metrics;

use crate::{
    callbacks,
    config::{Loaded, Problems},
};

/// Compiled, but doing nothing until it is installed.
pub struct Traffic {
    pub clusters: Clusters,
    pub proxy: Option<Proxy>,
}

impl Traffic {
    /// No traffic: what the first configuration is compared with.
    pub fn none(context: Context) -> Self {
        Self { clusters: Clusters::empty(context), proxy: None }
    }

    /// Compiles the sections `clusters`, `listeners` and `routes`. What they do not touch keeps its runtime state:
    /// breakers, pools, health, budgets, buckets.
    pub fn compile(
        loaded: &Loaded,
        modules: &Modules,
        metrics: &Metrics,
        previous: &Self,
    ) -> Result<Self, Problems> {
        let config = &loaded.config;
        let clusters = Clusters::compile(&callbacks::clusters(config), &previous.clusters)
            .map_err(|found| told(loaded, found.into_iter().map(|problem| problem.within("clusters"))))?;
        let sections = ProxyConfig { listeners: config.listeners.clone(), routes: config.routes.clone() };
        let proxy = outrigger_proxy::compile(&sections, &clusters, modules, metrics, previous.proxy.as_ref())
            .map_err(|found| told(loaded, found))?;
        Ok(Self { clusters, proxy: Some(proxy) })
    }
}

/// A crate knows the path inside its section; the tree knows the place.
pub fn told(loaded: &Loaded, problems: impl IntoIterator<Item = SectionProblem>) -> Problems {
    Problems::sorted(
        problems.into_iter().map(|problem| loaded.problem(&problem.path, problem.message)).collect(),
    )
}
