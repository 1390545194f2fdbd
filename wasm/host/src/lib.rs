//! WebAssembly in this process: the engine, and filters written against proxy-wasm.
//!
//! [`Host`] lives as long as the process; [`Host::compile`] turns the `wasm` section into [`Plugins`], which the filter
//! chain of `outrigger-http` knows as modules. This is the one crate that names wasmtime.

mod aot;
mod compile;
mod config;
mod engine;
mod filter;
#[allow(dead_code, reason = "what loads and calls functions comes next")]
mod function;
mod host;
#[allow(dead_code, reason = "linked by what loads functions")]
mod imports;
mod instance;
mod limits;
mod plugin;
mod ticker;

pub use config::{Failure, PluginConfig, WasmConfig};
pub use host::{Host, Plugins};
