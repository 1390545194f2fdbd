//! The pub/sub block over the memory backend: what becomes of events.

use std::time::Duration;

use outrigger_component_api::{ComponentSpec, ErrorKind};
use outrigger_memory::{MemoryPubSub, MemoryPubSubConfig};
use outrigger_telemetry::Metrics;
use outrigger_telemetry::trace::TraceContext;
use tokio::time::timeout;

use super::*;
use crate::guard::{Meter, Policy};
use crate::stores::Member as _;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(100);

struct Fixture {
    pubsub: PubSub,
    metrics: Metrics,
    memory: Arc<dyn Broker>,
}

/// A broker `events` with these settings over a new backend.
fn fixture(settings: &[(&str, &str)]) -> Fixture {
    let metrics = Metrics::new();
    let memory: Arc<dyn Broker> = Arc::new(MemoryPubSub::new(MemoryPubSubConfig::default()).unwrap());
    let pubsub = PubSub::default();
    pubsub.brokers.replace([component(settings, &metrics, &memory)]);
    Fixture { pubsub, metrics, memory }
}

fn component(settings: &[(&str, &str)], metrics: &Metrics, memory: &Arc<dyn Broker>) -> Arc<BrokerComponent> {
    let mut spec = ComponentSpec { name: "events".to_owned(), ..ComponentSpec::default() };
    for (name, value) in settings {
        spec.settings.insert((*name).to_owned(), (*value).into());
    }
    let component = BrokerComponent::from_spec(&mut spec, Policy::default(), &Meter::new(metrics)).unwrap();
    assert!(spec.settings.is_empty(), "left for the backend: {:?}", spec.settings);
    component.slot().ready(Arc::clone(memory));
    Arc::new(component)
}

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Fixture {
    async fn publish(&self, topic: &str, data: &'static str, pairs: &[(&str, &str)]) {
        let publication =
            Publication { data: data.into(), content_type: "text/plain".into(), metadata: metadata(pairs) };
        self.pubsub.publish(&Caller::new("shop"), "events", topic, &publication).await.unwrap();
    }

    async fn subscribe(&self, topic: &str, pairs: &[(&str, &str)]) -> Events {
        self.pubsub.subscribe(&Caller::new("shop"), "events", topic, &metadata(pairs)).await.unwrap()
    }

    /// The value of a series of the block.
    fn events(&self, outcome: &str) -> u64 {
        let series = format!("outrigger_pubsub_events_total{{component=\"events\",outcome=\"{outcome}\"}} ");
        let rendered = self.metrics.render();
        let line = rendered.lines().find(|line| line.starts_with(&series)).unwrap_or_default();
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default()
    }
}

async fn next(events: &mut Events) -> Incoming {
    timeout(SOON, events.next()).await.expect("an event in time").expect("the subscription goes on")
}

async fn silent(events: &mut Events) {
    let came = timeout(QUIET, events.next()).await;
    assert!(came.is_err(), "{:?} came", came.map(|event| event.map(|event| event.event)));
}

#[tokio::test]
async fn an_event_is_delivered_with_its_envelope_opened() {
    let f = fixture(&[]);
    let mut events = f.subscribe("orders", &[]).await;
    let trace = TraceContext::parse(TRACE);
    let caller = Caller { trace: trace.clone(), ..Caller::new("shop") };
    let publication = Publication {
        data: "{\"a\":1}".into(),
        content_type: "application/json".into(),
        metadata: metadata(&[("cloudevent.id", "order-7")]),
    };
    f.pubsub.publish(&caller, "events", "orders", &publication).await.unwrap();
    let incoming = next(&mut events).await;
    let event = &incoming.event;
    assert_eq!((event.id.as_str(), event.data.as_ref(), incoming.attempt), ("order-7", &b"{\"a\":1}"[..], 1));
    assert_eq!((event.pubsub.as_str(), event.topic.as_str()), ("events", "orders"));
    let carried = event.trace.as_ref().unwrap();
    assert_eq!(Some(carried.trace_id), trace.as_ref().map(|trace| trace.trace_id));
    assert_ne!(Some(carried.span_id), trace.map(|trace| trace.span_id), "a span of our own");
    incoming.settle(Answer::Success).await;
    silent(&mut events).await;
    assert_eq!((f.events("published"), f.events("delivered")), (1, 1));
}

#[tokio::test]
async fn raw_bytes_pass_through() {
    let f = fixture(&[]);
    let mut raw = f.subscribe("raw", &[("rawPayload", "true")]).await;
    f.publish("raw", "bytes", &[("rawPayload", "true")]).await;
    f.publish("raw", "enveloped", &[]).await;
    let first = next(&mut raw).await;
    assert_eq!(
        (first.event.data.as_ref(), first.event.content_type.as_str()),
        (&b"bytes"[..], "application/octet-stream")
    );
    first.settle(Answer::Success).await;
    let second = next(&mut raw).await;
    assert!(second.event.data.starts_with(b"{") && second.event.data.len() > b"enveloped".len());
    second.settle(Answer::Success).await;
}

#[tokio::test]
async fn what_others_put_into_a_topic_harms_nobody() {
    let f = fixture(&[]);
    let mut events = f.subscribe("foreign", &[]).await;
    for data in [
        &b"\xff\x00"[..],
        b"",
        b"{\"specversion\":1}",
        b"[[[[",
        b"{\"specversion\":\"1.0\",\"data_base64\":\"?\"}",
    ] {
        f.memory.publish("foreign", Message::new(data)).await.unwrap();
        let incoming = next(&mut events).await;
        assert_eq!(incoming.event.data, data);
        incoming.settle(Answer::Success).await;
    }
}

#[tokio::test]
async fn retries_are_counted_and_end_in_the_dead_letter_topic() {
    let f = fixture(&[("redeliverInterval", "1ms"), ("maxRetries", "2"), ("deadLetterTopic", "dead")]);
    let mut events = f.subscribe("orders", &[]).await;
    let mut dead = f.subscribe("dead", &[("deadLetterTopic", "")]).await;
    f.publish("orders", "poison", &[("shop", "x")]).await;
    for attempt in 1..=3 {
        let incoming = next(&mut events).await;
        assert_eq!(incoming.attempt, attempt);
        incoming.settle(Answer::Retry).await;
    }
    silent(&mut events).await;
    let buried = next(&mut dead).await;
    assert_eq!(buried.event.data, "poison");
    let expected = metadata(&[
        ("deadLetterAttempts", "3"),
        ("deadLetterReason", "retries exhausted"),
        ("deadLetterTopic", "orders"),
        ("shop", "x"),
    ]);
    assert_eq!(buried.event.metadata, expected);
    buried.settle(Answer::Success).await;
    assert_eq!((f.events("retried"), f.events("dead_lettered"), f.events("dropped")), (2, 1, 0));
}

#[tokio::test]
async fn an_event_that_never_reached_anybody_is_not_given_up_on() {
    let f = fixture(&[("redeliverInterval", "1ms"), ("maxRetries", "0")]);
    let mut events = f.subscribe("orders", &[]).await;
    f.publish("orders", "patient", &[]).await;
    for _ in 1..=5 {
        let incoming = next(&mut events).await;
        assert_eq!(incoming.attempt, 1);
        incoming.settle(Answer::Unreached).await;
    }
    next(&mut events).await.settle(Answer::Success).await;
    assert_eq!((f.events("returned"), f.events("retried")), (5, 0));
}

#[tokio::test]
async fn what_never_reached_anybody_does_not_use_up_the_retries() {
    let f = fixture(&[("redeliverInterval", "1ms"), ("maxRetries", "1")]);
    let mut events = f.subscribe("orders", &[]).await;
    f.publish("orders", "unlucky", &[]).await;
    for answer in [Answer::Unreached, Answer::Unreached, Answer::Retry, Answer::Unreached] {
        next(&mut events).await.settle(answer).await;
    }
    let last = next(&mut events).await;
    assert_eq!(last.attempt, 2);
    last.settle(Answer::Retry).await;
    silent(&mut events).await;
    assert_eq!((f.events("retried"), f.events("dropped")), (1, 1));
}

#[tokio::test]
async fn a_dropped_event_is_gone_or_dead_lettered() {
    let f = fixture(&[]);
    let mut plain = f.subscribe("plain", &[]).await;
    f.publish("plain", "one", &[]).await;
    next(&mut plain).await.settle(Answer::Drop).await;
    silent(&mut plain).await;
    let mut kept = f.subscribe("kept", &[("deadLetterTopic", "dead")]).await;
    let mut dead = f.subscribe("dead", &[]).await;
    f.publish("kept", "two", &[("ttlInSeconds", "60")]).await;
    next(&mut kept).await.settle(Answer::Drop).await;
    let buried = next(&mut dead).await;
    assert_eq!(
        buried.event.metadata.get("deadLetterReason").map(String::as_str),
        Some("dropped by the subscriber")
    );
    buried.settle(Answer::Success).await;
    assert_eq!((f.events("dropped"), f.events("dead_lettered")), (1, 1));
}

#[tokio::test]
async fn an_event_that_is_dropped_unsettled_comes_again() {
    let f = fixture(&[]);
    let mut events = f.subscribe("orders", &[]).await;
    f.publish("orders", "again", &[]).await;
    drop(next(&mut events).await);
    let incoming = next(&mut events).await;
    assert_eq!(incoming.attempt, 2);
    incoming.settle(Answer::Success).await;
    assert!(f.metrics.render().contains("outrigger_pubsub_in_flight{component=\"events\"} 0"));
}

#[tokio::test]
async fn expired_events_are_counted_and_not_delivered() {
    let f = fixture(&[]);
    let mut events = f.subscribe("orders", &[]).await;
    let past = r#"{"specversion":"1.0","id":"late","data":"x","expiration":"2001-01-01T00:00:00Z"}"#;
    f.memory.publish("orders", Message::new(past)).await.unwrap();
    f.publish("orders", "fresh", &[("ttlInSeconds", "60")]).await;
    let incoming = next(&mut events).await;
    assert_eq!(incoming.event.data, "fresh");
    incoming.settle(Answer::Success).await;
    assert_eq!(f.events("expired"), 1);
    // In a dead-letter topic it is kept for whoever looks into it.
    let buried = Message { metadata: metadata(&[("deadLetterReason", "x")]), ..Message::new(past) };
    f.memory.publish("orders", buried).await.unwrap();
    assert_eq!(next(&mut events).await.event.id, "late");
}

#[tokio::test]
async fn apps_are_groups_unless_a_consumer_id_says_otherwise() {
    let f = fixture(&[]);
    let one = f.pubsub.subscribe(&Caller::new("one"), "events", "t", &BTreeMap::new()).await.unwrap();
    let two = f.pubsub.subscribe(&Caller::new("two"), "events", "t", &BTreeMap::new()).await.unwrap();
    f.publish("t", "for both", &[]).await;
    for mut events in [one, two] {
        next(&mut events).await.settle(Answer::Success).await;
    }
    let shared = metadata(&[("consumerID", "shared")]);
    let mut one = f.pubsub.subscribe(&Caller::new("one"), "events", "u", &shared).await.unwrap();
    let mut two = f.pubsub.subscribe(&Caller::new("two"), "events", "u", &shared).await.unwrap();
    f.publish("u", "for one", &[]).await;
    let held = next(&mut one).await;
    silent(&mut two).await;
    held.settle(Answer::Success).await;
}

#[tokio::test]
async fn what_is_not_allowed_is_refused() {
    let f = fixture(&[("publishingScopes", "shop=a"), ("subscriptionScopes", "shop=b")]);
    let caller = Caller::new("shop");
    let kind = |result: Result<()>| result.unwrap_err().kind();
    let publication = Publication::default();
    let none = BTreeMap::new();
    assert_eq!(
        kind(f.pubsub.publish(&caller, "events", "b", &publication).await),
        ErrorKind::PermissionDenied
    );
    assert_eq!(
        kind(f.pubsub.subscribe(&caller, "events", "a", &none).await.map(drop)),
        ErrorKind::PermissionDenied
    );
    assert_eq!(kind(f.pubsub.publish(&caller, "evens", "a", &publication).await), ErrorKind::NotConfigured);
    assert_eq!(kind(f.pubsub.publish(&caller, "events", "", &publication).await), ErrorKind::InvalidArgument);
    for wrong in [
        ("deadLetterTopic", "b"),
        ("maxRetries", "many"),
        ("concurrency", "0"),
        ("processingTimeout", "300000years"),
    ] {
        let refused = f.pubsub.subscribe(&caller, "events", "b", &metadata(&[wrong])).await.map(drop);
        assert_eq!(kind(refused), ErrorKind::InvalidArgument, "{wrong:?}");
    }
    let wrong = Publication { metadata: metadata(&[("ttlInSeconds", "soon")]), ..Publication::default() };
    assert_eq!(kind(f.pubsub.publish(&caller, "events", "a", &wrong).await), ErrorKind::InvalidArgument);
    f.pubsub.publish(&caller, "events", "a", &publication).await.unwrap();
}

#[tokio::test]
async fn a_subscription_ends_when_its_broker_is_another() {
    let f = fixture(&[]);
    let mut events = f.subscribe("orders", &[]).await;
    let same = f.pubsub.brokers.all();
    f.pubsub.brokers.replace(same);
    silent(&mut events).await;
    f.pubsub.brokers.replace([component(&[], &f.metrics, &f.memory)]);
    let ended = timeout(SOON, events.next()).await.unwrap();
    assert_eq!(ended.map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    let mut events = f.subscribe("orders", &[]).await;
    f.pubsub.brokers.close();
    let ended = timeout(SOON, events.next()).await.unwrap();
    assert_eq!(ended.map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    // Nobody would end it.
    let late = f.pubsub.subscribe(&Caller::new("shop"), "events", "orders", &BTreeMap::new()).await;
    assert_eq!(late.map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    f.publish("orders", "to the end", &[]).await;
}
