//! From a file to native code: a few at a time, on threads of their own.

use std::sync::Arc;

use outrigger_blocks::function::Module;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::aot::{Cache, Compiled};
use crate::engine::Engine;
use crate::limits;

/// Modules compiled at once. One more than a folder of functions has compiled at once, so that what an operator deploys
/// meanwhile does not wait for that.
const AT_ONCE: usize = 3;

/// Compiles modules.
#[derive(Debug)]
pub(crate) struct Compiler {
    engine: Arc<Engine>,
    turns: Arc<Semaphore>,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("compiling took longer than three minutes")]
    Slow,
    #[error("others were being compiled for ten minutes")]
    Busy,
    #[error("is no WebAssembly {0}: {1}")]
    Invalid(&'static str, String),
    #[error("compiling failed")]
    Panicked,
}

impl Compiler {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What a module is compiled to: from the cache, or made now.
    pub(crate) async fn compiled<C: Compiled>(
        &self,
        module: Module,
        cache: Option<Arc<Cache>>,
    ) -> Result<C, CompileError> {
        let engine = Arc::clone(&self.engine);
        self.run(move || load(engine.wasmtime(), &module, cache.as_deref())).await?
    }

    /// Runs work that takes its time on one of the threads for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CompileError> {
        // A work that does not end keeps its turn, so waiting for one has an end as well.
        let turn = timeout(limits::COMPILE_TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| CompileError::Busy)?.map_err(|_| CompileError::Panicked)?;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        let done = timeout(limits::COMPILE, task).await.map_err(|_| CompileError::Slow)?;
        done.map_err(|_| CompileError::Panicked)
    }
}

fn load<C: Compiled>(
    engine: &wasmtime::Engine,
    module: &Module,
    cache: Option<&Cache>,
) -> Result<C, CompileError> {
    if let Some(compiled) = cache.and_then(|cache| cache.load(engine, module.sha256())) {
        return Ok(compiled);
    }
    // Some of its messages run over several lines.
    let told = |error: wasmtime::Error| format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    let compiled = C::compile(engine, module.bytes());
    let compiled = compiled.map_err(|error| CompileError::Invalid(C::WHAT, told(error)))?;
    if let Some(Err(error)) = cache.map(|cache| cache.store(engine, module.sha256(), &compiled)) {
        tracing::warn!(%error, "a compiled module could not be kept");
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_has_an_end() {
        let compiler = Compiler::new(Arc::new(Engine::new().unwrap()));
        let _busy = Arc::clone(&compiler.turns).acquire_many_owned(3).await.unwrap();
        assert!(matches!(compiler.run(|| ()).await, Err(CompileError::Busy)));
    }
}
