//! Filters and functions written as text, in the hands of the host: what they are shown, what they may do, and what
//! becomes of them when they misbehave.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod bodies;
mod calls;
mod codec;
mod connections;
mod crews;
mod endpoints;
mod functions;
mod guest;
mod headers;
mod hostile;
mod imports;
mod isolation;
mod layotto;
mod lifecycle;
mod logs;
mod observed;
mod properties;
mod rig;
mod settings;
mod shared;
mod storm;
mod wasi;
