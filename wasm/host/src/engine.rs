//! One engine for the process: how modules are compiled, where their memory comes from, and the clock that stops them.

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::function::limiter::{CORE_INSTANCES, MEMORIES, TABLES};
use crate::limits::{FUNCTION_INSTANCES, MAX_MEMORY, TABLE};
use crate::ticker::{Ticker, Ticking};

/// Instances of filters at once, over all plugins and workers.
const INSTANCES: u32 = 1000;
/// Of a memory given back, so much is cleared by us and stays ours. A function that touches 1 MiB in a fresh instance for
/// each call takes a third of the processor time it takes with none kept, one that touches little takes the same. Asking
/// the kernel what was touched, where it tells, saves another tenth. Of tables, which are small, all is.
const KEPT: usize = 2 << 20;
/// Memories kept in that way at once: what nobody uses takes 64 MiB at most.
const WARM: u32 = 32;
/// Of the guest's own stack: a filter's on the worker's, a function's on one from the pool.
const STACK: usize = 512 << 10;

pub(crate) struct Engine {
    inner: wasmtime::Engine,
    ticker: Ticker,
    pooled: bool,
}

impl Engine {
    /// The pool reserves address space for all instances at once; where the system does not give that much, memory is
    /// mapped for each instance as it is made.
    pub(crate) fn new() -> wasmtime::Result<Self> {
        Self::with_instances(INSTANCES, FUNCTION_INSTANCES)
    }

    fn with_instances(filters: u32, functions: u32) -> wasmtime::Result<Self> {
        let (inner, pooled) = match wasmtime::Engine::new(&pooling(filters, functions)) {
            Ok(engine) => (engine, true),
            Err(error) => {
                tracing::info!(%error, "no room for a pool of instances; each is mapped by itself");
                (wasmtime::Engine::new(&config())?, false)
            }
        };
        let ticker = Ticker::start(inner.weak())?;
        Ok(Self { inner, ticker, pooled })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// The clock ticks until the answer is dropped.
    pub(crate) fn begin(&self) -> Ticking<'_> {
        self.ticker.begin()
    }

    /// The same for a call that is nearly always over in microseconds: the first tick may be some milliseconds late.
    pub(crate) fn begin_short(&self) -> Ticking<'_> {
        self.ticker.begin_short()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .wasm_memory64(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

/// Room for the filters and for the functions, whatever either consists of: neither can take the other's.
fn pooling(filters: u32, functions: u32) -> Config {
    let room = |of_each: u32| functions.saturating_mul(of_each).saturating_add(filters);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_core_instances(room(CORE_INSTANCES))
        .total_memories(room(MEMORIES))
        .total_tables(room(TABLES).saturating_add(filters))
        .total_component_instances(functions)
        .total_stacks(functions)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_component_instance_size(1 << 20)
        .max_tables_per_module(4)
        .max_memories_per_module(1)
        .table_elements(TABLE)
        .max_core_instance_size(1 << 20)
        .max_memory_size(MAX_MEMORY)
        .linear_memory_keep_resident(KEPT)
        .table_keep_resident(TABLE * size_of::<usize>())
        .max_unused_warm_slots(WARM)
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("pooled", &self.pooled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_back_where_the_address_space_is_too_small() {
        assert!(Engine::new().unwrap().pooled);
        // More than any machine has addresses for.
        let engine = Engine::with_instances(1 << 20, 500).unwrap();
        assert!(!engine.pooled);
        let module = wasmtime::Module::new(engine.wasmtime(), "(module (memory 1))".as_bytes());
        assert!(module.is_err(), "text is not understood without a feature of wasmtime");
        let binary = wat::parse_str("(module (memory (export \"memory\") 1))").unwrap();
        let module = wasmtime::Module::new(engine.wasmtime(), binary).unwrap();
        let mut store = wasmtime::Store::new(engine.wasmtime(), ());
        store.set_epoch_deadline(1);
        assert!(wasmtime::Instance::new(&mut store, &module, &[]).is_ok());
    }
}
