//! The contract between the runtime and its backends.
//!
//! A *block* is a capability the application reaches by component name ([`StateStore`], [`SecretStore`]).
//! A *backend* is one technology that provides a block ([`Backend`]); the [`Registry`] knows which backends this
//! binary was built with. This crate knows no wire type and no client library: what an operation means is written
//! here, and `outrigger-testkit` holds every backend to it.

mod apps;
mod backend;
mod binding;
mod capability;
mod configuration;
mod error;
mod file;
mod greeter;
mod http;
mod lock;
mod nearest;
mod pubsub;
mod registry;
mod secret;
mod secrets;
mod sequencer;
mod settings;
mod state;

pub use apps::{Announcement, AppRegistry};
pub use async_trait::async_trait;
pub use backend::{Backend, BuildContext, Component, ComponentSpec};
pub use binding::{
    BindingEvents, BindingRequest, BindingResponse, InputBinding, OutputBinding, unknown_operation,
};
pub use capability::Capability;
pub use configuration::{
    Change as ConfigurationChange, ConfigurationCapabilities, ConfigurationStore,
    Event as ConfigurationEvent, Item as ConfigurationItem, Revision, Selector, Watch,
};
pub use error::{Error, ErrorKind, Result};
pub use file::{FileBody, FileInfo, FileList, FileOptions, FileStore, Page};
pub use greeter::Greeter;
pub use http::{HttpClient, HttpClients, HttpRequest, HttpResponse, HttpServer};
pub use lock::{Held, Lease, LockCapabilities, LockStore};
pub use nearest::nearest;
pub use pubsub::{
    Delivery, Message, Outcome, PubSub, PubSubCapabilities, Settle, Start, SubscribeOptions, Subscription,
};
pub use registry::{BlockKind, Built, Registry, TypeInfo};
pub use secret::Secret;
pub use secrets::{SecretOptions, SecretStore, SecretValues};
pub use sequencer::{NextOptions, Segment, Sequencer, SequencerCapabilities};
pub use settings::{Settings, parse as parse_settings};
pub use state::{
    BulkOptions, Change, Concurrency, Condition, Consistency, DeleteOptions, Entry, Etag, GetOptions, Key,
    SetOptions, StateCapabilities, StateStore, check_fence, refuse_fence,
};
