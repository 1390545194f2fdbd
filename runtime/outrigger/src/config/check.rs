//! What one struct cannot know of another: that a name refers to something, that settings fit their component's type.

pub mod grants;
mod triggers;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use outrigger_blocks::{LimitConfig, take_block_settings};
use outrigger_component_api::{BlockKind, ComponentSpec, Error, Registry, Settings};
use outrigger_net::Address;

use super::{
    native::{AppProtocol, ComponentConfig, Config},
    node::{Node, Step, dotted},
    problem::{Problem, suggestion},
    read::{Refusal, collect},
};
use crate::{
    functions,
    secrets::{self, SecretRef},
    telemetry,
    tokens::{self, TokenConfig},
};

pub fn all(config: &Config, tree: &Node, registry: &Registry, problems: &mut Vec<Problem>) {
    let mut checker = Checker { config, tree, registry, problems };
    for (name, component) in &config.components {
        checker.component(name, component);
    }
    checker.names();
    checker.subscriptions();
    checker.inputs();
    checker.triggers();
    checker.backends();
    checker.apps();
    checker.addresses();
    if let Err(error) = outrigger_telemetry::logs::check_level(&config.log.level) {
        checker.report(&keys(&["log", "level"]), error.to_string());
    }
    let tokens = [("api", &config.api.tokens), ("admin", &config.admin.tokens)];
    for (section, tokens) in tokens {
        checker.token_refs(section, tokens);
    }
    let tokens = tokens.into_iter().flat_map(|(section, tokens)| tokens::check(section, tokens));
    let calls = config.api.limits.calls.iter().flat_map(limit);
    let functions = functions::check(config).into_iter().chain(grants::problems(config, tree, registry));
    for (path, message) in
        telemetry::check(&config.telemetry).into_iter().chain(tokens).chain(calls).chain(functions)
    {
        checker.report(&tree.steps(&path), message);
    }
}

struct Checker<'c> {
    config: &'c Config,
    tree: &'c Node,
    registry: &'c Registry,
    problems: &'c mut Vec<Problem>,
}

impl Checker<'_> {
    fn report(&mut self, steps: &[Step], message: impl Into<String>) {
        self.problems.push(Problem::new(self.tree.place(steps), &dotted(steps), message));
    }

    fn component(&mut self, name: &str, component: &ComponentConfig) {
        let at = keys(&["components", name]);
        let info = match self.registry.find(&component.r#type) {
            Ok(info) => info,
            Err(_) if component.block.is_some() => return,
            Err(error) => return self.report(&below(&at, "type"), error.message()),
        };
        let settings = below(&at, "settings");
        self.secret_refs(&settings, info.kind, &component.settings);
        let base = if component.settings.is_empty() { &at } else { &settings };
        let attempt = |json| fits(self.registry, name, component, json, self.tree, base);
        let (_, found) = collect(self.tree, base, attempt);
        self.problems.extend(found);
    }

    fn secret_refs(&mut self, at: &[Step], kind: BlockKind, settings: &Settings) {
        for (path, reference) in secrets::references(settings) {
            let steps = [at, &path].concat();
            let reference = match reference {
                Ok(reference) => reference,
                Err(message) => {
                    self.report(&steps, message);
                    continue;
                }
            };
            let named = below(&below(&steps, secrets::KEY), "store");
            if kind == BlockKind::Secrets {
                self.report(&named, "a secret store cannot take its settings from a secret store");
            } else {
                self.store(&named, &reference);
            }
        }
    }

    fn token_refs(&mut self, section: &str, tokens: &BTreeMap<String, TokenConfig>) {
        for (name, token) in tokens {
            if let Some(reference) = &token.secret_ref {
                self.store(&keys(&[section, "tokens", name, secrets::KEY, "store"]), reference);
            }
        }
    }

    /// A reference has to name a secret store; `named` is where it does.
    fn store(&mut self, named: &[Step], reference: &SecretRef) {
        let store = self.config.components.get(&reference.store);
        let is_secrets = |c: &ComponentConfig| self.block(c) == Some(BlockKind::Secrets);
        if store.is_none() && !self.exists(&["components", &reference.store]) {
            let stores = self.config.components.iter().filter(|(_, c)| is_secrets(c));
            let hint = suggestion(&reference.store, stores.map(|(name, _)| name.as_str()));
            self.report(named, format!("there is no secret store named '{}'{hint}", reference.store));
        } else if store.is_some_and(|store| !is_secrets(store)) {
            let message = format!("the component '{}' is not a secret store", reference.store);
            self.report(named, message);
        }
    }

    fn block(&self, component: &ComponentConfig) -> Option<BlockKind> {
        self.registry.find(&component.r#type).ok().map(|info| info.kind).or(component.block)
    }

    /// Calls find a component by its name in its block.
    fn names(&mut self) {
        let config = self.config;
        let mut first: BTreeMap<(BlockKind, &str), &str> = BTreeMap::new();
        for (key, component) in &config.components {
            let Some(block) = self.block(component) else { continue };
            let name = component.name(key);
            if let Some(other) = first.insert((block, name), key) {
                let at = below(&keys(&["components", key]), "name");
                let block = block.as_str();
                self.report(
                    &at,
                    format!("'{name}' is already the name of components.{other} in the block {block}"),
                );
            }
        }
    }

    /// Topics for the application need an application to give them to, and a component to take them from.
    fn subscriptions(&mut self) {
        let config = self.config;
        let brokers: Vec<&str> = config
            .components
            .iter()
            .filter(|(_, component)| self.block(component) == Some(BlockKind::PubSub))
            .map(|(key, component)| component.name(key))
            .collect();
        let mut first: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (name, subscription) in &config.subscriptions {
            let at = keys(&["subscriptions", name]);
            if config.app.port.is_none() {
                self.report(&at, "events are given to the application: set app.port");
            }
            self.route(&at, subscription.route.as_deref());
            if let Some(other) = first.insert((&subscription.pubsub, &subscription.topic), name) {
                let message = format!("subscriptions.{other} has this topic already");
                self.report(&below(&at, "topic"), message);
            }
            if !brokers.contains(&subscription.pubsub.as_str()) {
                let hint = suggestion(&subscription.pubsub, brokers.iter().copied());
                let message = format!("there is no pub/sub component named '{}'{hint}", subscription.pubsub);
                self.report(&below(&at, "pubsub"), message);
            }
            if subscription.topic.is_empty() {
                self.report(&below(&at, "topic"), "the topic is empty");
            }
        }
    }

    /// Where events are given to an application that speaks HTTP.
    fn route(&mut self, at: &[Step], route: Option<&str>) {
        match (self.config.app.protocol, route) {
            (AppProtocol::Grpc, None) => {}
            (AppProtocol::Grpc, Some(_)) => {
                let message = "an application that speaks gRPC is called, not sent to a path";
                self.report(&below(at, "route"), message);
            }
            (AppProtocol::Http, None) => {
                let message = "an application that speaks HTTP is given events at a path: set route, or app.protocol: grpc";
                self.report(at, message);
            }
            (AppProtocol::Http, Some(route)) => {
                if !route.starts_with('/') || route.parse::<http::uri::PathAndQuery>().is_err() {
                    self.report(&below(at, "route"), format!("'{route}' is no path: it starts with /"));
                }
            }
        }
    }

    /// Events of input bindings likewise. Foreign files may name components they have no use for.
    fn inputs(&mut self) {
        let config = self.config;
        // Functions that come from a folder may take them: what they say is read later.
        if config.app.port.is_some() || crate::wasm::folder(&config.wasm).is_some() {
            return;
        }
        for (key, component) in &config.components {
            let ours = component.scopes.is_empty() || component.scopes.contains(&config.app.id);
            let is_input =
                component.block.is_none() && self.block(component) == Some(BlockKind::InputBinding);
            if ours && is_input && !self.is_taken(component.name(key)) {
                self.report(
                    &keys(&["components", key]),
                    "its events are given to the application: set app.port",
                );
            }
        }
    }

    /// An application is reached through a cluster, which knows what cannot work.
    fn apps(&mut self) {
        let config = self.config;
        for (id, app) in &config.apps {
            for problem in app.cluster().problems() {
                self.report(&keys(&["apps", id, "addresses"]), problem.message);
            }
        }
    }

    /// Whether the files name it at all. A thing that is broken is told once, not at every place that refers to it.
    fn exists(&self, path: &[&str]) -> bool {
        path.iter().try_fold(self.tree, |node, key| node.get(key)).is_some()
    }

    /// Two listeners on one address would fail at start; here it is still known who wrote them. Among its own the
    /// proxy looks itself, as it may share addresses.
    fn addresses(&mut self) {
        let config = self.config;
        let api = config.api.listeners.iter();
        let api = api.map(|(name, l)| (keys(&["api", "listeners", name, "address"]), &l.address));
        let admin = config.admin.address.iter().map(|address| (keys(&["admin", "address"]), address));
        let proxy = config.listeners.iter();
        let proxy = proxy.map(|(name, l)| (keys(&["listeners", name, "address"]), &l.address));
        let ours: Vec<_> = api.chain(admin).collect();
        for (at, (steps, address)) in ours.iter().cloned().chain(proxy).enumerate() {
            let same = |(_, other): &&(Vec<Step>, &Address)| *other == address && address.port() != Some(0);
            if let Some((first, _)) = ours.iter().take(at).find(same) {
                self.report(&steps, format!("{address} is already the address of {}", dotted(first)));
            }
        }
    }
}

/// What is wrong with a limit on calls, as paths and messages.
fn limit((name, limit): (&String, &LimitConfig)) -> Vec<(String, String)> {
    let at = |setting: &str| format!("api.limits.calls.{name}{setting}");
    let mut wrong = Vec::new();
    if limit.rate.is_none() && limit.concurrent.is_none() {
        wrong.push((at(""), "it limits nothing: give a rate, or how many may be concurrent".to_owned()));
    }
    if let Some(Err(message)) = limit.rate.map(|rate| rate.validate()) {
        wrong.push((at(".rate"), message.to_owned()));
    }
    if limit.concurrent == Some(0) {
        wrong.push((at(".concurrent"), "must be at least 1".to_owned()));
    }
    let blocks = || BlockKind::ALL.iter().map(|kind| kind.as_str());
    if let Some(block) = limit.block.as_deref().filter(|block| !blocks().any(|known| known == *block)) {
        let hint = suggestion(block, blocks());
        wrong.push((at(".block"), format!("there is no block `{block}`{hint}")));
    }
    wrong
}

/// Tries the settings on the component's type.
fn fits(
    registry: &Registry,
    name: &str,
    component: &ComponentConfig,
    json: serde_json::Value,
    tree: &Node,
    base: &[Step],
) -> Result<(), Refusal> {
    let mut settings = match json {
        serde_json::Value::Object(settings) if !component.settings.is_empty() => settings,
        _ => Settings::new(),
    };
    secrets::fill_in(&mut settings);
    let spec = ComponentSpec {
        name: name.to_owned(),
        r#type: component.r#type.clone(),
        settings,
        scopes: Vec::new(),
    };
    check_spec(registry, spec).map_err(|error| {
        let setting =
            error.context().iter().find(|(key, _)| *key == "setting").map(|(_, path)| path.as_str());
        let node = base.iter().try_fold(tree, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(_) => None,
        });
        let path = setting.zip(node).map(|(path, node)| node.steps(path)).unwrap_or_default();
        Refusal { path, message: error.message().to_owned() }
    })
}

fn check_spec(registry: &Registry, mut spec: ComponentSpec) -> Result<(), Error> {
    take_block_settings(registry.find(&spec.r#type)?.kind, &mut spec)?;
    registry.check(&spec)
}

fn keys(path: &[&str]) -> Vec<Step> {
    path.iter().map(|key| Step::Key((*key).to_owned())).collect()
}

fn below(steps: &[Step], key: &str) -> Vec<Step> {
    steps.iter().cloned().chain([Step::Key(key.to_owned())]).collect()
}

/// The address at which somebody on this machine reaches a listener: the unspecified address is everywhere.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { (Ipv4Addr::LOCALHOST, address.port()).into() } else { address }
}
