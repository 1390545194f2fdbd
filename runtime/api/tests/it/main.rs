//! The front doors over real sockets, called by clients.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this crate is tests: a panic is a verdict"
)]

mod access;
mod bad_input;
mod configuration;
mod deadline;
mod events;
mod functions;
mod harness;
mod lock;
mod probes;
mod reflection;
mod sequencer;
mod suite;
