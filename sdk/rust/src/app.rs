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

use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::app_callback_server::{AppCallback, AppCallbackServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait};

use crate::pubsub::{Event, Outcome};
use crate::{Error, ErrorKind, Result};

type Handling = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Handler = Arc<dyn Fn(Event) -> Handling + Send + Sync>;

/// An application that is called back. Its port is what the sidecar's `app.port` says.
#[derive(Clone, Default)]
#[must_use = "an application does nothing until it is served"]
pub struct App {
    /// By broker and topic.
    topics: BTreeMap<(String, String), Topic>,
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

    /// Answers the sidecar at this address for as long as the future is polled.
    pub async fn serve(self, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}: {error}"))
        })?;
        self.serve_on(listener).await
    }

    /// As [`App::serve`], on a socket that listens already.
    pub async fn serve_on(self, listener: TcpListener) -> Result<()> {
        tonic::transport::Server::builder()
            .add_service(AppCallbackServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("topics", &self.topics.keys()).finish()
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
