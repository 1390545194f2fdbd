//! WebAssembly in this process: the engine, filters written against proxy-wasm, Layotto's functions, and functions that are
//! components.
//!
//! [`Host`] lives as long as the process; [`Host::compile`] turns the `wasm` section into [`Plugins`], which the filter
//! chain of `outrigger-http` knows as modules. This is the one crate that names wasmtime.

mod aot;
mod compile;
mod config;
mod crew;
mod engine;
mod filter;
mod function;
mod host;
mod imports;
mod instance;
mod layotto;
mod limits;
mod patience;
mod plugin;
mod ticker;

pub use config::{Failure, FunctionsConfig, PluginConfig, WasmConfig};
pub use function::FunctionEngine;
pub use host::{Host, Plugins};
pub use layotto::{FunctionChange, LayottoFunctionConfig, LayottoGrants};
