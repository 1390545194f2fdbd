//! Calls to the application: which cluster it is, and what brings it events: the courier those of topics, the inlet
//! those of input bindings.

use std::{collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};

use outrigger_api::app::{AppCallback, DaprCallback, HttpApp};
use outrigger_blocks::{
    AppEvents, AppInputs, Blocks, Courier, Inlet, Member as _, SubscriptionConfig,
    function::{Deployed, Taker},
};
use outrigger_cluster::{Cluster, ClusterConfig};
use tokio::{sync::Mutex, task::JoinSet, time::timeout};

use crate::{
    config::{
        Config,
        native::{AppConfig, AppProtocol},
    },
    function_triggers,
    joints::{ToApp, gone},
    snapshot::Snapshot,
};

/// The name of the cluster that is the application. No configuration can name it: it is no key of a map.
pub const APP: &str = "outrigger:app";

/// The clusters of a configuration, with those that functions' names stand for and that of the application.
pub fn clusters(config: &Config) -> BTreeMap<String, ClusterConfig> {
    let mut clusters = config.clusters.clone();
    for name in config.functions.keys() {
        clusters.entry(name.clone()).or_insert_with(|| function_triggers::cluster(name));
    }
    clusters.extend(config.app.cluster().map(|app| (APP.to_owned(), app)));
    clusters
}

/// What brings events to the application of the configuration in force.
#[derive(Default)]
pub struct Callbacks {
    current: Mutex<Option<Current>>,
    /// Those of configurations before, which finish what they have under way.
    leaving: Mutex<JoinSet<()>>,
    inputs: Mutex<Option<Inputs>>,
}

/// The inlet, and the application it was told of last.
struct Inputs {
    inlet: Inlet,
    app: Option<(AppConfig, Arc<Cluster>, Arc<dyn AppInputs>)>,
    /// The functions that take a binding's events.
    functions: BTreeMap<Arc<str>, Arc<dyn AppInputs>>,
}

impl Inputs {
    /// Who takes which binding in place of the application. Of two functions that want one the first by name has it.
    fn takers(&mut self, blocks: &Arc<Blocks>) -> BTreeMap<String, Arc<dyn AppInputs>> {
        let mut takers = BTreeMap::new();
        let deployed = blocks.functions.all();
        self.functions.retain(|name, _| deployed.iter().any(|function| function.name == *name));
        for Deployed { name, config, triggers, .. } in deployed {
            if !triggers.binding && !config.bindings.is_empty() {
                tracing::warn!(function = %name, "the function has bindings and does not export `binding`");
                continue;
            }
            for binding in &config.bindings {
                let new = || Arc::new(Taker::new(Arc::clone(blocks), Arc::clone(&name))) as _;
                let taker = self.functions.entry(Arc::clone(&name)).or_insert_with(new);
                takers.entry(binding.clone()).or_insert_with(|| Arc::clone(taker));
            }
        }
        takers
    }
}

struct Current {
    /// What decides whether another configuration means this very courier.
    app: AppConfig,
    subscriptions: BTreeMap<String, SubscriptionConfig>,
    cluster: Arc<Cluster>,
    courier: Courier,
}

impl Callbacks {
    /// Brings events to the application this configuration names, if it has any to bring.
    pub async fn follow(&self, snapshot: &Snapshot, blocks: &Arc<Blocks>) {
        self.follow_topics(snapshot, blocks).await;
        self.follow_inputs(|| snapshot, blocks).await;
    }

    async fn follow_topics(&self, snapshot: &Snapshot, blocks: &Arc<Blocks>) {
        let config = &snapshot.loaded.config;
        let mut current = self.current.lock().await;
        // One that speaks HTTP is given what the configuration says, so there may be nothing to bring.
        let asked = config.app.protocol == AppProtocol::Grpc || !config.subscriptions.is_empty();
        let takes = asked && !blocks.pubsub.brokers.all().is_empty();
        let cluster = snapshot.traffic.clusters.get(APP).filter(|_| takes);
        let limit = config.shutdown.timeout;
        let Some(cluster) = cluster else {
            return self.retire(current.take(), limit).await;
        };
        let same = |current: &Current| {
            current.app == config.app
                && current.subscriptions == config.subscriptions
                && Arc::ptr_eq(&current.cluster, cluster)
        };
        if !current.as_ref().is_some_and(same) {
            self.retire(current.take(), limit).await;
            *current = Some(Current::start(config, Arc::clone(cluster), blocks));
        }
    }

    /// An inlet is there from the first input binding on, and outlives every configuration. What is in force is looked
    /// at when nobody else does this.
    pub async fn follow_inputs<S: Deref<Target = Snapshot>>(
        &self,
        in_force: impl FnOnce() -> S,
        blocks: &Arc<Blocks>,
    ) {
        let mut inputs = self.inputs.lock().await;
        let snapshot = in_force();
        let mut bindings = blocks.bindings.inputs.all();
        bindings.retain(|binding| binding.slot().scopes().allow(blocks.app_id()));
        if inputs.is_none() && bindings.is_empty() {
            return;
        }
        let inputs = inputs.get_or_insert_with(|| Inputs {
            inlet: Inlet::start(),
            app: None,
            functions: BTreeMap::new(),
        });
        let app = &snapshot.loaded.config.app;
        inputs.app = snapshot.traffic.clusters.get(APP).map(|cluster| match inputs.app.take() {
            Some(known) if known.0 == *app && Arc::ptr_eq(&known.1, cluster) => known,
            _ => (app.clone(), Arc::clone(cluster), taker(app, cluster)),
        });
        let app = inputs.app.as_ref().map(|(_, _, app)| Arc::clone(app));
        let instead = inputs.takers(blocks);
        inputs.inlet.follow_with(app, bindings, instead);
    }

    /// Lets a courier finish on its own: what it has not been able to bring goes to the next one.
    async fn retire(&self, old: Option<Current>, limit: Duration) {
        let mut leaving = self.leaving.lock().await;
        while leaving.try_join_next().is_some() {}
        if let Some(old) = old {
            leaving.spawn(old.courier.drain(limit));
        }
    }

    /// Lets the application finish what it has; nothing new is brought.
    pub async fn drain(&self, limit: Duration) {
        let courier = self.current.lock().await.take();
        self.retire(courier, limit).await;
        let inlet = self.inputs.lock().await.take().map(|inputs| inputs.inlet);
        let mut leaving = self.leaving.lock().await;
        let couriers = async {
            let ended = async { while leaving.join_next().await.is_some() {} };
            if timeout(limit, ended).await.is_err() {
                leaving.shutdown().await;
            }
        };
        let inlet = async {
            if let Some(inlet) = inlet {
                inlet.drain(limit).await;
            }
        };
        tokio::join!(couriers, inlet);
    }
}

/// The application as what it speaks makes it.
fn taker(app: &AppConfig, cluster: &Arc<Cluster>) -> Arc<dyn AppInputs> {
    let service = ToApp::new(Arc::clone(cluster), app);
    match app.protocol {
        AppProtocol::Http => Arc::new(HttpApp::new(service)),
        AppProtocol::Grpc => Arc::new(DaprCallback::new(service, gone(Arc::clone(cluster)))),
    }
}

impl Current {
    fn start(config: &Config, cluster: Arc<Cluster>, blocks: &Arc<Blocks>) -> Self {
        let service = ToApp::new(Arc::clone(&cluster), &config.app);
        let app: Arc<dyn AppEvents> = match config.app.protocol {
            AppProtocol::Http => Arc::new(HttpApp::new(service)),
            AppProtocol::Grpc => Arc::new(AppCallback::new(service, gone(Arc::clone(&cluster)))),
        };
        let declared = config.subscriptions.values().cloned().map(Into::into).collect();
        let courier = Courier::start(Arc::clone(blocks), app, declared);
        Self { app: config.app.clone(), subscriptions: config.subscriptions.clone(), cluster, courier }
    }
}
