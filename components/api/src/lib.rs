//! The contract between the runtime and its backends.
//!
//! A *block* is a capability the application reaches by component name ([`StateStore`], [`SecretStore`]).
//! A *backend* is one technology that provides a block ([`Backend`]); the [`Registry`] knows which backends this
//! binary was built with. This crate knows no wire type and no client library: what an operation means is written
//! here, and `outrigger-testkit` holds every backend to it.

mod backend;
mod error;
mod nearest;
mod registry;
mod secret;
mod secrets;
mod settings;
mod state;

pub use async_trait::async_trait;
pub use backend::{Backend, BuildContext, Component, ComponentSpec};
pub use error::{Error, ErrorKind, Result};
pub use nearest::nearest;
pub use registry::{BlockKind, Built, Registry, TypeInfo};
pub use secret::Secret;
pub use secrets::{SecretOptions, SecretStore, SecretValues};
pub use settings::{Settings, parse as parse_settings};
pub use state::{
    BulkOptions, Change, Concurrency, Condition, Consistency, DeleteOptions, Entry, Etag, GetOptions, Key,
    SetOptions, StateCapabilities, StateStore,
};
