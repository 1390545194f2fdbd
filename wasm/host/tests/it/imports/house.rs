//! Blocks with one component `main` of each kind, in memory, and an engine whose functions call them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use outrigger_blocks::function::{Door, Function, FunctionHost as _, FunctionLog, Load};
use outrigger_blocks::invoke::{Callers, Directory, Place, Speaks, Target};
use outrigger_blocks::{Blocks, Body, Caller, Error, ErrorKind, Member, Policy, Result, Stores};
use outrigger_cluster::{Clusters, Context};
use outrigger_component_api::{
    BindingRequest, BindingResponse, Component, ComponentSpec, OutputBinding, Secret, SecretOptions,
    SecretStore, SecretValues, async_trait,
};
use outrigger_memory::{
    MemoryConfiguration, MemoryLock, MemoryPubSub, MemoryPubSubConfig, MemorySequencer, MemoryState,
};
use outrigger_telemetry::Metrics;
use outrigger_wasm_host::{FunctionEngine, Host, Plugins, WasmConfig};
use serde_json::{Value, json};

use super::probe::{Call, Told, component, image};
use crate::rig::{PATIENCE, within};

pub(crate) struct House {
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) metrics: Metrics,
    pub(crate) log: Arc<FunctionLog>,
    host: Host,
    engine: FunctionEngine,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({ "cache": folder.path().join("cache"), "functions": { "threads": 1 } });
        let config: WasmConfig = serde_json::from_value(config).unwrap();
        let metrics = Metrics::new();
        let host = Host::new(Vec::new(), &metrics);
        let blocks = Arc::new(Blocks::new("shop", &metrics));
        let pubsub = Arc::new(MemoryPubSub::new(MemoryPubSubConfig::default()).unwrap());
        fill(&blocks, &blocks.state.stores, Arc::new(MemoryState::new()));
        fill(&blocks, &blocks.pubsub.brokers, pubsub);
        fill(&blocks, &blocks.configuration.stores, Arc::new(MemoryConfiguration::new()));
        fill(&blocks, &blocks.lock.stores, Arc::new(MemoryLock::new()));
        fill(&blocks, &blocks.sequencer.stores, Arc::new(MemorySequencer::default()));
        fill(&blocks, &blocks.secrets.stores, Arc::new(Vault));
        fill(&blocks, &blocks.bindings.outputs, Arc::new(Echo));
        let engine = FunctionEngine::new(&host, &config, &blocks);
        Self { blocks, metrics, log: Arc::default(), host, engine, _folder: folder }
    }

    /// The function `f`, which makes these calls, with these settings.
    pub(crate) async fn load(&self, calls: &[Call], settings: Value) -> Result<Arc<dyn Function>> {
        let load = Load {
            name: "f".into(),
            version: "v1".into(),
            module: component(calls).into(),
            config: serde_json::from_value(settings).unwrap(),
            log: Arc::clone(&self.log),
        };
        within(self.engine.load(load)).await
    }

    /// What these calls are answered, with these grants.
    pub(crate) async fn told(&self, grants: Value, calls: &[Call]) -> Told {
        self.told_with(json!({ "grants": grants }), calls).await
    }

    pub(crate) async fn told_with(&self, settings: Value, calls: &[Call]) -> Told {
        let function = self.load(calls, settings).await.unwrap();
        invoke(&function, &Caller::new("shop"), calls).await.unwrap()
    }

    /// What has been written to the log: level and text.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        self.log.after(0).into_iter().map(|line| (line.level, line.text)).collect()
    }

    /// Waits until the metrics have a line like this.
    pub(crate) async fn until(&self, line: &str) {
        let since = Instant::now();
        while !self.metrics.render().contains(line) {
            assert!(since.elapsed() < PATIENCE, "{line} never came:\n{}", self.metrics.render());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The cluster `backend` is at this address; it is also the application `stock`.
    pub(crate) fn reaches(&self, address: SocketAddr) {
        let context = Context::new(self.metrics.clone(), tokio::runtime::Handle::current());
        let config = json!({ "backend": { "endpoints": [address], "protocol": "http1" } });
        let config = serde_json::from_value(config).unwrap();
        let clusters = Clusters::compile(&config, &Clusters::empty(context)).unwrap();
        clusters.activate();
        self.host.follow(&Plugins::default(), &clusters);
        let place = Place::App { speaks: Speaks::Http, callers: Callers::default() };
        let cluster = Arc::clone(clusters.get("backend").unwrap());
        let stock = Arc::new(Target::new("stock", cluster, place, self.blocks.meter()));
        self.blocks.invoke.ask(Arc::new(Apps(stock)));
    }
}

/// What a function answers when it is invoked.
pub(crate) async fn invoke(
    function: &Arc<dyn Function>,
    caller: &Caller<'_>,
    calls: &[Call],
) -> Result<Told> {
    let request = Request::post("/probe").body(Body::full(image(calls))).unwrap();
    let answer = within(function.serve(caller, Door::Invoke, request)).await?;
    let (head, body) = answer.into_parts();
    let body = within(body.collect(usize::MAX)).await.unwrap();
    assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(&body));
    Ok(Told(body.to_vec()))
}

/// The number of a code in `wasm/wit`: the kinds are in the same order.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    u8::try_from(ErrorKind::ALL.iter().position(|other| *other == kind).unwrap()).unwrap()
}

#[track_caller]
pub(crate) fn refused(result: Result<usize, (u8, String)>, kind: ErrorKind, names: &str) {
    let (told, message) = result.expect_err("it was done");
    assert_eq!(told, code(kind), "{message}");
    assert!(message.contains(names), "{message}");
}

fn fill<M: Member>(blocks: &Blocks, stores: &Stores<M>, backend: Arc<M::Block>) {
    let mut spec = ComponentSpec { name: "main".to_owned(), ..ComponentSpec::default() };
    let member = M::from_spec(&mut spec, Policy::default(), blocks.meter()).unwrap();
    member.slot().ready(backend);
    stores.replace([Arc::new(member)]);
}

/// Every secret there is.
struct Vault;

#[async_trait]
impl Component for Vault {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl SecretStore for Vault {
    async fn get(&self, name: &str, _: SecretOptions) -> Result<SecretValues> {
        match name {
            "db" => Ok(BTreeMap::from([
                ("password".to_owned(), Secret::new("hunter2".to_owned())),
                ("user".to_owned(), Secret::new("ann".to_owned())),
            ])),
            name => Err(Error::new(ErrorKind::NotFound, format!("there is no secret '{name}'"))),
        }
    }
}

/// Says back what it is told, unless that is too much.
struct Echo;

#[async_trait]
impl Component for Echo {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl OutputBinding for Echo {
    fn operations(&self) -> &'static [&'static str] {
        &["say"]
    }

    async fn invoke(&self, request: BindingRequest) -> Result<BindingResponse> {
        let refused = (request.data.len() > 10).then(|| "that is too much".to_owned());
        Ok(BindingResponse { data: request.data, metadata: request.metadata, refused })
    }
}

/// There is one application.
struct Apps(Arc<Target>);

#[async_trait]
impl Directory for Apps {
    async fn find(&self, _: &Caller<'_>, app: &str) -> Result<Arc<Target>> {
        match app {
            "stock" => Ok(Arc::clone(&self.0)),
            app => Err(Error::new(ErrorKind::NotConfigured, format!("there is no app '{app}'"))),
        }
    }
}
