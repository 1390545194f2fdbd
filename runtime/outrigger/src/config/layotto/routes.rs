//! `routers`: MOSN's route tables. A table is served on the listeners that name it; each of its routers becomes a route
//! of each of them.

use super::{
    Translator, draft,
    look::{Findings, Look},
};
use crate::config::node::{Node, Value};

/// The route tables of a server.
pub(super) struct Tables<'n>(Vec<Table<'n>>);

/// One of them.
#[derive(Clone)]
pub(super) struct Table<'n> {
    name: String,
    hosts: Vec<Look<'n>>,
}

impl<'n> Tables<'n> {
    pub(super) fn read(server: &Look<'n>, found: &mut Findings) -> Self {
        let mut tables = Vec::new();
        for router in server.list("routers", found) {
            let hosts = router.list("virtual_hosts", found);
            tables.extend(router.text_of("router_config_name", found).map(|name| Table { name, hosts }));
        }
        Self(tables)
    }

    pub(super) fn find(&self, name: &str) -> Option<Table<'n>> {
        self.0.iter().find(|table| table.name == name).cloned()
    }
}

impl Table<'_> {
    /// The tables actuator listeners name have none.
    pub(super) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }
}

/// Keys of a router and of its `route` that are read.
const ROUTER: [&str; 4] = ["match", "route", "direct_response", "redirect"];
const ROUTE: [&str; 6] =
    ["cluster_name", "weighted_clusters", "timeout", "retry_policy", "prefix_rewrite", "host_rewrite"];

impl Translator<'_> {
    pub(super) fn routes(&mut self, listener: &str, table: &Table<'_>, http2: bool) {
        for (number, host) in table.hosts.iter().enumerate() {
            let name = host.text_of("name", &mut self.found).unwrap_or_else(|| number.to_string());
            let hosts = self.domains(host);
            let mut all_taken = false;
            for (number, router) in host.list("routers", &mut self.found).iter().enumerate() {
                if all_taken {
                    self.found.note(router, "MOSN never reaches it, as an earlier one takes every request; here the more particular one wins");
                }
                all_taken |= takes_all(router);
                // In the order of the file, which decides between routes that are equally particular.
                let route = format!("{listener}.{name}.{number:03}");
                self.route(&route, listener, &hosts, router, http2);
            }
        }
    }

    /// Host names in our form; none is all.
    fn domains(&mut self, host: &Look<'_>) -> Vec<Node> {
        let mut hosts = Vec::new();
        for domain in host.list("domains", &mut self.found) {
            match domain.text(&mut self.found) {
                Some(text) if text == "*" => return Vec::new(),
                Some(text) => hosts.push(draft::text(without_port(&text), domain.at())),
                None => {}
            }
        }
        hosts
    }

    fn route(&mut self, name: &str, listener: &str, hosts: &[Node], router: &Look<'_>, http2: bool) {
        router.note_unknown(&ROUTER, &mut self.found);
        let at = router.at();
        let put =
            |draft: &mut draft::Draft, key: &str, node: Node| draft.put(&["routes", name, key], node, at);
        put(&mut self.draft, "listeners", draft::list(vec![draft::text(listener, at)], at));
        if !hosts.is_empty() {
            put(&mut self.draft, "hosts", draft::list(hosts.to_vec(), at));
        }
        if self.functions.contains(listener) {
            let layotto = draft::list(vec![draft::text("layotto", at)], at);
            put(&mut self.draft, "filters", draft::map([("wasm".to_owned(), layotto)], at));
        }
        if let Some(condition) = router.get("match") {
            let condition = self.condition(&condition);
            put(&mut self.draft, "match", draft::list(vec![condition], at));
        }
        for (key, node) in self.action(router, http2) {
            put(&mut self.draft, &key, node);
        }
    }

    fn condition(&mut self, condition: &Look<'_>) -> Node {
        condition.note_unknown(&["prefix", "path", "regex", "headers"], &mut self.found);
        let mut parts = Vec::new();
        for (theirs, ours) in [("prefix", "prefix"), ("path", "exact"), ("regex", "regex")] {
            let Some(value) = condition.get(theirs) else { continue };
            let Some(text) = value.text(&mut self.found).filter(|text| !text.is_empty()) else { continue };
            if theirs == "prefix" && !text.ends_with('/') {
                let message =
                    format!("matches whole segments here: {text} and what is below it, not {text}x");
                self.found.note(&value, message);
            }
            let path = draft::map([(ours.to_owned(), draft::text(text, &value.node().at))], value.at());
            parts.push(("path".to_owned(), path));
            break;
        }
        let headers: Vec<_> =
            condition.list("headers", &mut self.found).iter().filter_map(|h| self.header(h)).collect();
        if !headers.is_empty() {
            parts.push(("headers".to_owned(), draft::map(headers, condition.at())));
        }
        draft::map(parts, condition.at())
    }

    fn header(&mut self, header: &Look<'_>) -> Option<(String, Node)> {
        let Some(name) = header.text_of("name", &mut self.found) else {
            self.found.problem(header, "a header needs a `name`");
            return None;
        };
        let value = header.get("value").and_then(|value| value.text(&mut self.found)).unwrap_or_default();
        let how = if header.flag("regex", &mut self.found) { "regex" } else { "exact" };
        let value = draft::text(value, header.at());
        Some((name, draft::map([(how.to_owned(), value)], header.at())))
    }

    /// What becomes of a request: an answer, or clusters.
    fn action(&mut self, router: &Look<'_>, http2: bool) -> Vec<(String, Node)> {
        if let Some(response) = router.get("direct_response") {
            response.note_unknown(&["status", "body"], &mut self.found);
            return vec![(
                "respond".to_owned(),
                copied(&response, &[("status", "status"), ("body", "body")]),
            )];
        }
        if let Some(redirect) = router.get("redirect") {
            let pairs = [
                ("response_code", "status"),
                ("scheme_redirect", "scheme"),
                ("host_redirect", "host"),
                ("path_redirect", "path"),
            ];
            redirect.note_unknown(&pairs.map(|(theirs, _)| theirs), &mut self.found);
            return vec![("redirect".to_owned(), copied(&redirect, &pairs))];
        }
        let Some(route) = router.get("route") else {
            self.found.problem(router, "a router needs `route`, `direct_response` or `redirect`");
            return Vec::new();
        };
        route.note_unknown(&ROUTE, &mut self.found);
        let mut parts = vec![("backends".to_owned(), self.backends(&route, http2))];
        parts.extend(route.get("timeout").map(|timeout| ("timeout".to_owned(), timeout.node().clone())));
        parts.extend(self.retry(&route).map(|retry| ("retry".to_owned(), retry)));
        let rewrite = copied(&route, &[("prefix_rewrite", "prefix"), ("host_rewrite", "host")]);
        if !rewrite.entries().is_empty() {
            parts.push(("rewrite".to_owned(), rewrite));
        }
        parts
    }

    fn backends(&mut self, route: &Look<'_>, http2: bool) -> Node {
        let mut shares: Vec<Look<'_>> = Vec::new();
        for share in route.list("weighted_clusters", &mut self.found) {
            shares.extend(share.get("cluster"));
        }
        let mut backends = Vec::new();
        for share in &shares {
            let Some(name) = share.get("name") else {
                self.found.problem(share, "a weighted cluster needs a `name`");
                continue;
            };
            backends.push(copied(share, &[("name", "cluster"), ("weight", "weight")]));
            self.http2.extend(name.text(&mut self.found).filter(|_| http2));
        }
        if let Some(name) = route.get("cluster_name").filter(|_| shares.is_empty()) {
            backends.push(copied(route, &[("cluster_name", "cluster")]));
            self.http2.extend(name.text(&mut self.found).filter(|_| http2));
        }
        draft::list(backends, route.at())
    }

    fn retry(&mut self, route: &Look<'_>) -> Option<Node> {
        let policy = route.get("retry_policy")?;
        policy.note_unknown(&["retry_on", "num_retries", "retry_timeout"], &mut self.found);
        if !policy.flag("retry_on", &mut self.found) {
            return None;
        }
        let mut retry = copied(&policy, &[("num_retries", "attempts"), ("retry_timeout", "per_try_timeout")]);
        let on = ["connect_failure", "refused_stream", "5xx"].map(|on| draft::text(on, policy.at()));
        if let Value::Map(entries) = &mut retry.value {
            let on = draft::map([("on".to_owned(), draft::list(on.to_vec(), policy.at()))], policy.at());
            entries.extend(on.entries().iter().cloned());
        }
        Some(retry)
    }
}

/// A map with some values of another one, under our names.
pub(super) fn copied(from: &Look<'_>, pairs: &[(&str, &str)]) -> Node {
    let copy = |(theirs, ours): &(&str, &str)| Some(((*ours).to_owned(), from.get(theirs)?.node().clone()));
    draft::map(pairs.iter().filter_map(copy), from.at())
}

/// Whether a router leaves nothing for those after it.
fn takes_all(router: &Look<'_>) -> bool {
    let Some(condition) = router.get("match") else { return true };
    let is_root = |prefix: Look<'_>| matches!(&prefix.node().value, Value::Text(text) if text.text == "/");
    let anything = condition.any(&["path", "regex"]).is_none() && condition.get("prefix").is_none_or(is_root);
    anything && condition.get("headers").is_none()
}

fn without_port(domain: &str) -> &str {
    match domain.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => domain,
    }
}
