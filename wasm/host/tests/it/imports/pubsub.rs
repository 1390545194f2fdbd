//! Publishing.

use outrigger_blocks::{Caller, ErrorKind};
use serde_json::json;

use super::house::{House, refused};
use super::probe::{Cell, call};
use crate::rig::within;

fn publish(component: &str, topic: &str) -> super::probe::Call {
    let metadata: &[&[Cell]] = &[&[Cell::Text("cloudevent.source"), Cell::Text("till")]];
    let call = call("outrigger:functions/pubsub@0.1.0", "publish").text(component).text(topic);
    call.text(r#"{"n":7}"#).text("application/json").list(metadata)
}

#[tokio::test]
async fn an_event_goes_to_whom_it_is_for() {
    let house = House::new();
    let subscriber = Caller::new("mail");
    let metadata = std::collections::BTreeMap::new();
    let subscribed = house.blocks.pubsub.subscribe(&subscriber, "main", "orders", &metadata).await;
    let calls = [publish("main", "orders"), publish("main", "payments"), publish("other", "orders")];
    let told = house.told(json!({ "pubsub": ["main/orders", "other"] }), &calls).await;
    told.result(0, 4).unwrap();
    refused(told.result(1, 4), ErrorKind::PermissionDenied, "grants.pubsub does not name 'main/payments'");
    refused(told.result(2, 4), ErrorKind::NotConfigured, "'other'");
    let incoming = within(subscribed.unwrap().next()).await.unwrap();
    let event = &incoming.event;
    assert_eq!((&*event.data, event.source.as_str()), (&br#"{"n":7}"#[..], "till"));
}
