//! State, configuration, locks, sequences and a registry of applications on etcd.
//!
//! # The layout
//!
//! Keys stand under `keyPrefixPath` (`/layotto/` unless told otherwise, configuration under `/`, the registry under `/outrigger/apps/`), in the forms existing
//! fleets have.
//!
//! | Block | Key | Value |
//! |---|---|---|
//! | state | prefix, key | the value; one with a time to live has a mark and its end before it; the etag is the key's mod revision |
//! | state, fences | prefix with NUL `fences` before its last slash, key | the highest token the key has seen, in decimal |
//! | configuration | prefix, `app/group/label/key` | the content; `/` and `%` in the first three are written `%2F` and `%25` |
//! | configuration, tags | the item's key, NUL, `tags` | the tags as a JSON object, valid for the content of the same revision |
//! | lock | prefix, resource | the owner, on a lease of the lock's time; the fencing token is the key's create revision |
//! | registry | prefix, `app/lease` | the address of the sidecar's API; `/` and `%` in the id are written `%2F` and `%25` |
//! | sequencer | prefix, key | what to add to the key's version, in decimal; nothing is 0 |
#![cfg(feature = "client")]

mod client;
mod config;
mod configuration;
mod failure;
mod lease;
mod link;
mod lock;
mod registry;
mod sequencer;
mod state;
mod value;
mod watch;

pub use config::{Addresses, EtcdConfig};
pub use configuration::{EtcdConfiguration, EtcdConfigurationBackend};
pub use lock::{EtcdLock, EtcdLockBackend};
pub use registry::{EtcdRegistry, EtcdRegistryBackend};
pub use sequencer::{EtcdSequencer, EtcdSequencerBackend};
pub use state::{EtcdState, EtcdStateBackend};
