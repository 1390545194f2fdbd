//! What functions import, each interface called by a component over blocks that live in memory.

mod binding;
mod config;
mod configuration;
mod grants;
mod house;
mod invocation;
mod keyvalue;
mod lock;
mod outgoing;
mod probe;
mod pubsub;
mod secrets;
mod state;
mod telemetry;
