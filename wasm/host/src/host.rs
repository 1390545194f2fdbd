//! What lives as long as the process, and the plugins of one configuration.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use outrigger_cluster::Clusters as AllClusters;
use outrigger_http::Problem;
use outrigger_http::chain::{Module, Modules};
use outrigger_telemetry::{Counter, Family, Metrics};
use tokio::runtime::Handle;

use crate::aot::Cache;
use crate::compile::{Binary, Compiler, read};
use crate::config::{PluginConfig, WasmConfig, bytes_of};
use crate::engine::Engine;
use crate::filter::metrics::Defined;
use crate::filter::shared::Spaces;
use crate::filter::state::{Clusters, Plan, Services};
use crate::instance::{Blueprint, Vm};
use crate::plugin::{Filter, Parts, Plugin};

/// The engine, and what plugins share: with each other, and with the plugins of the next configuration.
///
/// Without a plugin there is no engine: it is made for the first one.
pub struct Host {
    workers: Vec<Handle>,
    services: Services,
    crashes: Family<Counter>,
    metrics: Metrics,
    core: Arc<Core>,
}

/// The engine, once there is one: plugins and functions have the same.
#[derive(Default)]
pub(crate) struct Core(OnceLock<Running>);

pub(crate) struct Running {
    pub(crate) engine: Arc<Engine>,
    pub(crate) compiler: Compiler,
}

impl Core {
    pub(crate) fn running(&self) -> Result<&Running, String> {
        if let Some(running) = self.0.get() {
            return Ok(running);
        }
        let engine = Engine::new().map_err(|error| format!("there is no engine: {error:#}"))?;
        let engine = Arc::new(engine);
        let compiler = Compiler::new(Arc::clone(&engine));
        Ok(self.0.get_or_init(|| Running { engine, compiler }))
    }
}

/// The plugins of one configuration.
#[derive(Default)]
pub struct Plugins {
    entries: BTreeMap<Arc<str>, Entry>,
}

struct Entry {
    plugin: Arc<Plugin>,
    module: Arc<dyn Module>,
}

impl Host {
    /// Instances live on these workers, in the order of their shards.
    #[must_use]
    pub fn new(workers: Vec<Handle>, metrics: &Metrics) -> Self {
        let crashes = metrics.counter(
            "outrigger_wasm_crashes_total",
            "Instances of a filter that trapped, took too long or could not start.",
            &["plugin"],
        );
        let services = Services {
            spaces: Arc::default(),
            metrics: Arc::new(Defined::new(metrics.clone())),
            clusters: Clusters::default(),
        };
        Self { workers, services, crashes, metrics: metrics.clone(), core: Arc::default() }
    }

    /// Compiles every plugin and tries each out in an instance of its own. Those that are the same as in `previous` are
    /// taken over as they run.
    ///
    /// # Errors
    /// Every problem found, with its path inside the section.
    pub async fn compile(&self, config: &WasmConfig, previous: &Plugins) -> Result<Plugins, Vec<Problem>> {
        let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
        let cache = if config.plugins.is_empty() { None } else { open(config.cache.as_ref()) };
        for (name, plugin) in &config.plugins {
            match self.plugin(name, plugin, cache.clone(), previous).await {
                Ok(entry) => drop(entries.insert(Arc::clone(&entry.plugin.name), entry)),
                Err(found) => {
                    let within = format!("plugins.{name}");
                    problems.extend(found.into_iter().map(|problem| problem.within(&within)));
                }
            }
        }
        if problems.is_empty() { Ok(Plugins { entries }) } else { Err(problems) }
    }

    /// Puts plugins in force: they may call these clusters, and begin with what they do by themselves.
    pub fn follow(&self, plugins: &Plugins, clusters: &AllClusters) {
        let clusters: HashMap<_, _> =
            clusters.iter().map(|cluster| (Arc::clone(cluster.name()), Arc::clone(cluster))).collect();
        self.services.clusters.store(Arc::new(clusters));
        plugins.entries.values().for_each(|entry| entry.plugin.activate());
    }

    async fn plugin(
        &self,
        name: &str,
        config: &PluginConfig,
        cache: Option<Arc<Cache>>,
        previous: &Plugins,
    ) -> Result<Entry, Vec<Problem>> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let at_file = |message: String| vec![Problem::new("file", message)];
        let running = self.core.running().map_err(at_file)?;
        let file = config.file.clone();
        let binary = running.compiler.run(move || read(&file)).await.and_then(|read| read);
        let binary = binary.map_err(|error| at_file(error.to_string()))?;
        check_digest(config, &binary)?;
        if let Some(kept) = previous.entries.get(name).filter(|kept| kept.plugin.is(config, &binary.sha256)) {
            return Ok(Entry { plugin: Arc::clone(&kept.plugin), module: Arc::clone(&kept.module) });
        }
        let sha256 = binary.sha256.clone();
        let blueprint = self.blueprint(running, plan(name, config), binary, cache).await.map_err(at_file)?;
        let parts = Parts {
            name: name.into(),
            config: config.clone(),
            sha256,
            blueprint,
            services: self.services.clone(),
            crashes: self.crashes.with(&[name]),
        };
        let plugin = Plugin::new(parts, &self.workers);
        let module = Arc::new(Filter(Arc::clone(&plugin)));
        Ok(Entry { plugin, module })
    }

    async fn blueprint(
        &self,
        running: &Running,
        plan: Plan,
        binary: Binary,
        cache: Option<Arc<Cache>>,
    ) -> Result<Arc<Blueprint>, String> {
        let module: wasmtime::Module =
            running.compiler.compiled(binary, cache).await.map_err(|error| error.to_string())?;
        let engine = Arc::clone(&running.engine);
        let tried = running.compiler.run(move || {
            let blueprint = Blueprint::new(engine, &module, plan)?;
            // What it shares and counts in there nobody sees, and what it wants called nobody calls.
            let services = Services {
                spaces: Arc::new(Spaces::default()),
                metrics: Arc::new(Defined::new(Metrics::new())),
                clusters: Clusters::default(),
            };
            let canary = Vm::start(&blueprint, services, None, 1);
            canary.map(|_| Arc::new(blueprint)).map_err(|crash| crash.to_string())
        });
        tried.await.map_err(|error| error.to_string())?
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Without a cache everything works, only later.
pub(crate) fn open(cache: Option<&PathBuf>) -> Option<Arc<Cache>> {
    let folder = cache.cloned().or_else(|| Cache::usual(|name| std::env::var_os(name)))?;
    let cache = Cache::open(folder).map_err(|error| tracing::warn!(%error, "compiled modules are not kept"));
    cache.ok().map(Arc::new)
}

fn check_digest(config: &PluginConfig, binary: &Binary) -> Result<(), Vec<Problem>> {
    match &config.sha256 {
        Some(sha256) if !sha256.eq_ignore_ascii_case(&binary.sha256) => {
            let message = format!("the file has another digest: {}", binary.sha256);
            Err(vec![Problem::new("sha256", message)])
        }
        _ => Ok(()),
    }
}

fn plan(name: &str, config: &PluginConfig) -> Plan {
    Plan {
        name: name.into(),
        root_id: config.root_id.clone(),
        vm_id: config.vm_id.clone().unwrap_or_else(|| name.to_owned()),
        vm_config: bytes_of(config.vm_config.as_ref()).into(),
        config: bytes_of(config.config.as_ref()).into(),
        memory: config.memory,
        deadline: config.deadline,
        max_buffer: config.max_buffer,
    }
}

impl Plugins {
    /// As the filter chain wants them.
    #[must_use]
    pub fn modules(&self) -> Modules {
        self.entries.iter().map(|(name, entry)| (Arc::clone(name), Arc::clone(&entry.module))).collect()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}
