//! One listener: settings that cannot work, its TLS side, and what byte streams need.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_cluster::{Cluster, Clusters};
use outrigger_http::Problem;
use outrigger_http::access_log::AccessLog;
use outrigger_http::chain::{self, Module, Modules};
use outrigger_net::Address;
use outrigger_net::tls::{ServerConfig as TlsConfig, ServerTls};

use super::nearest::dangling;
use crate::config::{ListenerConfig, PathsConfig, Protocol, ProxyConfig};
use crate::l4::{Destination, SniMap};
use crate::route::HostPattern;

/// Two listeners that would fight for one socket.
pub(super) fn address_conflicts(config: &ProxyConfig) -> Vec<Problem> {
    let mut seen: HashMap<&Address, &str> = HashMap::new();
    let mut problems = Vec::new();
    for (name, listener) in &config.listeners {
        let taken = match &listener.address {
            Address::Tcp(tcp) if tcp.port() == 0 => None,
            address => seen.insert(address, name).or_else(|| overlapping(address, name, &seen)),
        };
        if let Some(other) = taken {
            let message = format!("listener `{other}` has {} already", listener.address);
            problems.push(Problem::new(format!("listeners.{name}.address"), message));
        }
    }
    problems
}

/// `0.0.0.0:80` covers `127.0.0.1:80`, in whichever order they come.
fn overlapping<'a>(address: &Address, name: &str, seen: &HashMap<&Address, &'a str>) -> Option<&'a str> {
    let Address::Tcp(new) = address else { return None };
    let covers = |other: &SocketAddr| {
        other.port() == new.port()
            && other.is_ipv4() == new.is_ipv4()
            && (other.ip().is_unspecified() || new.ip().is_unspecified())
    };
    seen.iter().find_map(|(other, owner)| match other {
        Address::Tcp(other) if *owner != name && covers(other) => Some(*owner),
        _ => None,
    })
}

/// Settings that belong to another protocol, or cannot work.
pub(super) fn setting_problems(listener: &ListenerConfig) -> Vec<Problem> {
    let protocol = listener.protocol;
    let is_http = protocol == Protocol::Http;
    let misplaced = [
        ("http", "an `http`", !is_http && listener.http != Default::default()),
        ("paths", "an `http`", !is_http && listener.paths != PathsConfig::default()),
        ("access_log", "an `http`", !is_http && listener.access_log.is_some()),
        ("cluster", "a `tcp` or `tls_passthrough`", is_http && listener.cluster.is_some()),
        ("wasm", "a `tcp` or `tls_passthrough`", is_http && !listener.wasm.is_empty()),
        ("sni", "a `tls_passthrough`", protocol != Protocol::TlsPassthrough && !listener.sni.is_empty()),
        ("tls", "an `http` or `tcp`", protocol == Protocol::TlsPassthrough && listener.tls.is_some()),
    ];
    let mut problems: Vec<Problem> = misplaced
        .into_iter()
        .filter(|(_, _, is_misplaced)| *is_misplaced)
        .map(|(field, owner, _)| Problem::new(field, format!("belongs to {owner} listener")))
        .collect();
    problems.extend(listener.http.problems().into_iter().map(|problem| problem.within("http")));
    let log = listener.access_log.iter().filter_map(|log| AccessLog::check(log).err());
    problems.extend(log.map(|problem| problem.within("access_log")));
    if listener.limits.max_connections == 0 {
        problems.push(Problem::new("limits.max_connections", "must be at least 1"));
    }
    if listener.idle_timeout.is_zero() {
        problems.push(Problem::new("idle_timeout", "must be longer than zero"));
    }
    problems
}

/// Reads certificates and keys, so that a missing file is found before anything changes.
pub(super) fn tls(listener: &ListenerConfig, problems: &mut Vec<Problem>) -> Option<Arc<TlsConfig>> {
    let config = listener.tls.as_ref()?;
    // The default offers HTTP, which is not what is spoken on a byte stream.
    let offers_http = config.alpn == ["h2", "http/1.1"];
    let config = match listener.protocol == Protocol::Tcp && offers_http {
        true => &ServerTls { alpn: Vec::new(), ..config.clone() },
        false => config,
    };
    match config.build() {
        Ok(tls) => Some(tls),
        Err(error) => {
            problems.push(Problem::new("tls", error.to_string()));
            None
        }
    }
}

/// Where a `tcp` or `tls_passthrough` listener's connections go.
pub(super) fn destination(
    listener: &ListenerConfig,
    clusters: &Clusters,
    problems: &mut Vec<Problem>,
) -> Option<Destination> {
    let default = listener.cluster.as_deref().map(|name| cluster("cluster", name, clusters, problems));
    if listener.protocol == Protocol::Tcp {
        if default.is_none() {
            problems
                .push(Problem::new("cluster", "a `tcp` listener needs the cluster its connections go to"));
        }
        return default?.map(Destination::Cluster);
    }
    if listener.sni.is_empty() && default.is_none() {
        problems.push(Problem::new("sni", "a `tls_passthrough` listener needs `sni`, `cluster`, or both"));
    }
    let names = sni_names(&listener.sni, clusters, problems);
    Some(Destination::Sni(SniMap::new(names, default.flatten())))
}

/// The filters of a byte stream.
pub(super) fn modules(
    listener: &ListenerConfig,
    modules: &Modules,
    problems: &mut Vec<Problem>,
) -> Vec<Arc<dyn Module>> {
    let mut found = Vec::with_capacity(listener.wasm.len());
    for (index, name) in listener.wasm.iter().enumerate() {
        match chain::find(name, modules) {
            Ok(module) => found.push(module),
            Err(problem) => problems.push(problem.within(&format!("wasm.{index}"))),
        }
    }
    found
}

fn sni_names(
    sni: &BTreeMap<String, String>,
    clusters: &Clusters,
    problems: &mut Vec<Problem>,
) -> Vec<(HostPattern, Arc<Cluster>)> {
    let mut names = Vec::new();
    for (host, name) in sni {
        let path = format!("sni.{host}");
        let cluster = cluster(&path, name, clusters, problems);
        match HostPattern::parse(host) {
            Ok(HostPattern::Any) => problems.push(Problem::new(path, "use `cluster` for all other names")),
            Ok(pattern) => names.extend(cluster.map(|cluster| (pattern, cluster))),
            Err(message) => problems.push(Problem::new(path, message)),
        }
    }
    names
}

fn cluster(path: &str, name: &str, clusters: &Clusters, problems: &mut Vec<Problem>) -> Option<Arc<Cluster>> {
    let found = clusters.get(name).cloned();
    match &found {
        None => problems.push(dangling(path, "cluster", name, clusters.names())),
        Some(cluster) if cluster.config().is_only_functions() => {
            let message = format!("cluster `{name}` has only functions, and those take no connections");
            problems.push(Problem::new(path, message));
        }
        Some(_) => {}
    }
    found
}
