//! Events through the whole program: published over gRPC, delivered to an application that is called back or that
//! subscribes over a stream.

mod app;
mod http;
#[cfg(feature = "redis")]
mod killed;
mod ledger;
mod loss;
mod shared;

use std::{collections::BTreeMap, time::Duration};

use outrigger_proto::layotto as proto;
use outrigger_sdk::{Client, Event, Options, Outcome, Subscription};
use tokio::runtime::Runtime;

use crate::program::{Folder, PATIENCE, Program};
use app::AppProcess;
use ledger::Ledger;

const MEMORY: &str = "events: { type: pubsub.in-memory, settings: { redeliverInterval: 20ms } }";

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn client(program: &Program) -> Client {
    let options = Options { endpoint: program.api().to_string(), ..Options::default() };
    Client::connect_with(options).await.unwrap()
}

/// A configuration with an application on this port.
fn with_app(port: u16, components: &str) -> String {
    format!("app: {{ id: shop, port: {port}, protocol: grpc }}\ncomponents:\n  {components}\n")
}

fn without_app(components: &str) -> String {
    format!("app: {{ id: shop }}\ncomponents:\n  {components}\n")
}

async fn next(subscription: &mut Subscription) -> Event {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an event in time");
    next.unwrap().expect("the subscription goes on")
}

/// Publishes numbers until told how many are enough; what was acknowledged goes into the ledger.
async fn publish(client: &Client, range: std::ops::Range<usize>, ledger: &Ledger) {
    let events = client.pubsub("events");
    for number in range {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Err(error) = events.publish("orders", number.to_string(), "text/plain").await {
            assert!(tokio::time::Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ledger.published(number);
    }
}

#[test]
fn an_application_is_called_back_with_the_event_as_it_was_published() {
    let app = AppProcess::new();
    let folder = Folder::with(&with_app(app.port(), MEMORY));
    let mut program = folder.run();
    let _running = app.start();
    program.wait_for("the application is subscribed");
    runtime().block_on(async {
        let client = client(&program).await;
        client.pubsub("events").publish("orders", "{\"a\":1}", "application/json").await.unwrap();
    });
    let event = app.wait_for(1).remove(0);
    assert!(
        event.starts_with("events orders application/json 1.0 runtime com.runtime.event.sent {\"a\":1}"),
        "{event}"
    );
}

#[test]
fn an_application_that_comes_late_gets_what_was_published_before() {
    let app = AppProcess::new();
    let folder = Folder::with(&with_app(app.port(), MEMORY));
    let mut program = folder.run();
    program.wait_for("asking again until it does");
    let ledger = Ledger::default();
    runtime().block_on(async { publish(&client(&program).await, 0..20, &ledger).await });
    let _running = app.start();
    ledger.wait_until_complete(&app);
}

#[test]
fn an_application_that_restarts_is_asked_again() {
    let app = AppProcess::new();
    let folder = Folder::with(&with_app(app.port(), MEMORY));
    let mut program = folder.run();
    let mut running = app.start();
    program.wait_for("the application is subscribed");
    running.kill();
    let other = app.wanting("refunds");
    let _running = other.start();
    program.wait_for_next("topic=\"refunds\"");
    runtime().block_on(async {
        client(&program).await.pubsub("events").publish("refunds", "back", "text/plain").await.unwrap();
    });
    other.wait_for_text(" refunds ");
}

#[test]
fn topics_of_the_configuration_reach_the_application_too() {
    let app = AppProcess::new();
    let config = with_app(app.port(), MEMORY);
    let folder = Folder::with(&format!(
        "{config}subscriptions:\n  extra: {{ pubsub: events, topic: extra, raw: true, metadata: {{ maxRetries: '1' }}, \
         dead_letter_topic: dead }}\n"
    ));
    let mut program = folder.run();
    let _running = app.start();
    program.wait_for("topic=\"extra\"");
    runtime().block_on(async {
        let client = client(&program).await;
        let mut dead = client.pubsub("events").subscribe("dead").await.unwrap();
        let events = client.pubsub("events");
        let raw = BTreeMap::from([("rawPayload".to_owned(), "true".to_owned())]);
        events.publish_with("extra", "bytes", "text/plain", raw.clone()).await.unwrap();
        events.publish_with("extra", "retry", "text/plain", raw).await.unwrap();
        let event = next(&mut dead).await;
        assert_eq!(event.metadata["deadLetterReason"], "retries exhausted");
        assert_eq!(
            (event.metadata["deadLetterAttempts"].as_str(), event.data.as_ref()),
            ("2", &b"retry"[..])
        );
    });
    let event = app.wait_for_text("bytes");
    assert!(event.starts_with("events extra application/octet-stream"), "{event}");
}

#[test]
fn subscriptions_that_lead_nowhere_are_refused_with_their_place() {
    let refused = |config: &str, expected: &[&str]| {
        let folder =
            Folder::with(&format!("components: {{ events: {{ type: pubsub.in-memory }} }}\n{config}"));
        let mut program = folder.start(&[]);
        assert!(!program.end().success());
        let log = program.log.join("\n");
        for expected in expected {
            assert!(log.contains(expected), "{expected} is not in\n{log}");
        }
    };
    refused(
        "subscriptions:\n  a: { pubsub: evens, topic: '' }\n",
        &[
            "subscriptions.a: events are given to the application: set app.port",
            "there is no pub/sub component named 'evens' (did you mean `events`?)",
            "the topic is empty",
        ],
    );
    refused(
        "app: { port: 1 }\nsubscriptions:\n  a: { pubsub: events, topic: t }\n  \
         b: { pubsub: events, topic: t, route: orders }\n  c: { pubsub: events, topic: u, route: '/a b' }\n",
        &[
            "subscriptions.a: an application that speaks HTTP is given events at a path",
            "subscriptions.b.route: 'orders' is no path",
            "subscriptions.b.topic: subscriptions.a has this topic already",
            "subscriptions.c.route: '/a b' is no path",
        ],
    );
    refused(
        "app: { port: 1, protocol: grpc }\nsubscriptions:\n  a: { pubsub: events, topic: t, route: /orders }\n",
        &["subscriptions.a.route: an application that speaks gRPC is called"],
    );
}

#[test]
fn a_stream_gets_events_and_settles_them() {
    let folder = Folder::with(&format!("app: {{ id: shop }}\ncomponents:\n  {MEMORY}\n"));
    let program = folder.run();
    runtime().block_on(async {
        let client = client(&program).await;
        let events = client.pubsub("events");
        let mut one = events.subscribe_with("orders", Some("dead".to_owned())).await.unwrap();
        let mut dead = events.subscribe("dead").await.unwrap();
        for text in ["done", "again", "never"] {
            events.publish("orders", text, "text/plain").await.unwrap();
        }
        let mut seen = BTreeMap::<String, usize>::new();
        while seen.get("again").copied() != Some(2) || !seen.contains_key("never") {
            let event = next(&mut one).await;
            let text = String::from_utf8(event.data.to_vec()).unwrap();
            let count = seen.entry(text.clone()).or_default();
            *count += 1;
            let outcome = match (text.as_str(), *count) {
                ("again", 1) => Outcome::Retry,
                ("never", _) => Outcome::Drop,
                _ => Outcome::Done,
            };
            one.settle(&event, outcome).await.unwrap();
        }
        let buried = next(&mut dead).await;
        assert_eq!(buried.data.as_ref(), b"never");
        assert_eq!(buried.metadata["deadLetterReason"], "dropped by the subscriber");
        assert_eq!(buried.metadata["deadLetterTopic"], "orders");
        dead.settle(&buried, Outcome::Done).await.unwrap();
        assert_eq!(seen, BTreeMap::from([("done".into(), 1), ("again".into(), 2), ("never".into(), 1)]));

        // Streams of one application share its group; one that ends gives back what it has.
        let mut two = events.subscribe("orders").await.unwrap();
        for number in 0..10 {
            events.publish("orders", number.to_string(), "text/plain").await.unwrap();
        }
        let first = next(&mut one).await;
        drop(one);
        let mut numbers = vec![];
        while numbers.len() < 10 {
            let event = next(&mut two).await;
            numbers.push(String::from_utf8(event.data.to_vec()).unwrap());
            two.settle(&event, Outcome::Done).await.unwrap();
        }
        assert!(numbers.contains(&String::from_utf8(first.data.to_vec()).unwrap()));
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), 10);
    });
}

#[test]
fn wrong_requests_get_the_documented_codes() {
    let folder = Folder::with(&format!("app: {{ id: shop }}\ncomponents:\n  {MEMORY}\n"));
    let program = folder.run();
    crate::layotto::run(&program, async |c| {
        use tonic::Code::InvalidArgument;
        let publish = |pubsub: &str, topic: &str| proto::PublishEventRequest {
            pubsub_name: pubsub.into(),
            topic: topic.into(),
            ..Default::default()
        };
        for (pubsub, topic, said) in [
            ("", "orders", "pubsub_name is empty"),
            ("evens", "orders", "did you mean 'events'?"),
            ("events", "", "topic is empty"),
        ] {
            crate::layotto::refused(
                c.runtime.publish_event(publish(pubsub, topic)).await,
                InvalidArgument,
                said,
            );
            let initial = proto::SubscribeTopicEventsRequestInitial {
                pubsub_name: pubsub.into(),
                topic: topic.into(),
                ..Default::default()
            };
            let said_first = said_first(said_initial(initial));
            crate::layotto::refused(
                c.runtime.subscribe_topic_events(said_first).await,
                InvalidArgument,
                said,
            );
        }
        let processed = proto::SubscribeTopicEventsRequestProcessed::default();
        let kind =
            proto::subscribe_topic_events_request::SubscribeTopicEventsRequestType::EventProcessed(processed);
        let first = proto::SubscribeTopicEventsRequest { subscribe_topic_events_request_type: Some(kind) };
        let answer = c.runtime.subscribe_topic_events(said_first(first)).await;
        crate::layotto::refused(answer, InvalidArgument, "the first request is not an initial_request");
        let nothing = tokio_stream::empty::<proto::SubscribeTopicEventsRequest>();
        let answer = c.runtime.subscribe_topic_events(nothing).await;
        crate::layotto::refused(answer, InvalidArgument, "no initial_request");
    });
}

fn said_initial(initial: proto::SubscribeTopicEventsRequestInitial) -> proto::SubscribeTopicEventsRequest {
    let kind =
        proto::subscribe_topic_events_request::SubscribeTopicEventsRequestType::InitialRequest(initial);
    proto::SubscribeTopicEventsRequest { subscribe_topic_events_request_type: Some(kind) }
}

fn said_first(
    request: proto::SubscribeTopicEventsRequest,
) -> impl futures_util::Stream<Item = proto::SubscribeTopicEventsRequest> + Send + 'static {
    use tokio_stream::StreamExt as _;
    tokio_stream::once(request).chain(tokio_stream::pending())
}
