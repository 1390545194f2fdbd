//! From configuration to something that runs: every reference is resolved and every mistake found before anything
//! changes, so a bad file never takes effect in part.

mod action;
mod cycle;
mod listener;
mod matching;
mod nearest;
mod shadow;

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_cluster::Clusters;
use outrigger_http::Problem;
use outrigger_http::chain::{Buckets, Chain, Modules};
use outrigger_telemetry::Metrics;

use crate::config::{Protocol, ProxyConfig, RouteConfig};
use crate::l4::StreamListener;
use crate::route::{Entry, Table};
use crate::serving::{CompiledListener, HttpListener, Route, Speaks};

/// A configuration that can run; [`Listeners::apply`](crate::Listeners::apply) makes it do so.
pub struct Proxy {
    pub(crate) listeners: BTreeMap<Arc<str>, CompiledListener>,
    /// By name, so that the next compilation can keep what did not change.
    pub(crate) routes: BTreeMap<Arc<str>, Arc<Route>>,
    /// Of rate limits, taken over where the limit stays the same although its route does not.
    buckets: Buckets,
}

/// Compiles `config` against the `clusters` and filter `modules` of the same configuration.
///
/// A route that is the same as in `previous`, and whose clusters and modules are, is taken over with its runtime state.
///
/// # Errors
/// Every problem found, with its path inside the section, for example `routes.shop.backends.0.cluster`.
pub fn compile(
    config: &ProxyConfig,
    clusters: &Clusters,
    modules: &Modules,
    metrics: &Metrics,
    previous: Option<&Proxy>,
) -> Result<Proxy, Vec<Problem>> {
    let mut problems = listener::address_conflicts(config);
    let mut compiler = RouteCompiler { clusters, modules, metrics, previous, buckets: Buckets::default() };
    let routes = compiler.routes(config, &mut problems);
    let buckets = compiler.buckets;
    problems.extend(shadow::problems(&routes));
    problems.extend(cycle::problems(config, clusters));
    let listeners = compile_listeners(config, &routes, (clusters, modules), metrics, &mut problems);
    let routes = routes.into_iter().map(|compiled| (compiled.name, compiled.route)).collect();
    if problems.is_empty() { Ok(Proxy { listeners, routes, buckets }) } else { Err(problems) }
}

/// A route and what the tables need to know of it.
struct CompiledRoute {
    name: Arc<str>,
    route: Arc<Route>,
    entries: Vec<Entry>,
    /// Empty for all.
    listeners: Vec<String>,
}

/// What routes are compiled against, and what they keep for the next time.
struct RouteCompiler<'a> {
    clusters: &'a Clusters,
    modules: &'a Modules,
    metrics: &'a Metrics,
    previous: Option<&'a Proxy>,
    buckets: Buckets,
}

impl RouteCompiler<'_> {
    fn routes(&mut self, config: &ProxyConfig, problems: &mut Vec<Problem>) -> Vec<CompiledRoute> {
        let is_http = |name: &&str| config.listeners.get(*name).is_some_and(|l| l.protocol == Protocol::Http);
        let http: Vec<&str> = config.listeners.keys().map(String::as_str).filter(is_http).collect();
        let mut compiled = Vec::with_capacity(config.routes.len());
        for (name, route) in &config.routes {
            let mut found = matching::listener_problems(route, config, &http);
            compiled.extend(self.route(name, route, &mut found));
            problems.extend(found.into_iter().map(|problem| problem.within(&format!("routes.{name}"))));
        }
        compiled
    }

    fn route(
        &mut self,
        name: &str,
        config: &RouteConfig,
        problems: &mut Vec<Problem>,
    ) -> Option<CompiledRoute> {
        let entries = matching::entries(config).map_err(|found| problems.extend(found));
        let action = action::action(config, self.clusters).map_err(|found| problems.extend(found));
        let filters = self.filters(name, config, problems);
        let (Ok(entries), Ok(action), Some(filters)) = (entries, action, filters) else { return None };
        let kept = self.previous.and_then(|previous| previous.routes.get(name));
        let route = match kept.filter(|kept| kept.is_same(config, &action, &filters)) {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(Route::new(name, config.clone(), action, filters, self.metrics)),
        };
        Some(CompiledRoute { name: name.into(), route, entries, listeners: config.listeners.clone() })
    }

    fn filters(&mut self, name: &str, config: &RouteConfig, problems: &mut Vec<Problem>) -> Option<Chain> {
        let none = Buckets::default();
        let previous = self.previous.map_or(&none, |previous| &previous.buckets);
        match Chain::compile(&config.filters, name, self.modules, previous, &mut self.buckets) {
            Ok(chain) => Some(chain),
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| problem.within("filters")));
                None
            }
        }
    }
}

fn compile_listeners(
    config: &ProxyConfig,
    routes: &[CompiledRoute],
    (clusters, modules): (&Clusters, &Modules),
    metrics: &Metrics,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Arc<str>, CompiledListener> {
    let mut compiled = BTreeMap::new();
    for (name, listener) in &config.listeners {
        let mut found = listener::setting_problems(listener);
        let tls = listener::tls(listener, &mut found);
        let speaks = match listener.protocol {
            Protocol::Http => {
                let (table, routes) = table(name, routes);
                Some(Speaks::Http(Arc::new(HttpListener::new(listener, table, routes, metrics))))
            }
            Protocol::Tcp | Protocol::TlsPassthrough => {
                let destination = listener::destination(listener, clusters, &mut found);
                let modules = listener::modules(listener, modules, &mut found);
                destination.map(|to| {
                    let listener = StreamListener::new(name, listener, to, modules, metrics);
                    Speaks::Stream(Arc::new(listener))
                })
            }
        };
        if let Some(speaks) = speaks {
            compiled.insert(name.as_str().into(), CompiledListener { config: listener.clone(), tls, speaks });
        }
        problems.extend(found.into_iter().map(|problem| problem.within(&format!("listeners.{name}"))));
    }
    compiled
}

/// The routes of one HTTP listener, indexed; entries point into the list beside the table.
fn table(listener: &str, routes: &[CompiledRoute]) -> (Table, Vec<Arc<Route>>) {
    let is_here = |route: &&CompiledRoute| {
        route.listeners.is_empty() || route.listeners.iter().any(|name| name == listener)
    };
    let here: Vec<&CompiledRoute> = routes.iter().filter(is_here).collect();
    let entries = here.iter().enumerate().flat_map(|(index, route)| {
        route.entries.iter().map(move |entry| Entry { route: index, ..entry.clone() })
    });
    (Table::new(entries), here.iter().map(|compiled| Arc::clone(&compiled.route)).collect())
}

#[cfg(test)]
mod tests;
