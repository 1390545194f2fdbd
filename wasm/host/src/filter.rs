//! Filters written against proxy-wasm: what the guest may call, what it is called with, and how a request passes it.

pub(crate) mod abi;
pub(crate) mod blocks;
pub(crate) mod body;
pub(crate) mod buffers;
pub(crate) mod calls;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod endpoints;
pub(crate) mod exports;
mod flags;
pub(crate) mod headers;
pub(crate) mod link;
pub(crate) mod local;
pub(crate) mod map;
pub(crate) mod measures;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod passing;
pub(crate) mod properties;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod wasi;
