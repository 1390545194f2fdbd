//! Calls to the application: which cluster it is, and what brings it events: the courier those of topics, the inlet
//! those of input bindings.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use outrigger_api::app::{AppCallback, DaprCallback, HttpApp};
use outrigger_blocks::{AppEvents, AppInputs, Blocks, Courier, Inlet, Member as _, SubscriptionConfig};
use outrigger_cluster::{Cluster, ClusterConfig};
use tokio::{sync::Mutex, task::JoinSet, time::timeout};

use crate::{
    config::{
        Config,
        native::{AppConfig, AppProtocol},
    },
    joints::{ToApp, gone},
    snapshot::Snapshot,
};

/// The name of the cluster that is the application. No configuration can name it: it is no key of a map.
pub const APP: &str = "outrigger:app";

/// The clusters of a configuration, with that of the application.
pub fn clusters(config: &Config) -> BTreeMap<String, ClusterConfig> {
    let mut clusters = config.clusters.clone();
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
        self.follow_inputs(snapshot, blocks).await;
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

    /// An inlet is there from the first input binding on, and outlives every configuration.
    async fn follow_inputs(&self, snapshot: &Snapshot, blocks: &Blocks) {
        let mut bindings = blocks.bindings.inputs.all();
        bindings.retain(|binding| binding.slot().scopes().allow(blocks.app_id()));
        let mut inputs = self.inputs.lock().await;
        if inputs.is_none() && bindings.is_empty() {
            return;
        }
        let inputs = inputs.get_or_insert_with(|| Inputs { inlet: Inlet::start(), app: None });
        let app = &snapshot.loaded.config.app;
        inputs.app = snapshot.traffic.clusters.get(APP).map(|cluster| match inputs.app.take() {
            Some(known) if known.0 == *app && Arc::ptr_eq(&known.1, cluster) => known,
            _ => (app.clone(), Arc::clone(cluster), taker(app, cluster)),
        });
        inputs.inlet.follow(inputs.app.as_ref().map(|(_, _, app)| Arc::clone(app)), bindings);
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
