//! Calls to the application: what it implements of the Layotto dialect, seen by the blocks. Beside it, what takes the
//! events of input bindings.

mod dapr;
mod http;
mod posted;

use std::error::Error as StdError;
use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Body as HttpBody;
use outrigger_blocks::{Answer, AppEvents, Deadline, Error, ErrorKind, Event, Topic};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::app_callback_client::AppCallbackClient;
use outrigger_proto::layotto::topic_event_response::TopicEventResponseStatus;
use outrigger_telemetry::trace::TraceContext;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError as BoxedError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, async_trait};

pub use self::dapr::DaprCallback;
pub use self::http::HttpApp;

/// The most an answer of the application may weigh.
const ANSWER: usize = 4 << 20;

/// Why a call never got to the application. Whoever carries calls says so with this error.
#[derive(Debug)]
pub struct Unreached(pub String);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the application was not reached: {}", self.0)
    }
}

impl StdError for Unreached {}

const LATE: &str = "the application did not answer in time";

/// Says when the application may have gone.
pub type Gone = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The application, over a service that carries gRPC calls to it.
pub struct AppCallback<S> {
    client: AppCallbackClient<S>,
    gone: Gone,
}

impl<S> AppCallback<S>
where
    S: GrpcService<Body>,
    S::Error: Into<BoxedError>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<BoxedError> + Send,
{
    pub fn new(service: S, gone: Gone) -> Self {
        Self { client: AppCallbackClient::new(service).max_decoding_message_size(ANSWER), gone }
    }
}

#[async_trait]
impl<S> AppEvents for AppCallback<S>
where
    S: GrpcService<Body> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxedError>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<BoxedError> + Send,
{
    async fn topics(&self, deadline: Deadline) -> Result<Vec<Topic>, Error> {
        let request = limited(Request::new(()), deadline);
        let mut client = self.client.clone();
        let answer = within(deadline, client.list_topic_subscriptions(request)).await;
        match answer {
            Ok(answer) => Ok(said(answer.into_inner().subscriptions.into_iter().map(topic).collect())),
            // It has no subscriptions to speak of, or does not take callbacks at all.
            Err(status) if status.code() == Code::Unimplemented => Ok(said(Vec::new())),
            Err(status) => Err(failed(&status)),
        }
    }

    async fn deliver(
        &self,
        _: &Topic,
        delivered: &Event,
        _: u32,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let mut request = limited(Request::new(event(delivered)), deadline);
        put_trace(&mut request, delivered.trace.as_ref());
        let mut client = self.client.clone();
        match within(deadline, client.on_topic_event(request)).await {
            Ok(response) => Ok(answer(response.into_inner())),
            Err(status) if status.code() == Code::Unimplemented => Ok(Answer::Drop),
            Err(status) => Err(failed(&status)),
        }
    }

    async fn gone(&self) {
        (self.gone)().await;
    }
}

fn said(topics: Vec<Topic>) -> Vec<Topic> {
    tracing::info!(topics = topics.len(), "the application said what it subscribes to");
    topics
}

fn topic(subscription: proto::TopicSubscription) -> Topic {
    let proto::TopicSubscription { pubsub_name, topic, metadata } = subscription;
    Topic { pubsub: pubsub_name, topic, route: None, metadata }
}

/// An event as this dialect writes it.
pub(crate) fn event(event: &Event) -> proto::TopicEventRequest {
    proto::TopicEventRequest {
        id: event.id.clone(),
        source: event.source.clone(),
        r#type: event.r#type.clone(),
        spec_version: event.spec_version.clone(),
        data_content_type: event.content_type.clone(),
        topic: event.topic.clone(),
        data: event.data.clone(),
        pubsub_name: event.pubsub.clone(),
        metadata: event.metadata.clone(),
    }
}

/// What the application says; a word of a later version is a retry.
pub(crate) fn answer(response: proto::TopicEventResponse) -> Answer {
    match TopicEventResponseStatus::try_from(response.status) {
        Ok(TopicEventResponseStatus::Success) => Answer::Success,
        Ok(TopicEventResponseStatus::Drop) => Answer::Drop,
        Ok(TopicEventResponseStatus::Retry) | Err(_) => Answer::Retry,
    }
}

fn limited<T>(mut request: Request<T>, deadline: Deadline) -> Request<T> {
    if let Some(remaining) = deadline.remaining(Instant::now()) {
        request.set_timeout(remaining);
    }
    request
}

/// What the application does stands below this in the trace.
fn put_trace<T>(request: &mut Request<T>, trace: Option<&TraceContext>) {
    let Some(trace) = trace.map(TraceContext::child) else { return };
    put(request, "traceparent", &trace.to_header());
    put(request, "tracestate", trace.state.as_deref().unwrap_or_default());
}

fn put<T>(request: &mut Request<T>, name: &'static str, value: &str) {
    if let (false, Ok(value)) = (value.is_empty(), MetadataValue::try_from(value)) {
        request.metadata_mut().insert(name, value);
    }
}

/// The application is told the deadline; it is not trusted to keep it.
async fn within<T>(deadline: Deadline, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match in_time(deadline, call).await {
        Some(answer) => answer,
        None => Err(Status::deadline_exceeded(LATE)),
    }
}

/// `None` when the deadline has passed.
async fn in_time<T>(deadline: Deadline, call: impl Future<Output = T>) -> Option<T> {
    match deadline.instant() {
        None => Some(call.await),
        Some(instant) => tokio::time::timeout_at(instant.into(), call).await.ok(),
    }
}

fn failed(status: &Status) -> Error {
    if let Some(unreached) = status.source().and_then(|source| source.downcast_ref::<Unreached>()) {
        return Error::unavailable(unreached.to_string());
    }
    let kind = if status.code() == Code::DeadlineExceeded { ErrorKind::Timeout } else { ErrorKind::Internal };
    let message = format!("the application answered {:?}: {}", status.code(), status.message());
    Error::new(kind, message)
}
