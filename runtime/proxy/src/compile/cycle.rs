//! Byte-stream listeners whose clusters lead back to them, at once or by way of others. Requests carry a hop count;
//! bytes do not, so such a configuration is refused.

use std::collections::HashSet;

use outrigger_cluster::{Clusters, config::EndpointConfig};
use outrigger_http::Problem;
use outrigger_net::Address;

use crate::config::{ListenerConfig, Protocol, ProxyConfig};
use crate::l4::leads_to;

/// One problem for each way that leads back.
pub(super) fn problems(config: &ProxyConfig, clusters: &Clusters) -> Vec<Problem> {
    let graph = Graph { config, clusters };
    let mut problems = Vec::new();
    for (name, listener) in graph.listeners() {
        for (path, cluster) in destinations(listener) {
            let mut next = graph.reached(cluster);
            if let Some(by) = next.find(|next| graph.leads(next, name, &mut HashSet::new())) {
                let way = if by == name { String::new() } else { format!(" by way of `{by}`") };
                let message = format!("cluster `{cluster}` leads back to this listener{way}");
                problems.push(Problem::new(format!("listeners.{name}.{path}"), message));
            }
        }
    }
    problems
}

struct Graph<'a> {
    config: &'a ProxyConfig,
    clusters: &'a Clusters,
}

impl<'a> Graph<'a> {
    fn listeners(&self) -> impl Iterator<Item = (&'a str, &'a ListenerConfig)> {
        let carries = |(_, listener): &(&String, &ListenerConfig)| listener.protocol != Protocol::Http;
        self.config.listeners.iter().filter(carries).map(|(name, listener)| (name.as_str(), listener))
    }

    /// The listeners at the fixed endpoints of a cluster.
    fn reached(&self, cluster: &str) -> impl Iterator<Item = &'a str> {
        let endpoints: Vec<Address> = self.clusters.get(cluster).map_or_else(Vec::new, |cluster| {
            cluster.config().endpoints.iter().filter_map(EndpointConfig::address).cloned().collect()
        });
        let is_reached = move |listener: &ListenerConfig| {
            endpoints.iter().any(|endpoint| leads_to(endpoint, &listener.address))
        };
        self.listeners().filter(move |(_, listener)| is_reached(listener)).map(|(name, _)| name)
    }

    fn leads(&self, from: &'a str, to: &str, seen: &mut HashSet<&'a str>) -> bool {
        let Some(listener) = self.config.listeners.get(from) else { return false };
        from == to
            || seen.insert(from)
                && destinations(listener)
                    .flat_map(|(_, cluster)| self.reached(cluster))
                    .any(|next| self.leads(next, to, seen))
    }
}

/// Where a listener's connections can go, and the setting that says so.
fn destinations(listener: &ListenerConfig) -> impl Iterator<Item = (String, &str)> {
    let default = listener.cluster.as_deref().map(|cluster| ("cluster".to_owned(), cluster));
    let named = listener.sni.iter().map(|(host, cluster)| (format!("sni.{host}"), cluster.as_str()));
    default.into_iter().chain(named)
}
