//! `cluster_manager.clusters`: where the proxy sends to.

use super::{
    Translator, draft,
    listeners::{asks_for_tls, numeric},
    look::Look,
};
use crate::config::node::{Node, Value};

/// Keys of a cluster that are read, or change nothing worth a note.
const CLUSTER: [&str; 8] = [
    "name",
    "type",
    "lb_type",
    "hosts",
    "connect_timeout",
    "tls_context",
    "max_request_per_conn",
    "conn_buffer_limit_bytes",
];

impl Translator<'_> {
    pub(super) fn clusters(&mut self, root: &Look<'_>) {
        let Some(manager) = root.get("cluster_manager") else { return };
        manager.note_unknown(&["clusters", "tls_context"], &mut self.found);
        self.refuse_tls(&manager);
        for cluster in manager.list("clusters", &mut self.found) {
            self.cluster(&cluster);
        }
    }

    fn refuse_tls(&mut self, holder: &Look<'_>) {
        if let Some(context) = holder.get("tls_context").filter(asks_for_tls) {
            let message = "TLS of clusters is not read from a Layotto file; use an outrigger.yaml";
            self.found.problem(&context, message);
        }
    }

    fn cluster(&mut self, cluster: &Look<'_>) {
        cluster.note_unknown(&CLUSTER, &mut self.found);
        self.refuse_tls(cluster);
        let Some(name) = cluster.text_of("name", &mut self.found) else {
            return self.found.problem(cluster, "a cluster needs a `name`");
        };
        let mut put = |key: &str, node: Node| self.draft.put(&["clusters", &name, key], node, cluster.at());
        if self.http2.contains(&name) {
            put("protocol", draft::text("http2", cluster.at()));
        }
        if let Some(timeout) = cluster.get("connect_timeout") {
            put("connect_timeout", timeout.node().clone());
        }
        let hosts = cluster.list("hosts", &mut self.found);
        let is_even = hosts
            .iter()
            .all(|host| host.get("weight").map(|w| w.node().value.clone()) == weight_of(hosts.first()));
        if let Some(balance) = self.balance(cluster, is_even) {
            self.draft.put(&["clusters", &name, "balance"], balance, cluster.at());
        }
        self.endpoints(&name, cluster, &hosts);
    }

    fn balance(&mut self, cluster: &Look<'_>, is_even: bool) -> Option<Node> {
        let kind = cluster.get("lb_type")?;
        let text = kind.text(&mut self.found)?;
        let ours = match text.as_str() {
            "" => return None,
            "LB_RANDOM" => "random",
            // MOSN's turns go by weight where there are weights.
            "LB_ROUNDROBIN" | "LB_REQUEST_ROUNDROBIN" if is_even => "round_robin",
            "LB_ROUNDROBIN" | "LB_REQUEST_ROUNDROBIN" | "LB_WEIGHTED_ROUNDROBIN" => "weighted",
            "LB_LEAST_REQUEST" => "least_request",
            _ => {
                self.found.note(&kind, format!("{text} is not known here; least_request is used"));
                "least_request"
            }
        };
        Some(draft::text(ours, &kind.node().at))
    }

    /// Fixed endpoints, or the one name whose addresses are followed.
    fn endpoints(&mut self, name: &str, cluster: &Look<'_>, hosts: &[Look<'_>]) {
        let mut endpoints = Vec::new();
        for host in hosts {
            let Some(address) = host.get("address") else {
                self.found.problem(host, "a host needs an `address`");
                continue;
            };
            let Some(text) = address.text(&mut self.found) else { continue };
            if let Some((dns, port)) = named(&text) {
                if hosts.len() > 1 {
                    self.found
                        .problem(&address, "a cluster has addresses, or one name; here are both, or several");
                    continue;
                }
                let at = &address.node().at;
                let parts =
                    [("name".to_owned(), draft::text(dns, at)), ("port".to_owned(), draft::number(port, at))];
                return self.draft.put(&["clusters", name, "dns"], draft::map(parts, at), host.at());
            }
            let mut parts = vec![("address".to_owned(), draft::text(numeric(&text), &address.node().at))];
            parts.extend(host.get("weight").map(|weight| ("weight".to_owned(), weight.node().clone())));
            endpoints.push(draft::map(parts, host.at()));
        }
        self.draft.put(&["clusters", name, "endpoints"], draft::list(endpoints, cluster.at()), cluster.at());
    }
}

fn weight_of(host: Option<&Look<'_>>) -> Option<Value> {
    host?.get("weight").map(|weight| weight.node().value.clone())
}

/// The name and port of an address that is not a number.
fn named(address: &str) -> Option<(String, u16)> {
    let numeric = numeric(address);
    if numeric.parse::<outrigger_net::Address>().is_ok() {
        return None;
    }
    let (name, port) = address.rsplit_once(':')?;
    Some((name.to_owned(), port.parse().ok()?))
}
