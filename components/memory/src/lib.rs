//! Backends that live in this process's memory: for tests, and for data that may be lost with the process.

mod expiry;
mod hello;
mod shard;
mod state;

pub use hello::{HelloWorld, HelloWorldBackend, HelloWorldConfig};
pub use state::{MemoryState, MemoryStateBackend, MemoryStateConfig};
