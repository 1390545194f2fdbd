//! Front doors: they decode a call, hand it to its block and encode the answer. What a call means is not decided
//! here; what may come in at all, and which code an error has in which dialect, is.
//!
//! [`Api`] holds what all listeners share, and [`Api::front`] makes the tower service of one of them.

pub mod access;
pub mod actuator;
pub mod app;
mod front;
pub mod functions;
mod grpc;
mod meter;
mod passing;
pub mod status;
mod trace;
mod wire;

pub use front::{Api, Front, Reply, Rules, functions_service};
