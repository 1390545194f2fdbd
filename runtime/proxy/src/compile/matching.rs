//! What a route matches: its hosts and matches as entries of the table.

use std::collections::BTreeMap;
use std::str::FromStr;

use http::{HeaderName, Method};
use outrigger_http::Problem;

use super::nearest::dangling;
use crate::config::{MatchConfig, PathMatch, ProxyConfig, RouteConfig, ValueMatch};
use crate::route::{Conditions, Entry, FieldTest, HostPattern, PathPattern};

/// Listener names that do not exist or do not speak HTTP.
pub(super) fn listener_problems(route: &RouteConfig, config: &ProxyConfig, http: &[&str]) -> Vec<Problem> {
    let wrong = route.listeners.iter().enumerate().filter(|(_, name)| !http.contains(&name.as_str()));
    wrong
        .map(|(index, name)| {
            let path = format!("listeners.{index}");
            match config.listeners.contains_key(name) {
                true => Problem::new(
                    path,
                    format!("listener `{name}` does not speak HTTP, so no route applies to it"),
                ),
                false => dangling(path, "listener", name, http.iter().copied()),
            }
        })
        .collect()
}

/// Every pair of host and match, ordered as written; the caller fills in the route.
pub(super) fn entries(route: &RouteConfig) -> Result<Vec<Entry>, Vec<Problem>> {
    let mut problems = Vec::new();
    let hosts = hosts(route, &mut problems);
    let matches = matches(route, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut entries = Vec::with_capacity(hosts.len() * matches.len());
    for host in &hosts {
        for (path, conditions) in &matches {
            let (host, path, conditions) = (host.clone(), path.clone(), conditions.clone());
            entries.push(Entry { host, path, conditions, route: 0 });
        }
    }
    Ok(entries)
}

fn hosts(route: &RouteConfig, problems: &mut Vec<Problem>) -> Vec<HostPattern> {
    if route.hosts.is_empty() {
        return vec![HostPattern::Any];
    }
    let mut hosts = Vec::new();
    for (index, host) in route.hosts.iter().enumerate() {
        match HostPattern::parse(host) {
            Ok(host) => hosts.push(host),
            Err(message) => problems.push(Problem::new(format!("hosts.{index}"), message)),
        }
    }
    hosts
}

fn matches(route: &RouteConfig, problems: &mut Vec<Problem>) -> Vec<(PathPattern, Conditions)> {
    if route.matches.is_empty() {
        return vec![(PathPattern::Any, Conditions::default())];
    }
    let mut matches = Vec::new();
    for (index, config) in route.matches.iter().enumerate() {
        let mut found = Vec::new();
        matches.push((path_pattern(config, &mut found), conditions(config, &mut found)));
        problems.extend(found.into_iter().map(|problem| problem.within(&format!("match.{index}"))));
    }
    matches
}

fn path_pattern(config: &MatchConfig, problems: &mut Vec<Problem>) -> PathPattern {
    if config.grpc.is_some() && (config.path.is_some() || config.method.is_some()) {
        problems.push(Problem::new("grpc", "says path and method already; leave `path` and `method` out"));
    }
    let (name, pattern) = match (&config.path, &config.grpc) {
        (None, None) => return PathPattern::Any,
        (None, Some(grpc)) => ("grpc", PathPattern::grpc(grpc.service.as_deref(), grpc.method.as_deref())),
        (Some(PathMatch::Exact(text)), _) => ("path.exact", PathPattern::exact(text)),
        (Some(PathMatch::Prefix(text)), _) => ("path.prefix", PathPattern::prefix(text)),
        (Some(PathMatch::Regex(text)), _) => ("path.regex", PathPattern::regex(text)),
        (Some(PathMatch::Template(text)), _) => ("path.template", PathPattern::template(text)),
    };
    pattern.unwrap_or_else(|error| {
        problems.push(Problem::new(name, error.to_string()));
        PathPattern::Any
    })
}

fn conditions(config: &MatchConfig, problems: &mut Vec<Problem>) -> Conditions {
    let header =
        |name: &str| HeaderName::from_str(name).map_err(|_| format!("`{name}` is not a header name"));
    Conditions {
        method: config.method.as_deref().and_then(|text| method(text, problems)),
        grpc: config.grpc.is_some(),
        headers: fields("headers", &config.headers, header, problems),
        query: fields("query", &config.query, |name| Ok(name.into()), problems),
    }
}

fn method(text: &str, problems: &mut Vec<Problem>) -> Option<Method> {
    let method = Method::from_str(text).ok().filter(|_| !text.bytes().any(|byte| byte.is_ascii_lowercase()));
    if method.is_none() {
        problems.push(Problem::new(
            "method",
            format!("`{text}` is not a method; they are written in upper case"),
        ));
    }
    method
}

fn fields<N>(
    section: &str,
    config: &BTreeMap<String, ValueMatch>,
    parse: impl Fn(&str) -> Result<N, String>,
    problems: &mut Vec<Problem>,
) -> Box<[(N, FieldTest)]> {
    let mut tests = Vec::new();
    for (name, value) in config {
        match parse(name).and_then(|parsed| Ok((parsed, FieldTest::compile(value)?))) {
            Ok(test) => tests.push(test),
            Err(message) => problems.push(Problem::new(format!("{section}.{name}"), message)),
        }
    }
    tests.into()
}
