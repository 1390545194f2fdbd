//! A front over a socket, and the process it belongs to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_api::Api;
use outrigger_api::access::{Access, Exposure};
use outrigger_api::actuator::{Actuator, HealthReport, Info, Probe};
use outrigger_api::functions::{Change, Changed, Deployment, FunctionAdmin};
use outrigger_blocks::function::{FunctionConfig, FunctionLog, FunctionReport, Origin};
use outrigger_blocks::{
    Blocks, ComponentReport, KeyPrefix, Member, Policy, Scopes, SlotConfig, StateComponent,
};
use outrigger_component_api::{ComponentSpec, StateStore};
use outrigger_http::ServerConfig;
use outrigger_http::tower::Adapter;
use outrigger_memory::{MemoryConfiguration, MemoryLock, MemorySequencer, MemoryState};
use outrigger_net::{
    Accepted, Acceptor, AcceptorHandle, Address, Drain, Listener, ListenerLimits, SocketOptions, Workers,
};
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use outrigger_telemetry::Metrics;
use tonic::async_trait;
use tonic::transport::{Channel, Endpoint};

/// What a call to a component may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sidecar in miniature: blocks with components, an API, an actuator.
pub(crate) struct Sidecar {
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) metrics: Metrics,
    api: Api,
}

impl Sidecar {
    /// With the store `state` in memory.
    pub(crate) fn new() -> Self {
        Self::with(Access::default())
    }

    pub(crate) fn with(access: Access) -> Self {
        let sidecar = Self::empty(access);
        let memory: Arc<dyn StateStore> = Arc::new(MemoryState::new());
        sidecar.stores([sidecar.store("state", Some(memory))]);
        sidecar
    }

    /// A component with the settings of the default set, and its backend.
    pub(crate) fn seat<M: Member>(&self, name: &str, backend: Arc<M::Block>) -> Arc<M> {
        let mut spec = ComponentSpec { name: name.to_owned(), ..ComponentSpec::default() };
        let policy = Policy { timeout: PATIENCE, ..Policy::default() };
        let member = M::from_spec(&mut spec, policy, self.blocks.meter()).unwrap();
        member.slot().ready(backend);
        Arc::new(member)
    }

    /// With a store in memory for each block that keeps something, named after the block.
    pub(crate) fn whole() -> Self {
        let sidecar = Self::new();
        sidecar.blocks.lock.stores.replace([sidecar.seat("lock", Arc::new(MemoryLock::new()) as _)]);
        let numbers = Arc::new(MemorySequencer::default());
        sidecar.blocks.sequencer.stores.replace([sidecar.seat("sequencer", numbers as _)]);
        let configuration = Arc::new(MemoryConfiguration::new());
        sidecar.blocks.configuration.stores.replace([sidecar.seat("configuration", configuration as _)]);
        sidecar
    }

    /// Without any component.
    pub(crate) fn empty(access: Access) -> Self {
        let metrics = Metrics::new();
        let blocks = Arc::new(Blocks::new("orders", &metrics));
        let level = parking_lot::Mutex::new("info".to_owned());
        let process = Arc::new(Process { blocks: Arc::clone(&blocks), level });
        let api = Api::new(Arc::clone(&blocks), Arc::clone(&process) as _, process, access, &metrics);
        Self { blocks, metrics, api }
    }

    /// A store; one without a backend is still starting.
    pub(crate) fn store(&self, name: &str, backend: Option<Arc<dyn StateStore>>) -> Arc<StateComponent> {
        self.store_within(PATIENCE, name, backend)
    }

    /// A store whose calls may take so long.
    pub(crate) fn store_within(
        &self,
        timeout: Duration,
        name: &str,
        backend: Option<Arc<dyn StateStore>>,
    ) -> Arc<StateComponent> {
        let config = SlotConfig {
            name: name.to_owned(),
            type_name: "state.test".to_owned(),
            scopes: Scopes::default(),
            policy: Policy { timeout, ..Policy::default() },
        };
        let store = StateComponent::new(config, KeyPrefix::None, self.blocks.meter());
        if let Some(backend) = backend {
            store.slot().ready(backend);
        }
        Arc::new(store)
    }

    pub(crate) fn stores(&self, stores: impl IntoIterator<Item = Arc<StateComponent>>) {
        self.blocks.state.stores.replace(stores);
    }

    /// Serves on a free port.
    pub(crate) async fn serve(&self) -> Served {
        self.listen("127.0.0.1:0".parse().unwrap(), Exposure::Network)
    }

    /// Serves on a Unix socket.
    pub(crate) fn serve_socket(&self, path: &Path) -> Served {
        self.listen(Address::Unix(path.to_owned()), Exposure::Socket)
    }

    fn listen(&self, address: Address, exposure: Exposure) -> Served {
        let handler = Arc::new(Adapter::new(self.api.front(exposure)));
        let config = Arc::new(ServerConfig::default());
        let serve =
            move |conn: Accepted| outrigger_http::serve(conn, Arc::clone(&handler), Arc::clone(&config));
        let acceptor = Acceptor {
            name: "main".into(),
            listener: Listener::bind(&address, &SocketOptions::default()).unwrap(),
            workers: Arc::new(Workers::start(1).unwrap()),
            service: Arc::new(serve),
            limits: ListenerLimits::default(),
            tls: None,
            drain: Drain::new(),
        };
        let handle = acceptor.spawn(&self.metrics).unwrap();
        let endpoint = handle.address().to_string();
        Served { endpoint, _handle: handle }
    }
}

/// A listener, closed when dropped.
pub(crate) struct Served {
    pub(crate) endpoint: String,
    _handle: AcceptorHandle,
}

impl Served {
    pub(crate) async fn channel(&self) -> Channel {
        let uri = if self.endpoint.starts_with("unix:") {
            self.endpoint.clone()
        } else {
            format!("http://{}", self.endpoint)
        };
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn runtime(&self) -> RuntimeClient<Channel> {
        RuntimeClient::new(self.channel().await)
    }
}

struct Process {
    blocks: Arc<Blocks>,
    level: parking_lot::Mutex<String>,
}

#[async_trait]
impl Actuator for Process {
    async fn health(&self, probe: Probe) -> HealthReport {
        let parts = match probe {
            Probe::Liveness => BTreeMap::new(),
            Probe::Readiness => self.components().await.into_iter().map(|it| (it.name, it.health)).collect(),
        };
        HealthReport::of(parts)
    }

    async fn components(&self) -> Vec<ComponentReport> {
        self.blocks.report().await
    }

    fn info(&self) -> Info {
        let app_id = self.blocks.app_id().to_owned();
        Info { name: "outrigger".to_owned(), version: "0".to_owned(), app_id, uptime: Duration::from_secs(1) }
    }

    fn log_level(&self) -> String {
        self.level.lock().clone()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        if level == "loud" {
            return Err("no such level".to_owned());
        }
        level.clone_into(&mut self.level.lock());
        Ok(())
    }
}

/// Everything in memory: nothing is kept.
#[async_trait]
impl FunctionAdmin for Process {
    async fn deploy(&self, deployment: Deployment) -> outrigger_blocks::Result<Changed> {
        let Deployment { name, module, config, sha256, weight } = deployment;
        let mut config: FunctionConfig =
            config.map(|json| serde_json::from_str(&json).unwrap()).unwrap_or_default();
        (config.sha256, config.weight) = (sha256, weight.unwrap_or(config.weight));
        self.blocks.functions.deploy(&name, module, config, Origin::Operator).await?;
        Ok(Changed { function: self.blocks.functions.report(&name)?, kept: false })
    }

    async fn change(&self, name: &str, change: Change) -> outrigger_blocks::Result<Changed> {
        let functions = &self.blocks.functions;
        match change {
            Change::Promote => functions.promote(name)?,
            Change::Weight(weight) => functions.set_weight(name, weight)?,
            Change::Rollback => functions.rollback(name)?,
        }
        Ok(Changed { function: functions.report(name)?, kept: false })
    }

    async fn remove(&self, name: &str) -> outrigger_blocks::Result<()> {
        self.blocks.functions.remove(name)
    }

    fn list(&self) -> Vec<FunctionReport> {
        self.blocks.functions.list()
    }

    fn logs(&self, name: &str) -> outrigger_blocks::Result<Arc<FunctionLog>> {
        self.blocks.functions.logs(name)
    }
}
