//! What each building-block operation means: which component it goes to, who may, under which key, and under which
//! policy. How a call arrived (gRPC, HTTP, a function) is not known here.

mod caller;
mod file;
mod guard;
mod health;
mod hello;
pub mod invoke;
mod lifecycle;
mod pubsub;
mod scope;
mod secrets;
mod slot;
mod state;
mod stores;

use std::sync::Arc;

use outrigger_telemetry::Metrics;

pub use outrigger_component_api::{
    BulkOptions, Concurrency, Consistency, DeleteOptions, Entry, Error, ErrorKind, Etag, FileBody, FileInfo,
    FileList, FileOptions, GetOptions, Page, Result, Secret, SecretOptions, SecretValues, SetOptions,
    Settings,
};
pub use outrigger_resilience::Deadline;

pub use caller::Caller;
pub use file::{FileComponent, Files};
pub use guard::{Call, Class, Guard, Meter, Op, Policy};
pub use health::{ComponentReport, Health};
pub use hello::{GreeterComponent, Hello};
pub use invoke::Invoke;
pub use outrigger_cluster::{Body, BodyError};
pub use pubsub::{
    Answer, AppEvents, BrokerComponent, Courier, DeliverySettings, Event, Events, Incoming, PubSub,
    Publication, SubscriptionConfig, Topic, TopicScopes, check_settings,
};
pub use scope::Scopes;
pub use secrets::{SecretAccess, SecretComponent, Secrets};
pub use slot::{Readiness, Slot, SlotConfig};
pub use state::{KeyPrefix, Operation, State, StateComponent, Write, ttl};
pub use stores::{Member, Stores};

/// Every building block of this process. Front doors share one of these; a reload replaces components inside it.
pub struct Blocks {
    /// Keys and values.
    pub state: State,
    /// Values that live outside the configuration.
    pub secrets: Secrets,
    /// Greetings.
    pub hello: Hello,
    /// Named byte streams.
    pub files: Files,
    /// Events.
    pub pubsub: PubSub,
    /// Requests to applications.
    pub invoke: Invoke,
    app_id: Arc<str>,
    meter: Meter,
}

impl Blocks {
    /// Blocks without any component. `app_id` is the application this process stands beside; empty if it has no name.
    pub fn new(app_id: impl Into<Arc<str>>, metrics: &Metrics) -> Self {
        Self {
            state: State::default(),
            secrets: Secrets::default(),
            hello: Hello::default(),
            files: Files::default(),
            pubsub: PubSub::default(),
            invoke: Invoke::default(),
            app_id: app_id.into(),
            meter: Meter::new(metrics),
        }
    }

    /// The application this process stands beside.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Every component of every block, asked how it is doing, all at once.
    pub async fn report(&self) -> Vec<ComponentReport> {
        let (state, secrets, hello, files, pubsub) = tokio::join!(
            self.state.stores.report(),
            self.secrets.stores.report(),
            self.hello.greeters.report(),
            self.files.stores.report(),
            self.pubsub.brokers().report(),
        );
        [state, secrets, hello, files, pubsub].concat()
    }

    /// What components register their series with when they are made.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}
