//! WebAssembly filters, where they are built in.

use std::path::PathBuf;

use crate::{
    config::{Loaded, Problems},
    traffic::told,
};

#[cfg(feature = "wasm")]
pub use outrigger_wasm_host::{Host, Plugins, WasmConfig};
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

/// The modules' files: a new one is a new filter.
#[cfg(feature = "wasm")]
pub fn files(config: &WasmConfig) -> impl Iterator<Item = PathBuf> + '_ {
    config.plugins.values().map(|plugin| plugin.file.clone())
}

#[cfg(not(feature = "wasm"))]
pub fn files(_: &WasmConfig) -> impl Iterator<Item = PathBuf> + '_ {
    std::iter::empty()
}

/// What stands in their place in a program built without them.
#[cfg(not(feature = "wasm"))]
mod without {
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
