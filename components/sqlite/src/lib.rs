//! The embedded durable store: SQLite with group commit.
//!
//! One file holds everything, and several processes of one user may share it. Writes go through one thread per
//! component that puts everything waiting into one transaction and answers after the commit has reached the disk;
//! reads happen on the caller's thread through a few connections of their own. An idle store has nothing that wakes.
//!
//! # The file
//!
//! | Table | Columns | Meaning |
//! |---|---|---|
//! | `state` | `key` blob, `value` blob, `version` integer, `expires` integer | one row per entry; the etag is the version in decimal; `expires` is in milliseconds since 1970, null is never |
//! | `counters` | `name` text, `value` integer | `revision` is the last version given out; it never goes back |
//! | `schemas` | `block` text, `version` integer | which layout each block's tables have |
//!
//! The file has `application_id` 0x4F555452 ("OUTR"), is in WAL mode, and is created with mode 0600. Network file
//! systems are not supported: SQLite's WAL needs shared memory.

mod apply;
mod config;
mod database;
mod failure;
mod readers;
mod state;
mod writer;

pub use config::{SqliteConfig, Synchronous};
pub use state::{SqliteState, SqliteStateBackend};
