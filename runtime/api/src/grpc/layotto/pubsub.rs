//! Events in the Layotto dialect: publishing, and subscribing over a stream.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use outrigger_blocks::{Answer, Error, Events, Incoming, Publication};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::subscribe_topic_events_request::SubscribeTopicEventsRequestType as Said;
use outrigger_proto::layotto::subscribe_topic_events_response::SubscribeTopicEventsResponseType as Told;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};

use super::{RuntimeService, pubsub_error};
use crate::app::{answer, event};

/// The events of one stream.
pub(crate) type EventStream = BoxStream<'static, Result<proto::SubscribeTopicEventsResponse, Status>>;

/// How long a client may take to say what it subscribes to.
const FIRST: Duration = Duration::from_secs(10);
/// The name of the setting in a subscription's metadata.
const DEAD_LETTER_TOPIC: &str = "deadLetterTopic";

impl RuntimeService {
    pub(super) async fn event_publish(
        &self,
        request: Request<proto::PublishEventRequest>,
    ) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let proto::PublishEventRequest { pubsub_name, topic, data, data_content_type, metadata } =
            request.into_inner();
        let publication = Publication { data, content_type: data_content_type, metadata };
        self.blocks.pubsub.publish(&caller, &pubsub_name, &topic, &publication).await.map_err(pubsub_error)
    }

    pub(super) async fn event_subscribe(
        &self,
        request: Request<Streaming<proto::SubscribeTopicEventsRequest>>,
    ) -> Result<EventStream, Status> {
        let (metadata, _, mut requests) = request.into_parts();
        let caller = self.caller(&metadata)?;
        let initial = initial(&mut requests).await?;
        let proto::SubscribeTopicEventsRequestInitial { pubsub_name, topic, mut metadata, dead_letter_topic } =
            initial;
        if let Some(topic) = dead_letter_topic.filter(|topic| !topic.is_empty()) {
            metadata.insert(DEAD_LETTER_TOPIC.to_owned(), topic);
        }
        let events = self.blocks.pubsub.subscribe(&caller, &pubsub_name, &topic, &metadata).await;
        let events = events.map_err(pubsub_error)?;
        let session = Session { events, requests, open: Open::default(), settling: FuturesUnordered::new() };
        let confirmed = told(Told::InitialResponse(proto::SubscribeTopicEventsResponseInitial {}));
        let events = stream::unfold(Some(session), Session::step);
        Ok(stream::once(async { Ok(confirmed) }).chain(events).boxed())
    }
}

/// The first request must be the initial one.
async fn initial(
    requests: &mut Streaming<proto::SubscribeTopicEventsRequest>,
) -> Result<proto::SubscribeTopicEventsRequestInitial, Status> {
    let first = timeout(FIRST, requests.message()).await;
    let first = first
        .map_err(|_| Status::deadline_exceeded(format!("no initial_request came within {FIRST:?}")))??;
    match first.and_then(|request| request.subscribe_topic_events_request_type) {
        Some(Said::InitialRequest(initial)) => Ok(initial),
        Some(Said::EventProcessed(_)) => Err(invalid("the first request is not an initial_request")),
        None => Err(invalid("the stream has no initial_request")),
    }
}

fn invalid(message: &'static str) -> Status {
    pubsub_error(Error::invalid(message))
}

fn told(what: Told) -> proto::SubscribeTopicEventsResponse {
    proto::SubscribeTopicEventsResponse { subscribe_topic_events_response_type: Some(what) }
}

/// One stream: the subscription, what the client says, what it has not answered yet, and answers the broker has not
/// noted yet. Ends with the client's side; what is open then is delivered again.
struct Session {
    events: Events,
    requests: Streaming<proto::SubscribeTopicEventsRequest>,
    open: Open,
    /// Side by side, so that a broker can note many at once. No more than the subscription has under way.
    settling: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Session {
    /// The next thing to tell the client; the session is gone when it has ended.
    async fn step(
        session: Option<Self>,
    ) -> Option<(Result<proto::SubscribeTopicEventsResponse, Status>, Option<Self>)> {
        let mut session = session?;
        let next = session.next().await;
        if !matches!(next, Ok(Some(_))) {
            // What was answered is noted before the end.
            while session.settling.next().await.is_some() {}
        }
        match next {
            Ok(Some(incoming)) => {
                let message = told(Told::EventMessage(event(&incoming.event)));
                session.open.insert(incoming);
                Some((Ok(message), Some(session)))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }

    /// The next event, meanwhile settling what the client answers. `None` when the client has ended its side.
    async fn next(&mut self) -> Result<Option<Incoming>, Status> {
        loop {
            let may_settle = self.settling.len() < self.events.concurrency();
            tokio::select! {
                incoming = self.events.next() => return incoming.map(Some).map_err(pubsub_error),
                request = self.requests.message(), if may_settle => match request? {
                    None => return Ok(None),
                    Some(request) => self.hear(request)?,
                },
                Some(()) = self.settling.next() => {}
            }
        }
    }

    fn hear(&mut self, request: proto::SubscribeTopicEventsRequest) -> Result<(), Status> {
        match request.subscribe_topic_events_request_type {
            Some(Said::EventProcessed(processed)) => {
                // One that is not open was settled, or took too long and is somebody else's now.
                if let Some(incoming) = self.open.take(&processed.id) {
                    let answer = processed.status.map_or(Answer::Retry, answer);
                    self.settling.push(Box::pin(incoming.settle(answer)));
                }
                Ok(())
            }
            Some(Said::InitialRequest(_)) => {
                Err(invalid("a stream has one initial_request: open another stream for another topic"))
            }
            None => Err(invalid("a request without content")),
        }
    }
}

/// Events the client has not answered, by the id it knows. Publishers choose ids, so two events may share one.
#[derive(Default)]
struct Open {
    by_id: HashMap<String, VecDeque<Incoming>>,
    count: usize,
    /// How many make it worth looking for those that took too long.
    look_at: usize,
}

impl Open {
    fn insert(&mut self, incoming: Incoming) {
        if self.count > self.look_at {
            self.forget_late(Instant::now());
            self.look_at = self.count * 2;
        }
        let same_id = self.by_id.entry(incoming.event.id.clone()).or_default();
        // What comes again took too long before: the answer will be for this delivery.
        let before = same_id.len();
        same_id.retain(|open| !incoming.is_redelivery_of(open));
        self.count = self.count + 1 + same_id.len() - before;
        same_id.push_back(incoming);
    }

    fn take(&mut self, id: &str) -> Option<Incoming> {
        let same_id = self.by_id.get_mut(id)?;
        let incoming = same_id.pop_front();
        if same_id.is_empty() {
            self.by_id.remove(id);
        }
        self.count -= usize::from(incoming.is_some());
        incoming
    }

    /// Late ones are somebody else's by now, or came here again.
    fn forget_late(&mut self, now: Instant) {
        self.by_id.retain(|_, same_id| {
            same_id.retain(|incoming| incoming.until > now);
            !same_id.is_empty()
        });
        self.count = self.by_id.values().map(VecDeque::len).sum();
    }
}
