//! WebAssembly filters and Layotto's functions, where they are built in.

use std::{path::Path, sync::Arc};

use outrigger_blocks::Blocks;

#[cfg(feature = "wasm")]
use crate::app::App;
use crate::{
    config::{Loaded, Problems},
    traffic::told,
};

#[cfg(feature = "wasm")]
pub use outrigger_wasm_host::{
    FunctionChange, FunctionEngine, Host, LayottoFunctionConfig, LayottoGrants, Plugins, WasmConfig,
};
#[cfg(not(feature = "wasm"))]
pub use without::{Host, Plugins, WasmConfig};

/// Nothing is said of it.
pub fn is_unused(config: &WasmConfig) -> bool {
    *config == WasmConfig::default()
}

/// Compiles the section `wasm`. What `previous` has of it already is taken over.
pub async fn compile(host: &Host, loaded: &Loaded, previous: &Plugins) -> Result<Plugins, Problems> {
    let compiled = host.compile(&loaded.config.wasm, previous).await;
    compiled.map_err(|found| told(loaded, found.into_iter().map(|problem| problem.within("wasm"))))
}

/// Where functions run from now on.
#[cfg(feature = "wasm")]
pub fn run_functions(host: &Host, config: &WasmConfig, blocks: &Arc<Blocks>) {
    blocks.functions.run_on(Arc::new(FunctionEngine::new(host, config, blocks)));
}

#[cfg(not(feature = "wasm"))]
pub fn run_functions(_: &Host, _: &WasmConfig, _: &Arc<Blocks>) {}

/// The folder of functions.
#[cfg(feature = "wasm")]
pub fn folder(config: &WasmConfig) -> Option<&Path> {
    config.functions.folder.as_deref()
}

#[cfg(not(feature = "wasm"))]
pub fn folder(_: &WasmConfig) -> Option<&Path> {
    None
}

/// Changes Layotto's functions and puts the change in force.
#[cfg(feature = "wasm")]
pub async fn change(app: &Arc<App>, change: FunctionChange) -> Result<(), String> {
    let reload = || async {
        let outcome = app.reload("admin").await;
        if outcome.applied { Ok(()) } else { Err(outcome.problems.join("; ")) }
    };
    app.wasm.change(change, reload).await
}

/// What stands in their place in a program built without them.
#[cfg(not(feature = "wasm"))]
mod without {
    use std::{path::PathBuf, sync::Arc};

    use outrigger_blocks::Blocks;
    use outrigger_cluster::Clusters;
    use outrigger_http::{Problem, chain::Modules};
    use outrigger_telemetry::Metrics;
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, de};
    use tokio::runtime::Handle;

    /// This program was built without the `wasm` feature.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
    pub struct WasmConfig {}

    impl<'de> Deserialize<'de> for WasmConfig {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(de::Error::custom("this program was built without the `wasm` feature"))
        }
    }

    pub struct Host;

    #[derive(Default)]
    pub struct Plugins {}

    impl Host {
        pub fn new(_: Vec<Handle>, _: &Metrics) -> Self {
            Self
        }

        #[must_use]
        pub fn with_blocks(self, _: Arc<Blocks>, _: Handle) -> Self {
            self
        }

        pub fn files(&self, _: &WasmConfig) -> Vec<PathBuf> {
            Vec::new()
        }

        pub async fn compile(&self, _: &WasmConfig, _: &Plugins) -> Result<Plugins, Vec<Problem>> {
            Ok(Plugins {})
        }

        pub fn follow(&self, _: &Plugins, _: &Clusters) {}
    }

    impl Plugins {
        pub fn modules(&self) -> Modules {
            Modules::new()
        }
    }
}
