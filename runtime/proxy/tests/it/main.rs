//! The proxy in this process, over real sockets, against clients and backends that know nothing of our code.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod access_log;
mod backend;
mod client;
mod failure;
mod harness;
mod http1;
mod http2;
mod l4;
mod paths;
#[path = "../../../net/tests/support/ports.rs"]
mod ports;
mod reload;
mod routing;
mod tunnel;
