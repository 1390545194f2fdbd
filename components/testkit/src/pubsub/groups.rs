//! Who gets what.

use std::collections::BTreeSet;

use outrigger_component_api::ErrorKind;

use super::fixture::*;

pub async fn every_group_gets_every_message(broker: Broker) {
    let topic = unique_topic("groups");
    let mut members = Vec::new();
    for group in ["one", "two", "three"] {
        members.push(join(&broker, &topic, patient(group)).await);
    }
    publish_all(&broker, &topic, 0..10).await;
    for member in &mut members {
        assert_eq!(take_all(member, 10).await, numbers(0..10));
    }
}

pub async fn members_of_a_group_share_its_messages(broker: Broker) {
    let topic = unique_topic("share");
    let mut one = join(&broker, &topic, with_credit(1, patient("g"))).await;
    let mut two = join(&broker, &topic, with_credit(1, patient("g"))).await;
    publish_all(&broker, &topic, 0..20).await;
    // As long as one has a message and no credit left, the other gets the next.
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        for delivery in [next(&mut one).await, next(&mut two).await] {
            assert_eq!(delivery.attempt, 1);
            assert!(seen.insert(text(&delivery)), "{} was given to both", text(&delivery));
            ack(delivery).await;
        }
    }
    silent(&mut one, QUIET).await;
    silent(&mut two, QUIET).await;
}

pub async fn new_group_starts_at_the_earliest_kept_message(broker: Broker) {
    let topic = unique_topic("earliest");
    publish_all(&broker, &topic, 0..3).await;
    let mut member = join(&broker, &topic, patient("g")).await;
    publish(&broker, &topic, 3).await;
    let from = if broker.capabilities().replay { 0 } else { 3 };
    assert_eq!(take_all(&mut member, 4 - from).await, numbers(from..4));
    silent(&mut member, QUIET).await;
}

pub async fn new_group_starts_with_the_next_message(broker: Broker) {
    let topic = unique_topic("latest");
    publish_all(&broker, &topic, 0..3).await;
    if !broker.capabilities().latest {
        refused(broker.subscribe(&topic, latest("g")).await, ErrorKind::Unsupported);
        return;
    }
    let mut member = join(&broker, &topic, latest("g")).await;
    silent(&mut member, QUIET).await;
    publish(&broker, &topic, 3).await;
    assert_eq!(take(&mut member).await, "3");
}

pub async fn group_without_members_keeps_its_place(broker: Broker) {
    let topic = unique_topic("place");
    // Wherever a new group would begin, this one goes on where it stood.
    let options = || if broker.capabilities().latest { latest("g") } else { patient("g") };
    let mut member = join(&broker, &topic, options()).await;
    publish_all(&broker, &topic, 0..3).await;
    assert_eq!(take_all(&mut member, 3).await, numbers(0..3));
    drop(member);
    publish_all(&broker, &topic, 3..6).await;
    let mut member = join(&broker, &topic, options()).await;
    publish(&broker, &topic, 6).await;
    assert_eq!(take_all(&mut member, 4).await, numbers(3..7));
    silent(&mut member, QUIET).await;
}

pub async fn member_that_leaves_passes_its_messages_on(broker: Broker) {
    let topic = unique_topic("leaves");
    let mut one = join(&broker, &topic, lasting(LEISURE, "g")).await;
    publish_all(&broker, &topic, 0..4).await;
    let held = [next(&mut one).await, next(&mut one).await];
    drop(one);
    let mut two = join(&broker, &topic, lasting(LEISURE, "g")).await;
    let texts: BTreeSet<_> = take_all(&mut two, 4).await.into_iter().collect();
    assert_eq!(texts, numbers(0..4).into_iter().collect(), "what was held or fetched ahead included");
    drop(held);
    silent(&mut two, QUIET).await;
}

pub async fn leaving_stops_one_member_only(broker: Broker) {
    let topic = unique_topic("stays");
    let one = join(&broker, &topic, patient("g")).await;
    let mut two = join(&broker, &topic, patient("g")).await;
    let mut other = join(&broker, &topic, patient("other")).await;
    drop(one);
    publish_all(&broker, &topic, 0..10).await;
    assert_eq!(take_all(&mut two, 10).await, numbers(0..10));
    assert_eq!(take_all(&mut other, 10).await, numbers(0..10));
}
