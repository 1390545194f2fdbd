//! Layotto's functions: proxy-wasm modules told apart by the ids they give themselves, called with whole requests, and
//! free to wait for the building blocks on threads of their own.

mod changes;
mod config;
mod function;
mod hands;
mod table;
mod visit;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use outrigger_http::chain::Module;
use parking_lot::Mutex;

pub use changes::FunctionChange;
pub use config::{LayottoFunctionConfig, LayottoGrants};
pub(crate) use function::{Function, Parts};
pub(crate) use table::Table;

use changes::Overlay;

/// What stands for all functions in the filters of a route.
pub(crate) const FILTER: &str = "layotto";

/// The functions in force, and what has been changed about them since the start.
pub(crate) struct Layotto {
    table: Arc<ArcSwap<Table>>,
    /// The same for every configuration: a route that has it is not touched by a change of functions.
    module: Arc<dyn Module>,
    overlay: Mutex<Overlay>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Default for Layotto {
    fn default() -> Self {
        let table: Arc<ArcSwap<Table>> = Arc::default();
        let module = Arc::new(visit::Functions(Arc::clone(&table)));
        Self { table, module, overlay: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }
}

impl Layotto {
    /// The functions a configuration has, with what has been changed since; `None` without any of it.
    pub(crate) fn wanted(
        &self,
        config: Option<&BTreeMap<String, LayottoFunctionConfig>>,
    ) -> Option<BTreeMap<String, LayottoFunctionConfig>> {
        self.overlay.lock().over(config)
    }

    pub(crate) fn module(&self) -> &Arc<dyn Module> {
        &self.module
    }

    /// These are in force from now on. Requests that have begun stay with the functions they began with.
    pub(crate) fn follow(&self, table: Option<&Arc<Table>>) {
        self.table.store(table.cloned().unwrap_or_default());
    }

    /// Changes the functions and has the configuration read again; if that is refused, nothing has changed.
    pub(crate) async fn change<F>(
        &self,
        change: FunctionChange,
        reload: impl FnOnce() -> F,
    ) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let _one = self.changing.lock().await;
        let before = {
            let mut overlay = self.overlay.lock();
            let before = overlay.clone();
            overlay.apply(change, &self.table.load())?;
            before
        };
        let reloaded = reload().await;
        if reloaded.is_err() {
            *self.overlay.lock() = before;
        }
        reloaded
    }
}
