//! What a route does with the requests it gets.

use http::StatusCode;
use outrigger_cluster::Clusters;
use outrigger_http::Problem;

use super::nearest::dangling;
use crate::action::{self, Action, Forward, PathChange, Redirect, Respond, Rewrite, Weighted};
use crate::config::{BackendConfig, PathMatch, RedirectConfig, RespondConfig, RewriteConfig, RouteConfig};
use crate::route::{HostPattern, PathPattern};

/// Checks everything but the matching, and compiles the action.
pub(super) fn action(route: &RouteConfig, clusters: &Clusters) -> Result<Action, Vec<Problem>> {
    let mut problems = setting_problems(route);
    let action = match (&route.redirect, &route.respond, route.backends.is_empty()) {
        (Some(config), None, true) => redirect(config, route, &mut problems).map(Action::Redirect),
        (None, Some(config), true) => respond(config, &mut problems).map(Box::new).map(Action::Respond),
        (None, None, false) => forward(route, clusters, &mut problems).map(Action::Forward),
        (None, None, true) => {
            problems.push(Problem::new(
                "backends",
                "the route does nothing: give it `backends`, `redirect` or `respond`",
            ));
            None
        }
        _ => {
            problems.push(Problem::new("", "give exactly one of `backends`, `redirect` and `respond`"));
            None
        }
    };
    action.filter(|_| problems.is_empty()).ok_or(problems)
}

fn setting_problems(route: &RouteConfig) -> Vec<Problem> {
    let needs_backends = [
        ("rewrite", route.rewrite.is_some()),
        ("retry", route.retry.is_some()),
        ("timeout", route.timeout.is_some()),
    ];
    let idle = needs_backends.into_iter().filter(|(_, is_set)| *is_set && route.backends.is_empty());
    let mut problems: Vec<Problem> =
        idle.map(|(path, _)| Problem::new(path, "has no effect on a route without `backends`")).collect();
    let retry = route.retry.iter().flat_map(|retry| retry.problems());
    problems.extend(retry.map(|(field, message)| Problem::new(format!("retry.{field}"), message)));
    problems
}

fn forward(route: &RouteConfig, clusters: &Clusters, problems: &mut Vec<Problem>) -> Option<Forward> {
    let backends = weighted(&route.backends, clusters, problems);
    let rewrite = route.rewrite.as_ref().map(|config| rewrite(config, route, problems)).unwrap_or_default();
    Some(Forward { backends: backends?, rewrite, timeout: route.timeout, retry: route.retry.clone() })
}

fn weighted(
    backends: &[BackendConfig],
    clusters: &Clusters,
    problems: &mut Vec<Problem>,
) -> Option<Weighted> {
    let mut found = Vec::new();
    for (index, BackendConfig { cluster: name, weight }) in backends.iter().enumerate() {
        match clusters.get(name) {
            Some(cluster) => found.push((*weight, cluster.clone())),
            None => {
                let path = format!("backends.{index}.cluster");
                problems.push(dangling(path, "cluster", name, clusters.names()));
            }
        }
    }
    if backends.iter().all(|backend| backend.weight == 0) {
        problems.push(Problem::new("backends", "all weights are 0, so no request could go anywhere"));
    }
    (found.len() == backends.len()).then(|| Weighted::new(found))
}

fn rewrite(config: &RewriteConfig, route: &RouteConfig, problems: &mut Vec<Problem>) -> Rewrite {
    let host = config.host.as_deref().and_then(|text| {
        let authority = action::authority(text);
        if authority.is_none() {
            problems.push(Problem::new("rewrite.host", format!("`{text}` is not a host name")));
        }
        authority
    });
    let path = path_change("rewrite", config.path.as_deref(), config.prefix.as_deref(), route, problems);
    Rewrite { host, path }
}

fn path_change(
    section: &str,
    path: Option<&str>,
    prefix: Option<&str>,
    route: &RouteConfig,
    problems: &mut Vec<Problem>,
) -> PathChange {
    let change = match (path, prefix) {
        (None, None) => return PathChange::Keep,
        (Some(path), None) => PathPattern::exact(path).map(|_| PathChange::Whole(path.into())),
        (None, Some(prefix)) => {
            if !has_only_prefixes(route) {
                let message =
                    "replaces the matched prefix, so every match of the route needs a `prefix` path";
                problems.push(Problem::new(format!("{section}.prefix"), message));
            }
            let base = prefix.strip_suffix('/').unwrap_or(prefix);
            PathPattern::exact(prefix).map(|_| PathChange::Prefix(base.into()))
        }
        (Some(_), Some(_)) => {
            problems.push(Problem::new(section, "give `path` or `prefix`, not both"));
            return PathChange::Keep;
        }
    };
    change.unwrap_or_else(|error| {
        let field = if path.is_some() { "path" } else { "prefix" };
        problems.push(Problem::new(format!("{section}.{field}"), error.to_string()));
        PathChange::Keep
    })
}

fn has_only_prefixes(route: &RouteConfig) -> bool {
    !route.matches.is_empty()
        && route.matches.iter().all(|one| matches!(one.path, Some(PathMatch::Prefix(_))))
}

fn redirect(config: &RedirectConfig, route: &RouteConfig, problems: &mut Vec<Problem>) -> Option<Redirect> {
    let status =
        StatusCode::from_u16(config.status).ok().filter(|_| matches!(config.status, 301..=303 | 307 | 308));
    if status.is_none() {
        let message = format!("{} is not one of 301, 302, 303, 307 and 308", config.status);
        problems.push(Problem::new("redirect.status", message));
    }
    if let Some(scheme) = config.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        problems.push(Problem::new("redirect.scheme", format!("`{scheme}` is neither `http` nor `https`")));
    }
    let is_host = |host: &&str| !matches!(HostPattern::parse(host), Ok(HostPattern::Exact(_)));
    if let Some(host) = config.host.as_deref().filter(is_host) {
        problems.push(Problem::new("redirect.host", format!("`{host}` is not a host name without port")));
    }
    let path = path_change("redirect", config.path.as_deref(), config.prefix.as_deref(), route, problems);
    let (scheme, host) = (config.scheme.as_deref().map(Into::into), config.host.as_deref().map(Into::into));
    Some(Redirect { status: status?, scheme, host, port: config.port, path })
}

fn respond(config: &RespondConfig, problems: &mut Vec<Problem>) -> Option<Respond> {
    match Respond::new(config) {
        Ok(respond) => Some(respond),
        Err(found) => {
            problems.extend(found.into_iter().map(|problem| problem.within("respond")));
            None
        }
    }
}
