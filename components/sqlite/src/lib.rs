//! The embedded durable store: SQLite with group commit.
//!
//! One file holds everything, and several processes of one user may share it. Writes go through one thread per file
//! that puts everything waiting into one transaction and answers after the commit has reached the disk; reads happen
//! on the caller's thread through a few connections of their own. Whoever waits for changes is woken by whoever has
//! committed some, in this process or another. An idle store has nothing that wakes.
//!
//! # The file
//!
//! | Table | Columns | Meaning |
//! |---|---|---|
//! | `state` | `key` blob, `value` blob, `version` integer, `expires` integer | one row per entry; the etag is the version in decimal; `expires` is in milliseconds since 1970, null is never |
//! | `fences` | `key` blob, `token` integer | the highest fencing token a key has seen; stays when the entry goes |
//! | `locks` | `resource` blob, `owner` text, `token` integer, `expires` integer | one row per lease; `expires` as above |
//! | `sequences` | `key` blob, `last` integer | the last number given out |
//! | `configuration` | `app`, `grp`, `label`, `key`, `content`, `tags` text, `version` integer | one row per item; `tags` is a JSON object |
//! | `configuration_changes` | `revision` integer, then as above | the last 10,000 changes; a `content` of null is a deletion |
//! | `messages` | `id` integer, `topic` text, `data` blob, `metadata` text, `published`, `expires`, `waiting` integer | one row per message; `metadata` is a JSON object; `waiting` counts the groups that have not settled it, the last of which deletes it |
//! | `topic_groups` | `id` integer, `topic`, `name` text, `next` integer | one row per consumer group; `next` is the first message nobody of it was given |
//! | `deliveries` | `grp`, `message`, `attempts`, `holder`, `due` integer | one row per message a group was given and has not settled; `due` is when it may be given again |
//! | `counters` | `name` text, `value` integer | the last version (`revision`), fencing token (`lock`) and configuration change (`configuration`) given out; they never go back |
//! | `hosts` | `process`, `app`, `address` text | one row per running sidecar; `process` is its number and when it started |
//! | `schemas` | `block` text, `version` integer | which layout each block's tables have |
//!
//! The file has `application_id` 0x4F555452 ("OUTR"), is in WAL mode, and is created with mode 0600. Network file
//! systems are not supported: SQLite's WAL needs shared memory. Beside it `<file>.wake` holds the sockets of those who
//! wait for changes.
//!
//! # Time
//!
//! What expires does so by this host's wall clock, because processes that come and go share the file. A clock that is
//! set forward ends entries and leases early; one set back keeps them longer. Where that would do harm, let the holder
//! of a lock pass its fencing token along with what it writes: tokens do not depend on any clock.

mod batch;
mod config;
mod configuration;
mod database;
mod failure;
mod hosts;
mod layout;
mod lock;
mod pubsub;
mod readers;
mod sequencer;
mod state;
mod store;
mod wake;
mod writer;

pub use config::{SqliteConfig, Synchronous};
pub use configuration::{SqliteConfiguration, SqliteConfigurationBackend};
pub use hosts::SqliteHosts;
pub use lock::{SqliteLock, SqliteLockBackend};
pub use pubsub::{SqlitePubSub, SqlitePubSubBackend, SqlitePubSubConfig};
pub use sequencer::{SqliteSequencer, SqliteSequencerBackend};
pub use state::{SqliteState, SqliteStateBackend};
