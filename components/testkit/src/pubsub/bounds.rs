//! A broker that is full.

use outrigger_component_api::{ErrorKind, Message, Result};

use super::fixture::*;

/// More than a broker under these cases may hold.
pub const MOST: usize = 10_000;

/// Publishes until it is refused; how many were taken.
async fn fill(broker: &Broker, topic: &str) -> usize {
    for number in 0..MOST {
        if let Err(error) = broker.publish(topic, message(number)).await {
            assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
            assert!(error.is_retryable(), "there may be room a moment later");
            return number;
        }
    }
    panic!("{MOST} messages were taken: the broker grows without bound");
}

pub async fn full_broker_refuses_and_keeps_what_it_took(broker: Broker) {
    let topic = unique_topic("full");
    let mut member = join(&broker, &topic, patient("g")).await;
    let taken = fill(&broker, &topic).await;
    assert!(taken >= 10, "{taken}");
    refused(broker.publish(&topic, message("one more")).await, ErrorKind::RateLimited);
    let bulk: Vec<Message> = (0..3).map(message).collect();
    let refusals: Vec<Result<()>> = match broker.publish_bulk(&topic, bulk).await {
        Ok(each) => each,
        Err(error) => vec![Err(error)],
    };
    for refusal in refusals {
        refused(refusal, ErrorKind::RateLimited);
    }
    assert_eq!(take_all(&mut member, taken).await, numbers(0..taken), "everything that was acknowledged");
    silent(&mut member, QUIET).await;
}

pub async fn settling_makes_room_in_a_full_broker(broker: Broker) {
    let topic = unique_topic("room");
    let mut fast = join(&broker, &topic, patient("fast")).await;
    let mut slow = join(&broker, &topic, patient("slow")).await;
    let taken = fill(&broker, &topic).await;
    take_all(&mut fast, taken).await;
    refused(broker.publish(&topic, message("one more")).await, ErrorKind::RateLimited);
    take_all(&mut slow, taken / 2).await;
    // A little less than was freed: later numbers are longer.
    let more = taken..taken + taken / 4;
    publish_all(&broker, &topic, more.clone()).await;
    assert_eq!(take_all(&mut fast, more.len()).await, numbers(more.clone()));
    let rest = taken / 2..more.end;
    assert_eq!(take_all(&mut slow, rest.len()).await, numbers(rest));
}

pub async fn what_nobody_waits_for_makes_room(broker: Broker) {
    let [unheard, topic] = ["unheard", "heard"].map(unique_topic);
    publish_all(&broker, &unheard, 0..MOST).await;
    let mut member = join(&broker, &topic, patient("g")).await;
    publish_all(&broker, &topic, 0..10).await;
    assert_eq!(take_all(&mut member, 10).await, numbers(0..10));
}
