//! What is published is what arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use outrigger_component_api::{ErrorKind, Message};

use super::fixture::*;

pub async fn ping_succeeds(broker: Broker) {
    broker.ping().await.expect("the probe of a working broker");
}

pub async fn message_round_trips(broker: Broker) {
    let topic = unique_topic("round");
    let mut member = join(&broker, &topic, patient("g")).await;
    let metadata = BTreeMap::from([
        ("content-type".to_owned(), "text/plain".to_owned()),
        ("Größe".to_owned(), "a=b, \"c\"\n".to_owned()),
        ("empty".to_owned(), String::new()),
    ]);
    let payloads = [Bytes::new(), Bytes::from_static(b"plain"), (0..=255_u8).collect()];
    for data in payloads {
        for metadata in [BTreeMap::new(), metadata.clone()] {
            let sent = Message { data: data.clone(), metadata, ttl: None };
            broker.publish(&topic, sent.clone()).await.expect("published");
            let delivery = next(&mut member).await;
            assert_eq!(delivery.message.data, sent.data);
            assert_eq!(delivery.message.metadata, sent.metadata);
            assert_eq!(delivery.attempt, 1);
            ack(delivery).await;
        }
    }
}

pub async fn big_message_round_trips(broker: Broker) {
    let topic = unique_topic("big");
    let mut member = join(&broker, &topic, patient("g")).await;
    let data: Bytes = (0..2_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    broker.publish(&topic, Message::new(data.clone())).await.expect("published");
    let delivery = next(&mut member).await;
    assert!(delivery.message.data == data, "{} bytes came, and not the same", delivery.message.data.len());
    ack(delivery).await;
}

pub async fn odd_topics_do_not_collide_or_are_refused(broker: Broker) {
    let base = unique_topic("odd");
    let mut members = Vec::new();
    for end in ["", "a", "A", "a ", " a", "a/b", "a.b", "%", "_", "*", "a*", "{a}", "ä", "a\u{308}", "#", ">"]
    {
        let topic = format!("{base}{end}");
        // A group each, so that topics taken for one another show.
        match broker.subscribe(&topic, patient(&format!("g{}", members.len()))).await {
            Ok(member) => members.push((topic, member)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{topic}: {error}");
                refused(broker.publish(&topic, message("")).await, ErrorKind::InvalidArgument);
            }
        }
    }
    assert!(members.len() >= 2, "plain names are names");
    for (topic, _) in &members {
        publish(&broker, topic, topic).await;
    }
    for (topic, member) in &mut members {
        assert_eq!(take(member).await, *topic);
    }
    for (_, member) in &mut members {
        silent(member, Duration::from_millis(50)).await;
    }
}

pub async fn empty_names_and_no_credit_are_refused(broker: Broker) {
    let topic = unique_topic("empty");
    refused(broker.publish("", message("")).await, ErrorKind::InvalidArgument);
    refused(broker.subscribe("", patient("g")).await, ErrorKind::InvalidArgument);
    refused(broker.subscribe(&topic, patient("")).await, ErrorKind::InvalidArgument);
    refused(broker.subscribe(&topic, with_credit(0, patient("g"))).await, ErrorKind::InvalidArgument);
}

pub async fn messages_come_in_the_order_of_publishing(broker: Broker) {
    let topic = unique_topic("order");
    for credit in [1, 7, 64] {
        let mut member = join(&broker, &topic, with_credit(credit, patient("g"))).await;
        publish_all(&broker, &topic, 0..50).await;
        assert_eq!(take_all(&mut member, 50).await, numbers(0..50), "credit {credit}");
    }
}

pub async fn bulk_keeps_order_and_answers_for_each(broker: Broker) {
    let topic = unique_topic("bulk");
    let mut member = join(&broker, &topic, patient("g")).await;
    assert!(broker.publish_bulk(&topic, Vec::new()).await.expect("nothing to do").is_empty());
    let answers = broker.publish_bulk(&topic, (0..40).map(message).collect()).await.expect("published");
    assert_eq!(answers.len(), 40);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    publish(&broker, &topic, 40).await;
    assert_eq!(take_all(&mut member, 41).await, numbers(0..41));
    refused(
        broker.publish_bulk("", vec![message("")]).await.and_then(|mut each| each.remove(0)),
        ErrorKind::InvalidArgument,
    );
}

pub async fn expired_message_is_not_delivered(broker: Broker) {
    let topic = unique_topic("ttl");
    let living = |text: &str, ttl| Message { ttl: Some(ttl), ..message(text) };
    if !broker.capabilities().ttl {
        refused(broker.publish(&topic, living("", Duration::from_secs(60))).await, ErrorKind::Unsupported);
        return;
    }
    let group = || with_credit(1, patient("g"));
    drop(join(&broker, &topic, group()).await);
    for (text, millis) in [("none", 0), ("short", 1000), ("long", 60_000)] {
        broker.publish(&topic, living(text, Duration::from_millis(millis))).await.expect("published");
    }
    publish(&broker, &topic, "forever").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut member = join(&broker, &topic, group()).await;
    assert_eq!(take_all(&mut member, 2).await, ["long", "forever"]);
    silent(&mut member, QUIET).await;

    if !broker.capabilities().pauses {
        return;
    }
    // One that expires while it waits for a retry is not delivered again either.
    broker.publish(&topic, living("short", Duration::from_secs(3))).await.expect("published");
    next(&mut member).await.retry(Duration::from_millis(3200)).await.expect("settled");
    silent(&mut member, Duration::from_secs(4)).await;
}
