//! The application's side: what the sidecar calls.
//!
//! ```no_run
//! use outrigger_sdk::{App, Outcome};
//!
//! # async fn example() -> Result<(), outrigger_sdk::Error> {
//! let app = App::new().topic("events", "orders", |event| async move {
//!     println!("{}", String::from_utf8_lossy(&event.data));
//!     Outcome::Done
//! });
//! app.serve("127.0.0.1:9999".parse().expect("an address")).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::app_callback_server::{AppCallback, AppCallbackServer};
use outrigger_proto::{dapr, dapr::app_callback_server as dapr_server};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait};

use crate::pubsub::{Event, Outcome};
use crate::{Error, ErrorKind};

type Handling = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Handler = Arc<dyn Fn(Event) -> Handling + Send + Sync>;
type Taking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Taker = Arc<dyn Fn(BindingEvent) -> Taking + Send + Sync>;

/// An application that is called back. Its port is what the sidecar's `app.port` says.
#[derive(Clone, Default)]
#[must_use = "an application does nothing until it is served"]
pub struct App {
    /// By broker and topic.
    topics: BTreeMap<(String, String), Topic>,
    /// By name.
    bindings: BTreeMap<String, Taker>,
}

/// An event of an input binding, such as a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingEvent {
    /// The component's name.
    pub binding: String,
    pub data: Bytes,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Topic {
    metadata: BTreeMap<String, String>,
    handler: Handler,
}

impl App {
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes to a topic: `handler` sees each of its events, several at once. One that panics is a retry.
    pub fn topic<F: Future<Output = Outcome> + Send + 'static>(
        self,
        pubsub: impl Into<String>,
        topic: impl Into<String>,
        handler: impl Fn(Event) -> F + Send + Sync + 'static,
    ) -> Self {
        self.topic_with(pubsub, topic, BTreeMap::new(), handler)
    }

    /// Subscribes to a topic with metadata for the broker.
    pub fn topic_with<F: Future<Output = Outcome> + Send + 'static>(
        mut self,
        pubsub: impl Into<String>,
        topic: impl Into<String>,
        metadata: BTreeMap<String, String>,
        handler: impl Fn(Event) -> F + Send + Sync + 'static,
    ) -> Self {
        let handler: Handler = Arc::new(move |event| Box::pin(handler(event)));
        self.topics.insert((pubsub.into(), topic.into()), Topic { metadata, handler });
        self
    }

    /// Takes the events of an input binding, one at a time. An error, or a handler that panics, is a failure: what
    /// becomes of the event then is for the binding's settings to say.
    pub fn binding<E, F>(
        mut self,
        binding: impl Into<String>,
        handler: impl Fn(BindingEvent) -> F + Send + Sync + 'static,
    ) -> Self
    where
        E: fmt::Display,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let taker: Taker = Arc::new(move |event| {
            let handling = handler(event);
            Box::pin(async move { handling.await.map_err(|error| error.to_string()) })
        });
        self.bindings.insert(binding.into(), taker);
        self
    }

    /// Answers the sidecar at this address for as long as the future is polled.
    pub async fn serve(self, address: SocketAddr) -> crate::Result<()> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}: {error}"))
        })?;
        self.serve_on(listener).await
    }

    /// As [`App::serve`], on a socket that listens already.
    pub async fn serve_on(self, listener: TcpListener) -> crate::Result<()> {
        tonic::transport::Server::builder()
            .add_service(dapr_server::AppCallbackServer::new(self.clone()))
            .add_service(AppCallbackServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topics, bindings) = (self.topics.keys(), self.bindings.keys());
        f.debug_struct("App").field("topics", &topics).field("bindings", &bindings).finish()
    }
}

#[async_trait]
impl AppCallback for App {
    async fn list_topic_subscriptions(
        &self,
        _: Request<()>,
    ) -> Result<Response<proto::ListTopicSubscriptionsResponse>, Status> {
        let subscriptions = self.topics.iter().map(|((pubsub, topic), entry)| proto::TopicSubscription {
            pubsub_name: pubsub.clone(),
            topic: topic.clone(),
            metadata: entry.metadata.clone(),
        });
        let subscriptions = subscriptions.collect();
        Ok(Response::new(proto::ListTopicSubscriptionsResponse { subscriptions }))
    }

    async fn on_topic_event(
        &self,
        request: Request<proto::TopicEventRequest>,
    ) -> Result<Response<proto::TopicEventResponse>, Status> {
        let event = Event::from(request.into_inner());
        let Some(topic) = self.topics.get(&(event.pubsub.clone(), event.topic.clone())) else {
            let (pubsub, topic) = (&event.pubsub, &event.topic);
            return Err(Status::not_found(format!("nobody here listens to topic '{topic}' of '{pubsub}'")));
        };
        // On a task of its own, so that a handler that panics takes nothing else along.
        let outcome = tokio::spawn((topic.handler)(event)).await;
        Ok(Response::new(outcome.unwrap_or(Outcome::Retry).into()))
    }
}

/// Layotto has no callbacks for bindings, so these are Dapr's.
#[async_trait]
impl dapr_server::AppCallback for App {
    async fn list_input_bindings(
        &self,
        _: Request<()>,
    ) -> Result<Response<dapr::ListInputBindingsResponse>, Status> {
        let bindings = self.bindings.keys().cloned().collect();
        Ok(Response::new(dapr::ListInputBindingsResponse { bindings }))
    }

    async fn on_binding_event(
        &self,
        request: Request<dapr::BindingEventRequest>,
    ) -> Result<Response<dapr::BindingEventResponse>, Status> {
        let dapr::BindingEventRequest { name: binding, data, metadata } = request.into_inner();
        let Some(taker) = self.bindings.get(&binding) else {
            return Err(Status::not_found(format!("nobody here takes events of '{binding}'")));
        };
        match tokio::spawn(taker(BindingEvent { binding, data, metadata })).await {
            Ok(Ok(())) => Ok(Response::new(dapr::BindingEventResponse {})),
            Ok(Err(why)) => Err(Status::internal(why)),
            Err(_) => Err(Status::internal("the handler panicked")),
        }
    }
}
