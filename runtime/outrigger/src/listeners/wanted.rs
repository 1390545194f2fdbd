//! What a configuration asks for: sockets, and the terms on which they serve.

use std::{collections::BTreeMap, sync::Arc};

use outrigger_http::{Problem as SectionProblem, ServerConfig, Underscores};
use outrigger_net::{
    Address, ListenerLimits,
    tls::{self, ServerTls},
};

use super::Kind;
use crate::config::{Config, Loaded, Problem, Problems, native::ApiListenerConfig};

/// A listener as configured, as far as its socket goes. Equal means: leave it open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) address: Address,
    /// Clients that spoke in plain text must not go on where TLS is asked for now.
    pub(super) encrypted: bool,
}

/// What may change while the socket stays open. Connections that live keep what they began with.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) tls: Option<Arc<tls::ServerConfig>>,
    pub(super) limits: ListenerLimits,
    pub(super) http: Arc<ServerConfig>,
    /// Where the configuration says so.
    pub(super) path: String,
}

/// Everything to listen on. Certificates are read here, so that a missing file is found before anything changes.
pub(super) fn wanted(loaded: &Loaded) -> Result<BTreeMap<Wanted, Terms>, Problems> {
    let (mut wanted, mut problems) = (BTreeMap::new(), Vec::new());
    for (kind, name, path, listener) in listeners(&loaded.config) {
        let mut report = |problem: SectionProblem| problems.push(told(loaded, problem.within(&path)));
        check(&listener).into_iter().for_each(&mut report);
        let tls = listener.tls.as_ref().map(ServerTls::build).transpose();
        let tls = tls.unwrap_or_else(|error| {
            report(SectionProblem::new("tls", error.to_string()));
            None
        });
        let ApiListenerConfig { address, limits, mut http, .. } = listener;
        // Metadata keys may hold underscores, and nothing stands behind us that could take one for a dash.
        http.underscores.get_or_insert(Underscores::Allow);
        let terms = Terms { tls, limits, http: Arc::new(http), path };
        wanted.insert(Wanted { kind, name, address, encrypted: terms.tls.is_some() }, terms);
    }
    if problems.is_empty() { Ok(wanted) } else { Err(Problems::sorted(problems)) }
}

fn listeners(config: &Config) -> impl Iterator<Item = (Kind, Arc<str>, String, ApiListenerConfig)> {
    let api = config.api.listeners.iter().map(|(name, listener)| {
        (Kind::Api, Arc::from(name.as_str()), format!("api.listeners.{name}"), listener.clone())
    });
    let admin = config.admin.address.iter().map(|address| {
        let listener =
            ApiListenerConfig { tls: config.admin.tls.clone(), ..ApiListenerConfig::at(address.clone()) };
        (Kind::Admin, Arc::from("admin"), "admin".to_owned(), listener)
    });
    api.chain(admin)
}

/// Settings that cannot work, or mean nothing here.
fn check(listener: &ApiListenerConfig) -> Vec<SectionProblem> {
    let mut problems: Vec<_> =
        listener.http.problems().into_iter().map(|problem| problem.within("http")).collect();
    if !listener.http.trusted_peers.is_empty() {
        let message = "belongs to a proxy listener: the API looks at no forwarding header";
        problems.push(SectionProblem::new("http.trusted_peers", message));
    }
    if listener.limits.max_connections == 0 {
        problems.push(SectionProblem::new("limits.max_connections", "must be at least 1"));
    }
    problems
}

fn told(loaded: &Loaded, problem: SectionProblem) -> Problem {
    loaded.problem(&problem.path, problem.message)
}
