//! Redis' blocks against real servers.
//!
//! Needs `redis-server` (`OUTRIGGER_TEST_REDIS_SERVER`, otherwise from the path). The suites use the server at
//! `OUTRIGGER_TEST_REDIS_URL` where that is set, such as `127.0.0.1:6379`, and one of their own where it is not. What is
//! missing is skipped and said to be, unless `OUTRIGGER_TEST_REQUIRE=all`.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests: a panic is a verdict")]

mod block_faults;
mod blocks;
mod cluster;
mod faults;
mod loss;
mod pubsub;
mod pubsub_settings;
mod replicas;
mod sentinel;
mod server;
mod settings;
mod state;
mod tls;
