//! Building blocks on Redis: one server, the master sentinels name, or a cluster.
//!
//! What is stored is laid out as the ecosystem does it, so that data written by Dapr or Layotto is found, and the other
//! way round:
//!
//! | Block | In Redis |
//! |---|---|
//! | state | a hash per entry: `data`, `version` (the etag; it only goes up), `first-write` after a first write; the ttl is the key's |
//! | configuration | a string per item: `content||version` |
//! | lock | the owner under the resource's key; the ttl is the key's |
//! | pub/sub | a stream per topic, a message's fields are `data`, `metadata` (JSON) and `expires`; groups are its consumer groups |
//! | sequencer | the last number given out, under the sequence's key |
//!
//! Beside an entry that was written with a fencing token stands `{key}||fence`, the highest token it has seen. It stays
//! when the entry goes. Beside a resource stands `{key}||token`, the token of its last lease.
//!
//! Redis 6.2 or newer is needed. Calls never wait for each other on a connection longer than the wire takes: each
//! runtime has a connection of its own, and what its calls send in one moment travels together.

mod address;
mod binding;
mod client;
mod config;
mod configuration;
mod key;
mod link;
mod listen;
mod lock;
mod pubsub;
mod replicas;
mod script;
mod sequencer;
mod state;

pub use binding::{RedisBinding, RedisBindingBackend};
pub use config::{RedisConfig, RedisPubSubConfig, RedisStateConfig, RedisType};
pub use configuration::{RedisConfiguration, RedisConfigurationBackend};
pub use lock::{RedisLock, RedisLockBackend};
pub use pubsub::{RedisPubSub, RedisPubSubBackend};
pub use sequencer::{RedisSequencer, RedisSequencerBackend};
pub use state::{RedisState, RedisStateBackend};
