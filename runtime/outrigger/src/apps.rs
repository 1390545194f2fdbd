//! Where applications are: functions of this process, the application beside us, those the configuration names, those beside the other sidecars of this
//! user on this host, which find each other without configuration, and those in registries.

mod functions;
mod sidecars;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use outrigger_blocks::{
    Blocks, Caller, Error, ErrorKind, Meter, Result,
    invoke::{Directory, Place, SharedToken, Speaks, Target},
};
use outrigger_cluster::{
    ClusterConfig, Clusters, Context,
    config::{DnsConfig, PassiveConfig, Protocol},
};
use outrigger_component_api::{Secret, async_trait, nearest};
use outrigger_net::Address;

use crate::config::native::{AppConfig, AppProtocol, Config, OtherApp, Via};
use functions::Functions;
use sidecars::Sidecars;

/// Every application there is a way to.
pub struct Apps {
    meter: Meter,
    functions: Functions,
    known: ArcSwap<Known>,
    sidecars: Sidecars,
    /// What other sidecars ask of us.
    token: SharedToken,
}

/// What one configuration says.
struct Known {
    own: AppConfig,
    others: BTreeMap<String, OtherApp>,
    token: SharedToken,
    targets: BTreeMap<String, Arc<Target>>,
    clusters: Clusters,
}

/// The entry that stands for every id nobody else answers for.
const ANY: &str = "*";
/// Stands before the names of the clusters here, so that none is like one of the configuration's.
const PREFIX: &str = "app:";

impl Apps {
    pub fn new(context: Context, blocks: &Arc<Blocks>) -> Self {
        let (meter, registries) = (blocks.meter().clone(), Arc::clone(&blocks.invoke.registries));
        let functions = Functions::new(blocks, context.clone());
        let (clusters, token) = (Clusters::empty(context.clone()), SharedToken::default());
        let known = Known {
            own: AppConfig::default(),
            others: BTreeMap::new(),
            token: Arc::clone(&token),
            targets: BTreeMap::new(),
            clusters,
        };
        let sidecars = Sidecars::new(context, meter.clone(), Arc::clone(&token), registries);
        Self { meter, functions, known: ArcSwap::from_pointee(known), sidecars, token }
    }

    /// The applications of `config` are the ones that calls find. It has been checked.
    pub fn follow(&self, config: &Config) {
        let previous = self.known.load();
        let wanted = wanted(config);
        let clusters = match Clusters::compile(&wanted, &previous.clusters) {
            Ok(clusters) => clusters,
            Err(problems) => {
                tracing::error!(?problems, "the applications stay as they were");
                return;
            }
        };
        clusters.activate();
        let mut known = Known {
            own: config.app.clone(),
            others: config.apps.clone(),
            token: Arc::clone(&self.token),
            targets: BTreeMap::new(),
            clusters,
        };
        let ids = config.apps.keys().chain((!config.app.id.is_empty()).then_some(&config.app.id));
        for id in ids {
            if let Some(target) = known.target(id, &previous, &self.meter) {
                known.targets.insert(id.clone(), target);
            }
        }
        self.known.store(Arc::new(known));
    }

    /// Presents this token to other sidecars from now on: those that call each other share theirs.
    pub fn present(&self, token: Option<&Secret>) {
        self.token.store(token.cloned().map(Arc::new));
    }

    /// Tells the other sidecars where the API beside our application listens.
    pub async fn announce(&self, app: &AppConfig, listeners: &[Address]) {
        self.sidecars.announce(app, listeners).await;
    }

    /// Tells them that it no longer is.
    pub async fn withdraw(&self) {
        self.sidecars.withdraw().await;
    }
}

impl Known {
    /// The target of an id, the one of before where nothing about it changed.
    fn target(&self, id: &str, previous: &Self, meter: &Meter) -> Option<Arc<Target>> {
        let cluster = self.clusters.get(&format!("{PREFIX}{id}"))?;
        let same = self.own == previous.own && self.others.get(id) == previous.others.get(id);
        let kept = previous.targets.get(id).filter(|old| same && Arc::ptr_eq(old.cluster(), cluster));
        let made = || Arc::new(Target::new(id, Arc::clone(cluster), self.place(id), meter));
        Some(kept.cloned().unwrap_or_else(made))
    }

    fn place(&self, id: &str) -> Place {
        match self.others.get(id).filter(|_| id != self.own.id) {
            None => Place::App { speaks: speaks(self.own.protocol), callers: self.own.callers.clone() },
            Some(OtherApp { via: Via::Sidecar, .. }) => Place::Sidecar { token: Arc::clone(&self.token) },
            Some(other) => Place::App { speaks: speaks(other.protocol), callers: Default::default() },
        }
    }

    fn unknown(&self, id: &str) -> Error {
        if id == self.own.id {
            let message = "the application beside this sidecar cannot be called: app.port is not set";
            return Error::new(ErrorKind::FailedPrecondition, message);
        }
        let guess = nearest(id, self.targets.keys().map(String::as_str).filter(|known| *known != ANY));
        let guess = guess.map(|known| format!("; did you mean '{known}'?")).unwrap_or_default();
        let message = format!(
            "no application '{id}' is known here: it is not beside a sidecar of this host or in a registry, and not under \
             'apps'{guess}"
        );
        Error::new(ErrorKind::NotConfigured, message)
    }
}

#[async_trait]
impl Directory for Apps {
    async fn find(&self, caller: &Caller<'_>, app: &str) -> Result<Arc<Target>> {
        if let Some(function) = self.functions.find(app) {
            return Ok(function);
        }
        let known = self.known.load_full();
        if let Some(target) = known.targets.get(app) {
            return Ok(Arc::clone(target));
        }
        let found = match app == known.own.id {
            true => Ok(None),
            false => self.sidecars.find(caller.app_id, app).await,
        };
        match (found, known.targets.get(ANY)) {
            (Ok(Some(target)), _) => Ok(target),
            // Whoever stands for every other app also stands for those that cannot be looked up.
            (_, Some(any)) => Ok(Arc::clone(any)),
            (Ok(None), None) => Err(known.unknown(app)),
            (Err(error), None) => Err(error),
        }
    }
}

/// The clusters of the applications a configuration names.
fn wanted(config: &Config) -> BTreeMap<String, ClusterConfig> {
    let others = config.apps.iter().map(|(id, other)| (format!("{PREFIX}{id}"), other.cluster()));
    let own = Some(&config.app).filter(|app| !app.id.is_empty()).and_then(AppConfig::cluster);
    let own = own.map(|cluster| (format!("{PREFIX}{}", config.app.id), cluster));
    others.chain(own).collect()
}

impl AppConfig {
    /// What the application beside us is to whoever sends there; `None` without a port.
    pub fn cluster(&self) -> Option<ClusterConfig> {
        let port = self.port?;
        let mut cluster = ClusterConfig { protocol: spoken(self.protocol), ..ClusterConfig::default() };
        // There is one application: leaving it out for failing would only turn its answers into ours.
        cluster.health.passive =
            PassiveConfig { consecutive_5xx: 0, consecutive_gateway: 0, ..cluster.health.passive };
        match self.host.parse::<IpAddr>() {
            Ok(ip) => cluster.endpoints = vec![Address::Tcp((ip, port).into()).into()],
            Err(_) => cluster.dns = Some(DnsConfig { name: self.host.clone(), port, refresh: None }),
        }
        Some(cluster)
    }
}

impl OtherApp {
    /// What it is to whoever sends there; also what finds mistakes in it.
    pub fn cluster(&self) -> ClusterConfig {
        let protocol = match self.via {
            Via::App => spoken(self.protocol),
            Via::Sidecar => Protocol::Http2,
        };
        let endpoints = self.addresses.iter().cloned().map(Into::into).collect();
        ClusterConfig { endpoints, protocol, ..ClusterConfig::default() }
    }
}

fn spoken(protocol: AppProtocol) -> Protocol {
    match protocol {
        AppProtocol::Http => Protocol::Http1,
        AppProtocol::Grpc => Protocol::Http2,
    }
}

fn speaks(protocol: AppProtocol) -> Speaks {
    match protocol {
        AppProtocol::Http => Speaks::Http,
        AppProtocol::Grpc => Speaks::Grpc,
    }
}
