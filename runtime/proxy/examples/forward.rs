//! The smallest proxy, for profiling: one HTTP listener, one route, one cluster.
//!
//! `forward LISTEN ENDPOINT [tcp]`, for example `forward 127.0.0.1:8080 127.0.0.1:9000`.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_cluster::{ClusterConfig, Clusters, Context};
use outrigger_http::chain::Modules;
use outrigger_net::Workers;
use outrigger_proxy::{Listeners, ProxyConfig, compile};
use outrigger_telemetry::Metrics;
use serde_json::json;

/// The allocator of the shipped program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [listen, endpoint, protocol] = arguments();
    let tcp = protocol == "tcp";
    let listener = match tcp {
        true => json!({ "address": listen, "protocol": "tcp", "cluster": "c" }),
        false => json!({ "address": listen }),
    };
    let routes = if tcp { json!({}) } else { json!({ "all": { "backends": [{ "cluster": "c" }] } }) };
    let config: ProxyConfig =
        serde_json::from_value(json!({ "listeners": { "web": listener }, "routes": routes }))?;
    let cluster = json!({ "c": { "endpoints": [endpoint], "protocol": if protocol == "h2" { "http2" } else { "http1" } } });
    let clusters: BTreeMap<String, ClusterConfig> = serde_json::from_value(cluster)?;

    let metrics = Metrics::new();
    let workers = Arc::new(Workers::start(1)?);
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    control.block_on(async {
        let context = Context::new(metrics.clone(), control.handle().clone());
        let clusters =
            Clusters::compile(&clusters, &Clusters::empty(context)).map_err(|p| format!("{p:?}"))?;
        let proxy =
            compile(&config, &clusters, &Modules::new(), &metrics, None).map_err(|p| format!("{p:?}"))?;
        clusters.activate();
        let mut listeners = Listeners::new(workers, metrics);
        listeners.apply(&proxy).await.map_err(|p| format!("{p:?}"))?;
        tokio::signal::ctrl_c().await?;
        Ok(())
    })
}

fn arguments() -> [String; 3] {
    let mut given = std::env::args().skip(1);
    ["127.0.0.1:8080", "127.0.0.1:9000", "http"]
        .map(|default| given.next().unwrap_or_else(|| default.to_owned()))
}
