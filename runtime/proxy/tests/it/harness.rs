//! Starts the proxy on free ports from the configuration a user would write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_cluster::{Clusters, Context};
use outrigger_http::chain::Modules;
use outrigger_net::{Address, Workers};
use outrigger_proxy::{Listeners, Proxy as Compiled, compile};
use outrigger_telemetry::Metrics;
use serde_json::Value;

/// Longer than anything in a test may take, shorter than anybody likes to wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Proxy {
    /// Stands in for the control runtime.
    control: Workers,
    workers: Arc<Workers>,
    pub(crate) metrics: Metrics,
    modules: Modules,
    running: Option<Running>,
}

struct Running {
    listeners: Listeners,
    compiled: Compiled,
    clusters: Clusters,
}

impl Proxy {
    /// `config` has `listeners`, `routes` and `clusters`; one worker.
    pub(crate) fn start(config: Value) -> Self {
        Self::start_with(config, Modules::new())
    }

    /// With these filters.
    pub(crate) fn start_with(config: Value, modules: Modules) -> Self {
        let control = Workers::start(1).unwrap();
        let workers = Arc::new(Workers::start(1).unwrap());
        let metrics = Metrics::new();
        let mut proxy = Self { control, workers, metrics, modules, running: None };
        proxy.apply(config).unwrap();
        proxy
    }

    /// One HTTP listener `web`, one route for everything, one cluster with this endpoint.
    pub(crate) fn to(endpoint: SocketAddr) -> Self {
        Self::start(serde_json::json!({
            "listeners": { "web": { "address": "127.0.0.1:0" } },
            "routes": { "all": { "backends": [{ "cluster": "c" }] } },
            "clusters": { "c": { "endpoints": [endpoint] } },
        }))
    }

    /// Takes over a new configuration; the error is what a user would read.
    pub(crate) fn apply(&mut self, config: Value) -> Result<(), String> {
        let section = |name: &str| config.get(name).cloned().unwrap_or_else(|| serde_json::json!({}));
        let cluster_config = serde_json::from_value(section("clusters")).map_err(|e| e.to_string())?;
        let proxy_config =
            serde_json::json!({ "listeners": section("listeners"), "routes": section("routes") });
        let proxy_config = serde_json::from_value(proxy_config).map_err(|e| e.to_string())?;
        let handle = self.control.handle(0).clone();
        let context = Context::new(self.metrics.clone(), handle.clone());
        let (mut listeners, previous, old) = match self.running.take() {
            Some(Running { listeners, compiled, clusters }) => (listeners, Some(compiled), clusters),
            None => (
                Listeners::new(Arc::clone(&self.workers), self.metrics.clone()),
                None,
                Clusters::empty(context),
            ),
        };
        let _inside = handle.enter();
        let clusters =
            Clusters::compile(&cluster_config, &old).map_err(|problems| format!("{problems:?}"))?;
        let compiled = compile(&proxy_config, &clusters, &self.modules, &self.metrics, previous.as_ref())
            .map_err(|problems| format!("{problems:?}"))?;
        clusters.activate();
        let (send, receive) = std::sync::mpsc::channel();
        handle.spawn(async move {
            let result = listeners.apply(&compiled).await;
            send.send((listeners, compiled, result)).unwrap();
        });
        let (listeners, compiled, result) = receive.recv_timeout(PATIENCE).expect("apply ends");
        self.running = Some(Running { listeners, compiled, clusters });
        result.map_err(|problems| format!("{problems:?}"))
    }

    /// Where the listener called `name` can be reached.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let running = self.running.as_ref().expect("started");
        match running.listeners.address(name) {
            Some(Address::Tcp(address)) => *address,
            other => panic!("{name} listens on {other:?}"),
        }
    }

    pub(crate) fn web(&self) -> SocketAddr {
        self.address("web")
    }

    /// Stops listening; how many connections had to be cut after `deadline`.
    pub(crate) fn drain(&mut self, deadline: Duration) -> usize {
        let running = self.running.take().expect("started");
        let (send, receive) = std::sync::mpsc::channel();
        self.control.spawn_on(0, async move { send.send(running.listeners.drain(deadline).await).unwrap() });
        receive.recv_timeout(deadline + PATIENCE).expect("drain ends")
    }

    /// Requests finished on `cluster`'s endpoints are counted elsewhere; this one looks into the metrics text.
    pub(crate) fn metric(&self, line_start: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(line_start));
        let line = line.unwrap_or_else(|| panic!("no {line_start} in\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }
}

/// Waits for a condition and says how long it took.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    started.elapsed()
}
