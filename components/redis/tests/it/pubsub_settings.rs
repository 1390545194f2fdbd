//! The settings of the broker do what they say.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Backend as _, BuildContext, Delivery, Message, PubSub, SubscribeOptions, Subscription, parse_settings,
};
use outrigger_redis::RedisPubSubBackend;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::Server;

/// Within this, what must happen has happened.
const SOON: Duration = Duration::from_secs(20);
/// Nothing may happen for this long.
const QUIET: Duration = Duration::from_secs(1);

/// The component with these settings, on this server.
async fn with(server: &Server, mut settings: Value) -> Arc<dyn PubSub> {
    settings["redisHost"] = server.host().into();
    let settings = settings.as_object().cloned().expect("an object");
    let config = parse_settings(settings).expect("valid");
    RedisPubSubBackend::build(config, &BuildContext::default()).await.expect("built")
}

async fn publish(broker: &Arc<dyn PubSub>, count: usize) {
    let messages = (0..count).map(|number| Message::new(number.to_string())).collect();
    let answers = broker.publish_bulk("topic", messages).await.expect("published");
    assert!(answers.iter().all(Result::is_ok));
}

async fn join(broker: &Arc<dyn PubSub>) -> Box<dyn Subscription> {
    broker.subscribe("topic", SubscribeOptions::new("group")).await.expect("subscribed")
}

async fn next(member: &mut Box<dyn Subscription>) -> Option<Delivery> {
    timeout(SOON, member.next()).await.ok().map(|delivery| delivery.expect("delivered"))
}

#[tokio::test]
async fn the_group_can_be_named() {
    let Some(server) = Server::start(&[]) else { return };
    let _member = join(&with(&server, json!({"consumerID": "theirs"})).await).await;
    let groups = server.ask("XINFO GROUPS topic");
    assert!(groups.contains("theirs") && !groups.contains("group\r\n"), "{groups}");
}

#[tokio::test]
async fn the_processing_timeout_overrides_what_is_asked() {
    let Some(server) = Server::start(&[]) else { return };
    for (settings, comes) in [(json!({"processingTimeout": "300ms"}), true), (json!({}), false)] {
        server.ask("DEL topic");
        let broker = with(&server, settings).await;
        publish(&broker, 1).await;
        let (mut one, mut two) = (join(&broker).await, join(&broker).await);
        let held = next(&mut one).await.expect("the message");
        let again = timeout(if comes { SOON } else { QUIET }, two.next()).await;
        assert_eq!(again.is_ok(), comes, "{held:?}");
    }
}

/// Somebody else's message becomes old all of a sudden, when nobody expects it.
#[tokio::test]
async fn the_redeliver_interval_bounds_the_pause_between_looks() {
    let Some(server) = Server::start(&[]) else { return };
    for (settings, comes) in [(json!({"redeliverInterval": "200ms"}), true), (json!({}), false)] {
        server.ask("DEL topic");
        let broker = with(&server, settings).await;
        let mut member = join(&broker).await;
        publish(&broker, 1).await;
        server.ask("XREADGROUP GROUP group other STREAMS topic >");
        assert!(timeout(Duration::from_millis(300), member.next()).await.is_err(), "it is the other's");
        let stream = server.ask("XPENDING topic group - + 1");
        let id = stream.lines().nth(3).expect("the message's id");
        server.ask(&format!("XCLAIM topic group other 0 {id} IDLE 3600000 JUSTID"));
        let delivery = timeout(if comes { SOON } else { QUIET }, member.next()).await;
        assert_eq!(delivery.is_ok(), comes);
    }
}

#[tokio::test]
async fn the_queue_depth_bounds_what_is_fetched_at_once() {
    let Some(server) = Server::start(&[]) else { return };
    for (settings, fetched) in [(json!({"queueDepth": 3}), 3), (json!({}), 10)] {
        server.ask("DEL topic");
        let broker = with(&server, settings).await;
        let mut member = join(&broker).await;
        publish(&broker, 10).await;
        let _held = next(&mut member).await.expect("the first");
        let pending = server.ask("XPENDING topic group");
        assert!(pending.starts_with(&format!("*4\r\n:{fetched}\r\n")), "{pending}");
    }
}

#[tokio::test]
async fn the_concurrency_bounds_what_is_in_hand() {
    let Some(server) = Server::start(&[]) else { return };
    let broker = with(&server, json!({"concurrency": "2"})).await;
    let mut member = join(&broker).await;
    publish(&broker, 10).await;
    let held = [next(&mut member).await, next(&mut member).await];
    assert!(held.iter().all(Option::is_some));
    assert!(timeout(QUIET, member.next()).await.is_err(), "two are in hand");
    drop(held);
    assert!(next(&mut member).await.is_some());
}

#[tokio::test]
async fn the_length_is_kept_about_as_asked() {
    let Some(server) = Server::start(&[]) else { return };
    for (settings, trimmed) in [(json!({"maxLenApprox": 100}), true), (json!({}), false)] {
        server.ask("DEL topic");
        publish(&with(&server, settings).await, 1000).await;
        let length = server.ask("XLEN topic");
        let length: usize = length.trim_start_matches(':').trim().parse().expect("a number");
        assert_eq!((100..=300).contains(&length), trimmed, "{length}");
    }
}
