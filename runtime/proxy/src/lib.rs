//! The L4 and L7 proxy: listeners, routes, and the life of a request (`l7.rs`) and of a connection (`l4.rs`).
//!
//! [`compile`] checks a [`ProxyConfig`] against the clusters of the same configuration and turns it into a [`Proxy`];
//! [`Listeners::apply`] makes that what runs. What happens behind a cluster is `outrigger-cluster`'s, what happens on
//! the wire `outrigger-http`'s and `outrigger-net`'s.

mod access_logs;
mod action;
mod compile;
pub mod config;
mod error;
mod l4;
mod l7;
mod listeners;
mod metrics;
mod path;
mod route;
mod serving;

pub use compile::{Proxy, compile};
pub use config::ProxyConfig;
pub use listeners::{ListenerStatus, Listeners};
