//! One process beside an application: building blocks and a data plane.
//! This crate is the composition root: configuration, command line, admin, reload and shutdown.

pub mod admin;
pub mod app;
pub mod apps;
pub mod backends;
pub mod callbacks;
pub mod child;
pub mod cli;
pub mod components;
pub mod config;
pub mod doors;
pub mod function_triggers;
pub mod functions;
pub mod joints;
pub mod life;
pub mod listeners;
pub mod operator;
pub mod outbound;
mod pages;
pub mod reload;
pub mod secrets;
pub mod shutdown;
pub mod signals;
pub mod snapshot;
pub mod telemetry;
pub mod testing;
pub mod tokens;
pub mod traffic;
pub mod wasm;
