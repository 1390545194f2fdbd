//! From a file to native code: two at a time, on threads of their own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::Module;

use crate::aot::{Cache, sha256};
use crate::engine::Engine;
use crate::limits;

/// Modules compiled at once.
const AT_ONCE: usize = 2;

/// Compiles modules.
#[derive(Debug)]
pub(crate) struct Compiler {
    engine: Arc<Engine>,
    turns: Arc<Semaphore>,
}

/// A binary and its name.
pub(crate) struct Binary {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: String,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("cannot read {path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("{0} is larger than 32 MiB")]
    TooLarge(String),
    #[error("compiling took longer than a minute")]
    Slow,
    #[error("is no WebAssembly module: {0}")]
    Invalid(String),
    #[error("compiling failed")]
    Panicked,
}

impl Compiler {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The module of a binary: from the cache, or compiled.
    pub(crate) async fn module(
        &self,
        binary: Binary,
        cache: Option<Arc<Cache>>,
    ) -> Result<Module, CompileError> {
        let engine = Arc::clone(&self.engine);
        self.run(move || load(engine.wasmtime(), &binary, cache.as_deref())).await?
    }

    /// Runs work that takes its time on one of the threads for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CompileError> {
        // Never closed, so there is always a permit to come.
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| CompileError::Panicked)?;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        match tokio::time::timeout(limits::COMPILE, task).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(CompileError::Panicked),
            Err(_) => Err(CompileError::Slow),
        }
    }
}

fn load(engine: &wasmtime::Engine, binary: &Binary, cache: Option<&Cache>) -> Result<Module, CompileError> {
    if let Some(module) = cache.and_then(|cache| cache.load(engine, &binary.sha256)) {
        return Ok(module);
    }
    // Some of its messages run over several lines.
    let told = |error: wasmtime::Error| format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    let module = Module::new(engine, &binary.bytes).map_err(|error| CompileError::Invalid(told(error)))?;
    if let Some(Err(error)) = cache.map(|cache| cache.store(engine, &binary.sha256, &module)) {
        tracing::warn!(%error, "a compiled module could not be kept");
    }
    Ok(module)
}

/// Reads a module's file.
pub(crate) fn read(path: &Path) -> Result<Binary, CompileError> {
    let unread = |error| CompileError::Read { path: path.display().to_string(), error };
    if fs::metadata(path).map_err(unread)?.len() > limits::MAX_FILE {
        return Err(CompileError::TooLarge(path.display().to_string()));
    }
    let bytes = fs::read(path).map_err(unread)?;
    Ok(Binary { sha256: sha256(&bytes), bytes })
}
