//! The real program, started in folders of its own on free ports, and the rules the whole tree is held to.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod admin;
mod api_listeners;
mod app;
mod application;
mod authority;
mod backend;
mod bad_config;
mod bindings;
mod collector;
#[cfg(feature = "wasm")]
mod component;
mod concurrency;
mod coordination;
mod coverage;
mod cron;
#[cfg(all(feature = "redis", feature = "etcd"))]
mod docs;
mod durability;
mod failure;
mod files;
mod floods;
#[cfg(feature = "wasm")]
mod function_triggers;
#[cfg(feature = "wasm")]
mod functions;
mod hello;
mod http;
mod idle;
mod invoke;
mod layotto;
mod layotto_file;
#[cfg(feature = "wasm")]
mod layotto_functions;
mod leaks;
mod limits;
mod load;
#[cfg(any(feature = "redis", feature = "etcd"))]
mod outages;
#[path = "../../../net/tests/support/ports.rs"]
mod ports;
mod program;
mod pubsub;
#[cfg(feature = "etcd")]
mod registry;
mod reload;
mod reload_load;
mod rpcs;
mod rules;
mod secrets;
#[cfg(any(feature = "redis", feature = "etcd"))]
mod servers;
mod settings;
#[cfg(any(feature = "redis", feature = "etcd"))]
mod shipped;
#[cfg(feature = "wasm")]
mod swaps;
mod telemetry;
mod testing;
#[cfg(feature = "wasm")]
mod wasm;
