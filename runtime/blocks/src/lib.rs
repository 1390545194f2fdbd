//! What each building-block operation means: which component it goes to, who may, under which key, and under which
//! policy. How a call arrived (gRPC, HTTP, a function) is not known here.

mod bindings;
mod caller;
mod configuration;
mod fault;
mod file;
pub mod function;
mod guard;
mod health;
mod hello;
pub mod invoke;
mod key;
mod lifecycle;
mod lock;
mod pubsub;
mod registry;
mod scope;
mod secrets;
mod sequencer;
mod settings;
mod slot;
mod state;
mod stay;
mod stores;

use std::sync::Arc;

use outrigger_telemetry::Metrics;

pub use outrigger_component_api::{
    BindingRequest, BindingResponse, BulkOptions, Concurrency, ConfigurationChange, ConfigurationItem,
    Consistency, DeleteOptions, Entry, Error, ErrorKind, Etag, FileBody, FileInfo, FileList, FileOptions,
    GetOptions, Held, Lease, Page, Result, Revision, Secret, SecretOptions, SecretValues, Selector,
    SetOptions, Settings,
};
pub use outrigger_resilience::Deadline;

pub use bindings::{AppInputs, Bindings, Inlet, InputComponent, InputEvent, OutputComponent};
pub use caller::Caller;
pub use configuration::{Configuration, ConfigurationComponent, ConfigurationWatch, Polled, Update};
pub use fault::Fault;
pub use file::{FileComponent, Files};
pub use function::Functions;
pub use guard::{Call, Class, Guard, LimitConfig, Limits, Meter, Op, Policy};
pub use health::{ComponentReport, Health};
pub use hello::{GreeterComponent, Hello};
pub use invoke::Invoke;
pub use key::KeyPrefix;
pub use lock::{Lock, LockComponent};
pub use outrigger_cluster::{Body, BodyError};
pub use pubsub::{
    Answer, AppEvents, BrokerComponent, Courier, DeliverySettings, Event, Events, Incoming, PubSub,
    Publication, SubscriptionConfig, Topic, TopicScopes,
};
pub use registry::RegistryComponent;
pub use scope::Scopes;
pub use secrets::{SecretAccess, SecretComponent, Secrets};
pub use sequencer::{Increment, Sequencer, SequencerComponent};
pub use settings::{block_settings, take_block_settings};
pub use slot::{Readiness, Slot, SlotConfig};
pub use state::{Operation, State, StateComponent, Write, fence, ttl, ttl_of};
pub use stores::{Member, Stores};

/// Every building block of this process. Front doors share one of these; a reload replaces components inside it.
pub struct Blocks {
    /// Keys and values.
    pub state: State,
    /// Values that live outside the configuration.
    pub secrets: Secrets,
    /// Items an operator changes and the application watches.
    pub configuration: Configuration,
    /// Leases on names.
    pub lock: Lock,
    /// Numbers that only grow.
    pub sequencer: Sequencer,
    /// Greetings.
    pub hello: Hello,
    /// Named byte streams.
    pub files: Files,
    /// Events.
    pub pubsub: PubSub,
    /// Requests to applications.
    pub invoke: Invoke,
    /// Operations of other systems.
    pub bindings: Bindings,
    /// Programs deployed into this process.
    pub functions: Functions,
    app_id: Arc<str>,
    meter: Meter,
}

impl Blocks {
    /// Blocks without any component. `app_id` is the application this process stands beside; empty if it has no name.
    pub fn new(app_id: impl Into<Arc<str>>, metrics: &Metrics) -> Self {
        Self {
            state: State::default(),
            secrets: Secrets::default(),
            configuration: Configuration::default(),
            lock: Lock::default(),
            sequencer: Sequencer::default(),
            hello: Hello::default(),
            files: Files::default(),
            pubsub: PubSub::default(),
            invoke: Invoke::default(),
            bindings: Bindings::default(),
            functions: Functions::default(),
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
        let (
            state,
            secrets,
            configuration,
            lock,
            sequencer,
            hello,
            files,
            pubsub,
            outputs,
            inputs,
            registries,
        ) = tokio::join!(
            self.state.stores.report(),
            self.secrets.stores.report(),
            self.configuration.stores.report(),
            self.lock.stores.report(),
            self.sequencer.stores.report(),
            self.hello.greeters.report(),
            self.files.stores.report(),
            self.pubsub.brokers.report(),
            self.bindings.outputs.report(),
            self.bindings.inputs.report(),
            self.invoke.registries.report(),
        );
        [state, secrets, configuration, lock, sequencer, hello, files, pubsub, outputs, inputs, registries]
            .concat()
    }

    /// Has calls to a component meet a fault from now on, or no longer; whether there is such a component. For tests.
    pub fn inject(&self, component: &str, fault: Option<Fault>) -> bool {
        self.state.stores.inject(component, fault)
            || self.secrets.stores.inject(component, fault)
            || self.configuration.stores.inject(component, fault)
            || self.lock.stores.inject(component, fault)
            || self.sequencer.stores.inject(component, fault)
            || self.hello.greeters.inject(component, fault)
            || self.files.stores.inject(component, fault)
            || self.pubsub.brokers.inject(component, fault)
            || self.bindings.inputs.inject(component, fault)
            || self.invoke.registries.inject(component, fault)
    }

    /// Ends every stream of events and changes, and lets none begin: the process takes its leave. What is under way may
    /// still be settled.
    pub fn close(&self) {
        self.pubsub.brokers.close();
        self.configuration.stores.close();
    }

    /// What components register their series with when they are made.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}
