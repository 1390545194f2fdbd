//! Functions: components of the component model, called by requests, events and schedules.
//!
//! A component is compiled and tried out when it is loaded. Its calls run on threads of their own, each in an instance of
//! its own unless the function's settings have instances answer several.

mod backoff;
mod binding;
mod check;
mod clock;
mod event;
mod exports;
mod http;
mod idle;
mod instance;
mod invoke;
pub(crate) mod journal;
pub(crate) mod limiter;
mod loaded;
mod measures;
pub(crate) mod message;
mod output;
mod runner;
mod schedule;
pub(crate) mod state;
mod stream;
mod threads;
mod turns;
mod waits;
mod words;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use outrigger_blocks::function::{Function, FunctionHost, Load, MAX_MODULE};
use outrigger_blocks::{Blocks, Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

use self::exports::Exports;
use self::journal::Journal;
use self::loaded::Loaded;
use self::measures::{Families, Measures};
use self::runner::{House, Runner};
use self::state::{Ctx, Program};
use self::threads::Threads;
use crate::compile::CompileError;
use crate::config::WasmConfig;
use crate::filter::metrics::Defined;
use crate::filter::state::Clusters;
use crate::host::{Core, Host, Running, open};
use crate::{imports, limits};

/// Makes functions of components. Without a function there are neither threads nor an engine: they are made for the first
/// one.
pub struct FunctionEngine {
    core: Arc<Core>,
    blocks: Weak<Blocks>,
    clusters: Clusters,
    metrics: Arc<Defined>,
    families: Arc<Families>,
    cache: Option<PathBuf>,
    threads: Option<NonZeroUsize>,
    site: OnceLock<Site>,
}

/// Where functions are built.
struct Site {
    house: House,
    linker: Linker<Ctx>,
}

impl FunctionEngine {
    /// Functions share the engine of `host`, and call these blocks and the clusters it follows.
    #[must_use]
    pub fn new(host: &Host, config: &WasmConfig, blocks: &Arc<Blocks>) -> Self {
        Self {
            core: Arc::clone(host.core()),
            blocks: Arc::downgrade(blocks),
            clusters: Arc::clone(&host.services().clusters),
            metrics: Arc::clone(&host.services().metrics),
            families: Arc::new(Families::new(host.metrics())),
            cache: config.cache.clone(),
            threads: config.functions.threads,
            site: OnceLock::new(),
        }
    }

    fn site(&self, running: &Running) -> Result<&Site> {
        if let Some(site) = self.site.get() {
            return Ok(site);
        }
        let threads = Threads::start(self.threads);
        let threads =
            threads.map_err(|error| Error::internal("functions have no threads").with_source(error))?;
        let linker = link(running.engine.wasmtime());
        let linker =
            linker.map_err(|error| Error::internal(format!("functions cannot be linked: {error:#}")))?;
        let house = House {
            engine: Arc::clone(&running.engine),
            threads: Arc::new(threads),
            blocks: Weak::clone(&self.blocks),
            slots: Arc::new(Semaphore::new(limits::FUNCTION_INSTANCES as usize)),
            waits: Arc::default(),
        };
        Ok(self.site.get_or_init(|| Site { house, linker }))
    }

    fn program(&self, load: Load) -> Program {
        let journal = Journal::new(Arc::clone(&load.name), load.version, load.log);
        Program {
            counted: imports::Counted::new(Arc::clone(&self.metrics), Arc::clone(&load.name)),
            name: load.name,
            config: load.config,
            journal: Arc::new(journal),
            clusters: Arc::clone(&self.clusters),
        }
    }
}

#[async_trait]
impl FunctionHost for FunctionEngine {
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>> {
        if load.module.bytes().len() > MAX_MODULE {
            return Err(Error::invalid("it is larger than 32 MiB"));
        }
        let running = self.core.running().map_err(Error::internal)?;
        let site = self.site(running)?;
        let compiled = running.compiler.compiled(load.module.clone(), open(self.cache.as_ref())).await;
        let component: Component = compiled.map_err(|error| uncompiled(&error))?;
        check::imports(&component, &load.config.grants)?;
        let pre = site.linker.instantiate_pre(&component);
        let pre = pre.map_err(|error| Error::invalid(format!("it cannot be linked: {error:#}")))?;
        let exports = Exports::of(&pre)?;
        let measures =
            Measures::new(Arc::clone(&self.families), Arc::clone(&load.name), Arc::clone(&load.version));
        let runner = Runner::new(self.program(load), exports, site.house.clone(), pre, measures);
        runner.try_out().await?;
        Ok(Arc::new(Loaded(runner)))
    }
}

/// Everything a component may import: WASI without anything behind it, and the blocks.
fn link(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    imports::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn uncompiled(error: &CompileError) -> Error {
    match error {
        CompileError::Slow => Error::new(ErrorKind::Timeout, error.to_string()),
        CompileError::Busy => Error::unavailable(error.to_string()),
        CompileError::Panicked => Error::internal(error.to_string()),
        error => Error::invalid(format!("it {error}")),
    }
}

impl fmt::Debug for FunctionEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionEngine").field("threads", &self.threads).finish_non_exhaustive()
    }
}
