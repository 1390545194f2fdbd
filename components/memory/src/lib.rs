//! Backends that live in this process's memory: for tests, and for data that may be lost with the process.

mod configuration;
mod expiry;
mod hello;
mod lock;
mod pubsub;
mod sequencer;
mod shard;
mod state;

pub use configuration::{MemoryConfiguration, MemoryConfigurationBackend, MemoryConfigurationConfig};
pub use hello::{HelloWorld, HelloWorldBackend, HelloWorldConfig};
pub use lock::{MemoryLock, MemoryLockBackend, MemoryLockConfig};
pub use pubsub::{MemoryPubSub, MemoryPubSubBackend, MemoryPubSubConfig};
pub use sequencer::{MemorySequencer, MemorySequencerBackend, MemorySequencerConfig};
pub use state::{MemoryState, MemoryStateBackend, MemoryStateConfig};

/// Where counters begin that must not come back to a value of an earlier life of the process: at the clock.
fn start_of_counting() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or_default()
}
