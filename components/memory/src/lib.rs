//! Backends that live in this process's memory: for tests, and for data that may be lost with the process.

mod expiry;
mod shard;
mod state;

pub use state::{MemoryState, MemoryStateBackend, MemoryStateConfig};
