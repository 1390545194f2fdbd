//! The connection to the sidecar.

use std::sync::Arc;

use outrigger_proto::layotto::lifecycle_client::LifecycleClient;
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use outrigger_proto::outrigger::actuator_client::ActuatorClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::actuator::Actuator;
use crate::binding::Binding;
use crate::configuration::Configuration;
use crate::file::FileStore;
use crate::lock::LockStore;
use crate::pubsub::PubSub;
use crate::secrets::SecretStore;
use crate::sequencer::Sequencer;
use crate::state::StateStore;
use crate::{Error, ErrorKind, Options, Result};

/// A connection to the sidecar. Cloning it shares the connection, which is made again by itself when it is lost.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    calls: Arc<Calls>,
}

/// What goes with every call.
#[derive(Debug)]
struct Calls {
    token: Option<MetadataValue<Ascii>>,
    timeout: std::time::Duration,
}

impl Client {
    /// Connects to where the environment says the sidecar is; see [`Options::from_env`].
    pub async fn connect() -> Result<Self> {
        Self::connect_with(Options::from_env()).await
    }

    /// Connects as told.
    pub async fn connect_with(options: Options) -> Result<Self> {
        let endpoint = Endpoint::from_shared(options.uri()?)
            .map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("endpoint '{}': {error}", options.endpoint))
            })?
            .connect_timeout(options.connect_timeout)
            .user_agent(concat!("outrigger-sdk/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let channel =
            endpoint.connect().await.map_err(|error| Error::unreachable(&options.endpoint, error))?;
        let token = options.token.map(|token| {
            let token = MetadataValue::try_from(token);
            token.map_err(|_| {
                Error::new(ErrorKind::InvalidArgument, "the token has characters a header cannot carry")
            })
        });
        let calls = Calls { token: token.transpose()?, timeout: options.timeout };
        Ok(Self { channel, calls: Arc::new(calls) })
    }

    /// The state store configured under this name. Whether there is one shows with the first call.
    pub fn state(&self, store: impl Into<String>) -> StateStore {
        StateStore::new(self.clone(), store.into())
    }

    /// The lock store configured under this name.
    pub fn lock(&self, store: impl Into<String>) -> LockStore {
        LockStore::new(self.clone(), store.into())
    }

    /// The sequencer configured under this name.
    pub fn sequencer(&self, store: impl Into<String>) -> Sequencer {
        Sequencer::new(self.clone(), store.into())
    }

    /// The items of an application in the configuration store of this name.
    pub fn configuration(&self, store: impl Into<String>, app_id: impl Into<String>) -> Configuration {
        Configuration::new(self.clone(), store.into(), app_id.into())
    }

    /// The broker configured under this name.
    pub fn pubsub(&self, pubsub: impl Into<String>) -> PubSub {
        PubSub::new(self.clone(), pubsub.into())
    }

    /// The secret store configured under this name.
    pub fn secrets(&self, store: impl Into<String>) -> SecretStore {
        SecretStore::new(self.clone(), store.into())
    }

    /// The output binding configured under this name.
    pub fn binding(&self, name: impl Into<String>) -> Binding {
        Binding::new(self.clone(), name.into())
    }

    /// The file store configured under this name.
    pub fn files(&self, store: impl Into<String>) -> FileStore {
        FileStore::new(self.clone(), store.into())
    }

    /// How the sidecar itself is doing.
    pub fn actuator(&self) -> Actuator {
        Actuator::new(self.clone())
    }

    pub(crate) fn runtime(&self) -> RuntimeClient<Channel> {
        RuntimeClient::new(self.channel.clone())
    }

    pub(crate) fn lifecycle(&self) -> LifecycleClient<Channel> {
        LifecycleClient::new(self.channel.clone())
    }

    pub(crate) fn actuator_client(&self) -> ActuatorClient<Channel> {
        ActuatorClient::new(self.channel.clone())
    }

    /// A call that ends within the timeout.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.streaming(message);
        request.set_timeout(self.calls.timeout);
        request
    }

    /// A call that lasts as long as there is something to say.
    pub(crate) fn streaming<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.calls.token {
            request.metadata_mut().insert("outrigger-api-token", token.clone());
        }
        request
    }
}
