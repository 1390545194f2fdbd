//! The running process: what lives as long as it does, and the order in which it is built.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::{StreamExt, stream::FuturesUnordered};
use outrigger_blocks::{Blocks, function::Door};
use outrigger_component_api::Registry;
use outrigger_net::{Address, Workers};
use outrigger_telemetry::{Metrics, logs};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    apps::Apps,
    backends,
    callbacks::Callbacks,
    components::{Changes, secret_files},
    config::{self, Config, Loaded, Problems, Sources},
    doors::Doors,
    function_triggers::{Endpoints, Triggers},
    functions::{self, Managed},
    listeners::{Kind, Listeners, Plan},
    outbound::Outbound,
    reload::Reloads,
    snapshot::Snapshot,
    telemetry::Telemetry,
    tokens::{self, Kept, Keys},
    traffic::told,
    wasm,
};

/// Shared by everything that outlives a request.
pub struct App {
    pub started: Instant,
    pub sources: Sources,
    pub registry: Arc<Registry>,
    pub metrics: Metrics,
    pub telemetry: Telemetry,
    pub logs: logs::Reload,
    pub blocks: Arc<Blocks>,
    pub workers: Arc<Workers>,
    /// The runtime for everything that is not a connection. Background tasks are spawned here, so that none dies with
    /// the worker its request came in on.
    pub control: tokio::runtime::Handle,
    pub doors: Arc<Doors>,
    /// Asks secret stores for the tokens they keep.
    asking: tokio::sync::Mutex<JoinSet<()>>,
    pub listeners: Listeners,
    pub reloads: Reloads,
    /// What brings events to the application.
    pub callbacks: Callbacks,
    /// What calls functions.
    pub triggers: Triggers,
    /// The files of the configuration in force.
    pub watched: watch::Sender<Vec<PathBuf>>,
    /// Where applications are found by their ids.
    pub apps: Arc<Apps>,
    /// Where filters run.
    pub wasm: wasm::Host,
    /// Where functions come from.
    pub functions: Arc<Managed>,
    /// The proxy's sockets; `None` once they are drained.
    pub proxy: tokio::sync::Mutex<Option<outrigger_proxy::Listeners>>,
    /// What is in force now. Replaced whole.
    snapshot: Mutex<Arc<Snapshot>>,
    phase: Mutex<Phase>,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Running,
    Stopping,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug)]
pub enum Logs {
    /// To standard error, each after this prefix.
    Own { prefix: &'static str },
    /// Wherever the program we are inside of sends its own.
    Inherited,
}

/// How to start.
pub struct Options {
    pub sources: Sources,
    pub logs: Logs,
}

impl App {
    /// Builds everything and listens. Returns when calls can be made; components connect in the background.
    pub async fn start(options: Options) -> anyhow::Result<Arc<Self>> {
        let started = Instant::now();
        let mut registry = backends::registry();
        let loaded = config::load(&options.sources, &registry)?;
        let config = &loaded.config;
        let logs = init_logs(&config.log, options.logs)
            .map_err(|error| Problems(vec![loaded.problem("log.level", error.to_string())]))?;
        let metrics = Metrics::new();
        let workers = config.workers.map_or_else(Workers::default_count, Into::into);
        let workers = Arc::new(Workers::start(workers).context("starting the workers")?);
        let blocks = Arc::new(Blocks::new(config.app.id.as_str(), &metrics));
        let control = tokio::runtime::Handle::current();
        let services = Arc::new(Endpoints::new(&blocks, Door::Route));
        let context = outrigger_cluster::Context::new(metrics.clone(), control.clone());
        let context = outrigger_cluster::Context { services, ..context };
        registry.carry_http(Arc::new(Outbound::new(context.clone())));
        let registry = Arc::new(registry);
        let apps = Arc::new(Apps::new(context.clone(), &blocks));
        blocks.invoke.ask(Arc::clone(&apps) as _);
        let functions = Arc::new(Managed::new(Arc::clone(&blocks), control.clone(), context.clone()));
        let nothing = Snapshot::nothing(context);
        let wasm = wasm::Host::new((0..workers.len()).map(|i| workers.handle(i).clone()).collect(), &metrics)
            .with_blocks(Arc::clone(&blocks), control.clone());
        wasm::run_functions(&wasm, &config.wasm, &blocks);
        let proxy = outrigger_proxy::Listeners::new(Arc::clone(&workers), metrics.clone());
        let app = Arc::new_cyclic(|app: &Weak<Self>| Self {
            started,
            sources: options.sources,
            doors: Arc::new(Doors::new(config, &blocks, &metrics, app)),
            asking: tokio::sync::Mutex::default(),
            registry,
            reloads: Reloads::new(&metrics),
            watched: watch::Sender::default(),
            apps,
            telemetry: Telemetry::new(&metrics),
            callbacks: Callbacks::default(),
            triggers: Triggers::default(),
            metrics,
            logs,
            blocks,
            workers,
            control,
            wasm,
            functions,
            proxy: tokio::sync::Mutex::new(Some(proxy)),
            listeners: Listeners::default(),
            snapshot: Mutex::new(Arc::new(nothing)),
            phase: Mutex::new(Phase::Starting),
        });
        let plan = app.listeners.plan(&loaded)?;
        let (snapshot, _) = app.compile(loaded).await?;
        app.install(snapshot, plan).await?;
        app.triggers.start(&app);
        app.set_phase(Phase::Running);
        app.announce(started.elapsed());
        Ok(app)
    }

    /// Compiles a configuration against the one in force.
    pub async fn compile(&self, loaded: Loaded) -> anyhow::Result<(Snapshot, Changes)> {
        let now = self.snapshot();
        let outdated = now.components.outdated().await;
        let plugins = wasm::compile(&self.wasm, &loaded, &now.plugins).await?;
        let functions = self.functions.compile(&loaded, &now.functions).await?;
        let (snapshot, changes) =
            Snapshot::compile(loaded, plugins, &self.registry, &self.blocks, &self.metrics, &now, &outdated)?;
        Ok((Snapshot { functions, ..snapshot }, changes))
    }

    /// Puts a snapshot in force: what calls find first, then the doors they come through. The proxy's sockets come
    /// before all, as they can still fail; then nothing has changed.
    pub async fn install(&self, snapshot: Snapshot, plan: Plan) -> anyhow::Result<()> {
        let env = |name: &str| self.sources.variable(name);
        let (keys, later) = tokens::read(&snapshot.loaded, &env).map_err(Problems::sorted)?;
        // The first request finds the functions there; later nothing changes before all that can fail.
        let starting = self.phase() == Phase::Starting;
        if starting {
            self.follow_functions(&snapshot).await;
        }
        if let (Some(listeners), Some(proxy)) = (self.proxy.lock().await.as_mut(), &snapshot.traffic.proxy) {
            // A cluster's checks and look-ups begin before its first request.
            snapshot.traffic.clusters.activate();
            self.wasm.follow(&snapshot.plugins, &snapshot.traffic.clusters);
            if let Err(found) = listeners.apply(proxy).await {
                let now = self.snapshot();
                self.wasm.follow(&now.plugins, &now.traffic.clusters);
                return Err(told(&snapshot.loaded, found).into());
            }
        }
        if !starting {
            self.follow_functions(&snapshot).await;
        }
        let exporting = self.telemetry.follow(&snapshot.loaded, &env, &self.control);
        exporting.map_err(|problem| Problems(vec![problem]))?;
        snapshot.components.install(&self.blocks);
        self.apps.follow(&snapshot.loaded.config);
        self.blocks.meter().limits().replace(&snapshot.loaded.config.api.limits.calls);
        let snapshot = Arc::new(snapshot);
        self.hand_out(&snapshot, keys, later).await;
        let files = self.files(&snapshot.loaded.config);
        let differ = *self.watched.borrow() != files;
        if differ {
            self.watched.send_replace(files);
        }
        *self.snapshot.lock() = Arc::clone(&snapshot);
        self.callbacks.follow(&snapshot, &self.blocks).await;
        self.listeners.follow(plan, self).await?;
        self.announce_app();
        Ok(())
    }

    async fn follow_functions(&self, next: &Snapshot) {
        let now = self.snapshot();
        self.functions.follow(&next.loaded, &self.registry, &next.functions, &now.functions).await;
    }

    /// In the background: nobody can call us before they know of us.
    fn announce_app(&self) {
        let api = self.listeners.all().into_iter().filter(|it| it.kind == Kind::Api.as_str() && !it.tls);
        let addresses: Vec<Address> = api.map(|listener| listener.address).collect();
        let (apps, app) = (Arc::clone(&self.apps), self.snapshot().loaded.config.app.clone());
        self.control.spawn(async move { apps.announce(&app, &addresses).await });
    }

    /// Everything whose change should lead to a reload.
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        let secrets = secret_files(config, &self.registry).into_iter().chain(tokens::files(config));
        let (modules, functions) = (self.wasm.files(&config.wasm), functions::files(config));
        self.sources.files.iter().cloned().chain(secrets).chain(modules).chain(functions).collect()
    }

    /// Gives the doors their keys: those that are known now, and each other one when its store has told.
    async fn hand_out(&self, snapshot: &Arc<Snapshot>, mut keys: Keys, later: Vec<Kept>) {
        let mut asking = self.asking.lock().await;
        asking.shutdown().await;
        self.doors.follow(&snapshot.loaded.config, &keys);
        // As long as none is known, what was presented before may still do.
        if later.is_empty() || keys.to_present().is_some() {
            self.apps.present(keys.to_present());
        }
        let ask = |Kept { door, name, reference }: Kept| {
            let store = snapshot.components.secret_store(&reference.store)?;
            Some(async move { (door, name, tokens::fetch(store, reference).await) })
        };
        let mut told: FuturesUnordered<_> = later.into_iter().filter_map(ask).collect();
        let (doors, apps, snapshot) = (Arc::clone(&self.doors), Arc::clone(&self.apps), Arc::clone(snapshot));
        asking.spawn(async move {
            while let Some((door, name, token)) = told.next().await {
                keys.add(door, &name, &token);
                doors.follow(&snapshot.loaded.config, &keys);
                apps.present(keys.to_present());
            }
        });
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.lock())
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    pub fn set_phase(&self, phase: Phase) {
        *self.phase.lock() = phase;
    }

    /// One line for each component and listener, so that the first screen of a log says what runs.
    fn announce(&self, took: Duration) {
        let snapshot = self.snapshot();
        for note in &snapshot.loaded.notes {
            tracing::info!(at = %note.at, setting = note.path, "{}", note.message);
        }
        for (name, r#type) in snapshot.components.types() {
            tracing::info!(component = name, r#type, "component configured");
        }
        for listener in self.listeners.all() {
            tracing::info!(kind = listener.kind, name = %listener.name, address = %listener.address, "listening");
        }
        let files = self.sources.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        let config = if files.is_empty() { "the default set".to_owned() } else { files.join(", ") };
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %config, ready_ms = took.as_millis(), "ready");
    }
}

fn init_logs(config: &logs::LogConfig, to: Logs) -> Result<logs::Reload, logs::LogError> {
    match to {
        Logs::Own { prefix } => logs::init_named(config, prefix),
        Logs::Inherited => logs::inherited(config),
    }
}
