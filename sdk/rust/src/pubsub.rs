//! Publish and subscribe.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::subscribe_topic_events_request::SubscribeTopicEventsRequestType as Said;
use outrigger_proto::layotto::subscribe_topic_events_response::SubscribeTopicEventsResponseType as Heard;
use outrigger_proto::layotto::topic_event_response::TopicEventResponseStatus;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{Client, Error, ErrorKind, Result};

/// One broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PubSub {
    client: Client,
    name: String,
}

/// An event as it is delivered: a CloudEvent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub source: String,
    pub r#type: String,
    pub topic: String,
    /// The broker it came through.
    pub pubsub: String,
    /// What `data` is: `application/json`.
    pub content_type: String,
    pub data: Bytes,
    pub metadata: BTreeMap<String, String>,
}

/// How a subscription differs from what the component says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Where events go that are given up on.
    pub dead_letters: Option<String>,
    /// Settings of delivery (`consumerID`, `maxRetries`, `concurrency`…) and `rawPayload`.
    pub metadata: BTreeMap<String, String>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done with it.
    Done,
    /// Deliver it again, after a while.
    Retry,
    /// Give up on it: it goes to the dead-letter topic, if there is one.
    Drop,
}

impl PubSub {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Publishes an event. When this returns it will be delivered at least once to every group of subscribers.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        data: impl Into<Bytes>,
        content_type: impl Into<String>,
    ) -> Result<()> {
        self.publish_with(topic, data, content_type, BTreeMap::new()).await
    }

    /// Publishes an event with metadata: `ttlInSeconds`, `rawPayload`.
    pub async fn publish_with(
        &self,
        topic: impl Into<String>,
        data: impl Into<Bytes>,
        content_type: impl Into<String>,
        metadata: BTreeMap<String, String>,
    ) -> Result<()> {
        let request = proto::PublishEventRequest {
            pubsub_name: self.name.clone(),
            topic: topic.into(),
            data: data.into(),
            data_content_type: content_type.into(),
            metadata,
        };
        self.client.runtime().publish_event(self.client.request(request)).await?;
        Ok(())
    }

    /// Subscribes to a topic. What is not settled when the subscription is dropped is delivered to somebody else.
    pub async fn subscribe(&self, topic: impl Into<String>) -> Result<Subscription> {
        self.subscribe_with(topic, None).await
    }

    /// Subscribes to a topic; what is given up on goes to `dead_letters`.
    pub async fn subscribe_with(
        &self,
        topic: impl Into<String>,
        dead_letters: Option<String>,
    ) -> Result<Subscription> {
        self.subscribe_as(topic, SubscribeOptions { dead_letters, ..SubscribeOptions::default() }).await
    }

    /// Subscribes to a topic otherwise than the component says.
    pub async fn subscribe_as(
        &self,
        topic: impl Into<String>,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let initial = proto::SubscribeTopicEventsRequestInitial {
            pubsub_name: self.name.clone(),
            topic: topic.into(),
            metadata: options.metadata,
            dead_letter_topic: options.dead_letters,
        };
        let (requests, stream) = mpsc::channel(Subscription::UNSENT);
        // There is room, and the receiver is in our hands.
        let _sent = requests.try_send(said(Said::InitialRequest(initial)));
        let call = self.client.streaming(ReceiverStream::new(stream).map_while(|said| said));
        let mut answers = self.client.runtime().subscribe_topic_events(call).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.subscribe_topic_events_response_type) {
            Some(Heard::InitialResponse(_)) => Ok(Subscription { answers, settler: Settler { requests } }),
            _ => Err(Error::new(ErrorKind::Internal, "the sidecar did not confirm the subscription")),
        }
    }
}

/// The events of a topic, one after the other.
#[derive(Debug)]
pub struct Subscription {
    answers: Streaming<proto::SubscribeTopicEventsResponse>,
    settler: Settler,
}

/// Says what became of the events of a subscription, from wherever they are worked on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settler {
    /// `None` is the last word.
    requests: mpsc::Sender<Option<proto::SubscribeTopicEventsRequest>>,
}

impl Subscription {
    /// Outcomes on their way; more wait.
    const UNSENT: usize = 16;

    /// The next event; `None` when the sidecar has ended the subscription. Settle it, or it comes again.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        while let Some(answer) = self.answers.message().await? {
            if let Some(Heard::EventMessage(event)) = answer.subscribe_topic_events_response_type {
                return Ok(Some(event.into()));
            }
        }
        Ok(None)
    }

    /// Says what became of an event.
    pub async fn settle(&self, event: &Event, outcome: Outcome) -> Result<()> {
        self.settler.settle(event, outcome).await
    }

    /// What settles events beside the subscription.
    pub fn settler(&self) -> Settler {
        self.settler.clone()
    }

    /// Ends the subscription when the sidecar has heard all that was said. What is not settled is delivered to somebody
    /// else. Dropping the subscription ends it too, but may lose what was said last, so that it comes again.
    pub async fn close(mut self) -> Result<()> {
        // The sidecar may have been first.
        drop(self.settler.requests.send(None).await);
        while self.answers.message().await?.is_some() {}
        Ok(())
    }
}

impl Settler {
    /// Says what became of an event.
    pub async fn settle(&self, event: &Event, outcome: Outcome) -> Result<()> {
        let status = Some(outcome.into());
        let processed = proto::SubscribeTopicEventsRequestProcessed { id: event.id.clone(), status };
        self.requests
            .send(said(Said::EventProcessed(processed)))
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the subscription has ended"))
    }
}

fn said(what: Said) -> Option<proto::SubscribeTopicEventsRequest> {
    Some(proto::SubscribeTopicEventsRequest { subscribe_topic_events_request_type: Some(what) })
}

impl From<Outcome> for proto::TopicEventResponse {
    fn from(outcome: Outcome) -> Self {
        let status = match outcome {
            Outcome::Done => TopicEventResponseStatus::Success,
            Outcome::Retry => TopicEventResponseStatus::Retry,
            Outcome::Drop => TopicEventResponseStatus::Drop,
        };
        Self { status: status.into() }
    }
}

impl From<proto::TopicEventRequest> for Event {
    fn from(event: proto::TopicEventRequest) -> Self {
        Self {
            id: event.id,
            source: event.source,
            r#type: event.r#type,
            topic: event.topic,
            pubsub: event.pubsub_name,
            content_type: event.data_content_type,
            data: event.data,
            metadata: event.metadata,
        }
    }
}
