//! Calls to the application: which cluster it is, and the courier that brings it events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use outrigger_api::app::AppCallback;
use outrigger_blocks::{Blocks, Courier, SubscriptionConfig};
use outrigger_cluster::{Cluster, ClusterConfig};

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
    let called = Some(&config.app).filter(|app| app.protocol == AppProtocol::Grpc);
    clusters.extend(called.and_then(AppConfig::cluster).map(|app| (APP.to_owned(), app)));
    clusters
}

/// The courier of the configuration in force.
#[derive(Default)]
pub struct Callbacks {
    current: tokio::sync::Mutex<Option<Current>>,
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
        let config = &snapshot.loaded.config;
        let mut current = self.current.lock().await;
        let cluster =
            snapshot.traffic.clusters.get(APP).filter(|_| !blocks.pubsub.brokers().all().is_empty());
        let Some(cluster) = cluster else {
            *current = None;
            return;
        };
        let same = |current: &Current| {
            current.app == config.app
                && current.subscriptions == config.subscriptions
                && Arc::ptr_eq(&current.cluster, cluster)
        };
        if !current.as_ref().is_some_and(same) {
            // The old one first: what it has under way goes to the new one.
            drop(current.take());
            *current = Some(Current::start(config, Arc::clone(cluster), blocks));
        }
    }

    /// Lets the application finish what it has; nothing new is brought.
    pub async fn drain(&self, limit: Duration) {
        if let Some(current) = self.current.lock().await.take() {
            current.courier.drain(limit).await;
        }
    }
}

impl Current {
    fn start(config: &Config, cluster: Arc<Cluster>, blocks: &Arc<Blocks>) -> Self {
        let app = AppCallback::new(ToApp::new(Arc::clone(&cluster), &config.app), gone(Arc::clone(&cluster)));
        let declared = config.subscriptions.values().cloned().map(Into::into).collect();
        let courier = Courier::start(Arc::clone(blocks), Arc::new(app), declared);
        Self { app: config.app.clone(), subscriptions: config.subscriptions.clone(), cluster, courier }
    }
}
