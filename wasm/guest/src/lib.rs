//! Functions in Rust that run inside Outrigger.
//!
//! A function is a type with a handler for each thing it is called for, and one line that exports it:
//!
//! ```
//! use outrigger_guest::{Failure, export, http, state};
//!
//! struct Visits;
//!
//! impl http::Handler for Visits {
//!     fn handle(request: http::Request) -> Result<http::Response, Failure> {
//!         let store = state::Store::named("visits");
//!         let visits = store.update(&request.path, |now: Option<u64>| now.unwrap_or(0) + 1)?;
//!         Ok(http::Response::text(format!("{} was visited {visits} times\n", request.path)))
//!     }
//! }
//!
//! export!(Visits: http);
//! ```
//!
//! Build it with `crate-type = ["cdylib"]` for `wasm32-wasip2`: what comes out is the component to deploy. It imports
//! the blocks it calls and no others, and each of those must be granted to it in the sidecar's configuration.
//!
//! Every call of a function may find fresh memory: what is to be kept goes into a store. What it prints, on either
//! stream, goes to its log, and so does a panic's message.

#[doc(hidden)]
pub mod bindgen;
pub mod binding;
pub mod bindings;
pub mod configuration;
mod error;
pub mod event;
mod export;
pub mod http;
pub mod invocation;
pub mod invoke;
pub mod lock;
pub mod log;
mod metadata;
pub mod metrics;
pub mod pubsub;
pub mod schedule;
pub mod secrets;
pub mod sequencer;
pub mod state;

pub use error::{Code, Error, Failure, Result};
pub use metadata::{Metadata, value};
