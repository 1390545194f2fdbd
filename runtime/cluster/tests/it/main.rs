//! Clusters over real sockets: every backend here is a listener on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this crate is tests: a panic is a verdict"
)]

mod backend;
mod dns;
mod failure;
mod functions;
mod h2;
mod limits;
mod pools;
#[path = "../../../net/tests/support/ports.rs"]
mod ports;
mod reload;
mod requests;
mod tls;
mod unix;
mod world;
