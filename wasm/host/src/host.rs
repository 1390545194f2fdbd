//! What lives as long as the process, and the plugins of one configuration.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use outrigger_blocks::Blocks;
use outrigger_blocks::function::Module as Binary;
use outrigger_cluster::Clusters as AllClusters;
use outrigger_http::Problem;
use outrigger_http::chain::{Module, Modules};
use outrigger_telemetry::Metrics;
use tokio::runtime::Handle;

use crate::aot::Cache;
use crate::compile::Compiler;
use crate::config::{PluginConfig, WasmConfig};
use crate::crew::{Crew, Parts, Wanted, crews};
use crate::engine::Engine;
use crate::filter::blocks::Backing;
use crate::filter::map;
use crate::filter::measures::Families;
use crate::filter::metrics::Defined;
use crate::filter::shared::Spaces;
use crate::filter::state::{Clusters, Plan, Services};
use crate::instance::{Blueprint, Unstarted, Vm};
use crate::layotto::{self, FILTER, Function, FunctionChange, Layotto, LayottoFunctionConfig, Table};
use crate::plugin::{Filter, Plugin};

/// The engine, and what plugins share: with each other, and with the plugins of the next configuration.
///
/// Without a plugin there is no engine: it is made for the first one.
pub struct Host {
    workers: Vec<Handle>,
    services: Services,
    measures: Families,
    metrics: Metrics,
    core: Arc<Core>,
    layotto: Layotto,
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
    functions: Option<Functions>,
}

/// Layotto's functions of one configuration, and what stands for them in routes.
struct Functions {
    table: Arc<Table>,
    module: Arc<dyn Module>,
}

/// A module that has been tried out.
struct Tried {
    blueprint: Arc<Blueprint>,
    /// Of a function.
    id: Option<String>,
}

/// Why it is not to be used.
struct Untried {
    /// Which of the plugins it is about.
    seat: usize,
    why: String,
}

impl From<String> for Untried {
    fn from(why: String) -> Self {
        Self { seat: 0, why }
    }
}

impl Tried {
    /// What it shares and counts in there nobody sees, and what it wants called nobody calls.
    fn of(blueprint: Blueprint) -> Result<Self, Untried> {
        let services = Services {
            spaces: Arc::new(Spaces::default()),
            metrics: Arc::new(Defined::new(Metrics::new())),
            clusters: Clusters::default(),
            backing: None,
        };
        let roots: Vec<u32> = (1..).take(blueprint.crew.len()).collect();
        let started = Vm::start(&blueprint, services, None, &roots);
        let mut canary =
            started.map_err(|Unstarted { seat, crash }| Untried { seat, why: crash.to_string() })?;
        let is_function = blueprint.crew.iter().any(|plan| plan.grants.is_some());
        let id = is_function.then(|| canary.id()).transpose().map_err(|crash| crash.to_string())?;
        Ok(Self { blueprint: Arc::new(blueprint), id })
    }
}

impl Entry {
    fn new(plugin: Plugin) -> Self {
        let plugin = Arc::new(plugin);
        Self { module: Arc::new(Filter(Arc::clone(&plugin))), plugin }
    }
}

#[derive(Clone)]
struct Entry {
    plugin: Arc<Plugin>,
    module: Arc<dyn Module>,
}

impl Host {
    /// Instances live on these workers, in the order of their shards.
    #[must_use]
    pub fn new(workers: Vec<Handle>, metrics: &Metrics) -> Self {
        let services = Services {
            spaces: Arc::default(),
            metrics: Arc::new(Defined::new(metrics.clone())),
            clusters: Clusters::default(),
            backing: None,
        };
        let (measures, metrics) = (Families::new(metrics), metrics.clone());
        Self { workers, services, measures, metrics, core: Arc::default(), layotto: Layotto::default() }
    }

    /// Functions may ask these blocks; `control` is where that is done.
    #[must_use]
    pub fn with_blocks(mut self, blocks: Arc<Blocks>, control: Handle) -> Self {
        self.services.backing = Some(Backing { blocks, control });
        self
    }

    /// Compiles every plugin and tries each out in an instance of its own. Those that are the same as in `previous` are
    /// taken over as they run.
    ///
    /// # Errors
    /// Every problem found, with its path inside the section.
    pub async fn compile(&self, config: &WasmConfig, previous: &Plugins) -> Result<Plugins, Vec<Problem>> {
        let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
        let functions = self.layotto.wanted(config.layotto.as_ref());
        let is_used = !config.plugins.is_empty() || functions.as_ref().is_some_and(|all| !all.is_empty());
        let cache = if is_used { open(config.cache.as_ref()) } else { None };
        for crew in self.crews(&config.plugins, &mut problems).await {
            match self.crew(crew, cache.clone(), previous).await {
                Ok(crew) => {
                    let crew = crew.into_iter().map(|entry| (Arc::clone(&entry.plugin.name), entry));
                    entries.extend(crew);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if functions.is_some() && entries.contains_key(FILTER) {
            let message = "the name is taken: it stands for the functions under `wasm.layotto`";
            problems.push(Problem::new(format!("plugins.{FILTER}"), message));
        }
        let functions = match functions {
            Some(wanted) => self.functions(&wanted, cache, previous, &mut problems).await.into(),
            None => None,
        };
        if problems.is_empty() { Ok(Plugins { entries, functions }) } else { Err(problems) }
    }

    async fn functions(
        &self,
        wanted: &BTreeMap<String, LayottoFunctionConfig>,
        cache: Option<Arc<Cache>>,
        previous: &Plugins,
        problems: &mut Vec<Problem>,
    ) -> Functions {
        let mut table = Table::default();
        for (name, function) in wanted {
            match self.function(name, function, cache.clone(), previous).await {
                Ok(function) => table.add(function),
                Err(found) => {
                    let within = format!("layotto.{name}");
                    problems.extend(found.into_iter().map(|problem| problem.within(&within)));
                }
            }
        }
        Functions { table: Arc::new(table), module: Arc::clone(self.layotto.module()) }
    }

    /// Changes functions by their ids while we run. `reload` reads the configuration again and tells why it could not.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn change<F>(&self, change: FunctionChange, reload: impl FnOnce() -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        self.layotto.change(change, reload).await
    }

    /// The files of all modules: a new one is a new module.
    #[must_use]
    pub fn files(&self, config: &WasmConfig) -> Vec<PathBuf> {
        let functions = self.layotto.wanted(config.layotto.as_ref()).unwrap_or_default();
        let functions = functions.into_values().map(|function| function.file);
        config.plugins.values().map(|plugin| plugin.file.clone()).chain(functions).collect()
    }

    /// Puts plugins in force: they may call these clusters, and begin with what they do by themselves.
    pub fn follow(&self, plugins: &Plugins, clusters: &AllClusters) {
        let clusters: HashMap<_, _> =
            clusters.iter().map(|cluster| (Arc::clone(cluster.name()), Arc::clone(cluster))).collect();
        self.services.clusters.store(Arc::new(clusters));
        self.layotto.follow(plugins.functions.as_ref().map(|functions| &functions.table));
        plugins.entries.values().for_each(|entry| entry.plugin.activate());
    }

    /// Reads the modules of all plugins, and puts together those that share instances.
    async fn crews(
        &self,
        config: &BTreeMap<String, PluginConfig>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Vec<Wanted>> {
        let mut all = Vec::new();
        for (name, plugin) in config {
            match self.wanted(name, plugin).await {
                Ok(wanted) => all.push(wanted),
                Err(found) => {
                    let within = format!("plugins.{name}");
                    problems.extend(found.into_iter().map(|problem| problem.within(&within)));
                }
            }
        }
        crews(all)
    }

    async fn wanted(&self, name: &str, config: &PluginConfig) -> Result<Wanted, Vec<Problem>> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let at_file = |message: String| vec![Problem::new("file", message)];
        let running = self.core.running().map_err(at_file)?;
        let binary = running.read(&config.file).await.map_err(at_file)?;
        Wanted::new(name, config, &binary)
    }

    /// Those who were together before as they are now stay; where anything is another, all of them begin anew.
    async fn crew(
        &self,
        crew: Vec<Wanted>,
        cache: Option<Arc<Cache>>,
        previous: &Plugins,
    ) -> Result<Vec<Entry>, Problem> {
        if let Some(kept) = previous.crew(&crew) {
            return Ok(kept);
        }
        let [first, ..] = crew.as_slice() else { return Ok(Vec::new()) };
        let at_file = |seat: usize, why: String| {
            let name = crew.get(seat).unwrap_or(first).name.clone();
            Problem::new("file", why).within(&format!("plugins.{name}"))
        };
        let running = self.core.running().map_err(|why| at_file(0, why))?;
        let binary = running.read(&first.config.file).await.and_then(|binary| first.module(binary));
        let binary = binary.map_err(|why| at_file(0, why))?;
        let plans = crew.iter().map(Wanted::plan).collect();
        let tried = self.try_out(running, plans, binary, cache).await;
        let Tried { blueprint, .. } = tried.map_err(|untried| at_file(untried.seat, untried.why))?;
        let measures = crew.iter().map(|wanted| Arc::new(self.measures.of(&wanted.name))).collect();
        let (failure, services) = (first.config.failure, self.services.clone());
        let parts = Parts { failure, blueprint, services, measures };
        let plugins = Crew::assemble(crew, parts, &self.workers);
        Ok(plugins.into_iter().map(Entry::new).collect())
    }

    async fn function(
        &self,
        name: &str,
        config: &LayottoFunctionConfig,
        cache: Option<Arc<Cache>>,
        previous: &Plugins,
    ) -> Result<Arc<Function>, Vec<Problem>> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let at_file = |message: String| vec![Problem::new("file", message)];
        let running = self.core.running().map_err(at_file)?;
        let binary = running.read(&config.file).await.map_err(at_file)?;
        let kept = previous.functions.as_ref().and_then(|functions| functions.table.named(name));
        if let Some(kept) = kept.filter(|kept| kept.is(config, binary.sha256())) {
            return Ok(Arc::clone(kept));
        }
        let sha256 = Arc::clone(binary.sha256());
        let plan = function_plan(name, config);
        let tried = self.try_out(running, vec![plan], binary, cache).await;
        let Tried { blueprint, id } = tried.map_err(|untried| at_file(untried.why))?;
        Ok(Function::new(layotto::Parts {
            name: name.into(),
            id: id.unwrap_or_default().into(),
            config: config.clone(),
            sha256,
            blueprint,
            services: self.services.clone(),
            crashes: self.measures.crashes(name),
        }))
    }

    /// Has what it is to be tried out, by an instance for all of the plugins.
    async fn try_out(
        &self,
        running: &Running,
        crew: Vec<Plan>,
        binary: Binary,
        cache: Option<Arc<Cache>>,
    ) -> Result<Tried, Untried> {
        let module: wasmtime::Module =
            running.compiler.compiled(binary, cache).await.map_err(|error| error.to_string())?;
        let engine = Arc::clone(&running.engine);
        let tried = running.compiler.run(move || Tried::of(Blueprint::new(engine, &module, crew)?));
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

impl Running {
    async fn read(&self, file: &Path) -> Result<Binary, String> {
        let file = file.to_owned();
        let read = self.compiler.run(move || Binary::read(&file)).await.map_err(|error| error.to_string())?;
        read.map_err(|error| error.message().to_owned())
    }
}

/// Without a cache everything works, only later.
pub(crate) fn open(cache: Option<&PathBuf>) -> Option<Arc<Cache>> {
    let folder = cache.cloned().or_else(|| Cache::usual(|name| std::env::var_os(name)))?;
    let cache = Cache::open(folder).map_err(|error| tracing::warn!(%error, "compiled modules are not kept"));
    cache.ok().map(Arc::new)
}

fn function_plan(name: &str, config: &LayottoFunctionConfig) -> Plan {
    let settings: Vec<_> = config.settings.iter().collect();
    Plan {
        name: name.into(),
        root_id: String::new(),
        vm_id: name.to_owned(),
        vm_config: Bytes::new(),
        // As Layotto writes them.
        config: if settings.is_empty() { Bytes::new() } else { map::encode(&settings).into() },
        memory: config.memory,
        deadline: config.deadline,
        max_buffer: config.max_body,
        grants: Some(Arc::new(config.grants.clone())),
    }
}

impl Plugins {
    /// These plugins as they run, if they are the same ones and share instances with nobody else.
    fn crew(&self, wanted: &[Wanted]) -> Option<Vec<Entry>> {
        let same = |wanted: &Wanted| {
            let entry = self.entries.get(&wanted.name)?;
            entry.plugin.is(&wanted.config, &wanted.sha256).then(|| entry.clone())
        };
        let kept: Vec<Entry> = wanted.iter().map(same).collect::<Option<_>>()?;
        let plugins: Vec<_> = kept.iter().map(|entry| &entry.plugin).collect();
        let is_whole = plugins.first().is_some_and(|first| first.crew.is(&plugins));
        is_whole.then_some(kept)
    }

    /// As the filter chain wants them.
    #[must_use]
    pub fn modules(&self) -> Modules {
        let plugins = self.entries.iter().map(|(name, entry)| (Arc::clone(name), Arc::clone(&entry.module)));
        let functions = self.functions.iter().map(|all| (FILTER.into(), Arc::clone(&all.module)));
        plugins.chain(functions).collect()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}
