//! What becomes of a delivery.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use outrigger_component_api::Outcome;
use tokio::time::timeout;

use super::fixture::*;
use crate::patience;

/// Longer than the processing timeout of [`brief`] and what a broker needs to notice.
const AFTER_TIMEOUT: Duration = Duration::from_millis(4500);

pub async fn acknowledged_message_does_not_come_back(broker: Broker) {
    let topic = unique_topic("ack");
    let mut member = join(&broker, &topic, brief("g")).await;
    for number in 0..5 {
        publish(&broker, &topic, number).await;
        assert_eq!(take(&mut member).await, number.to_string());
    }
    silent(&mut member, AFTER_TIMEOUT).await;
    drop(member);
    let mut later = join(&broker, &topic, brief("g")).await;
    silent(&mut later, QUIET).await;
}

pub async fn given_up_message_does_not_come_back(broker: Broker) {
    let topic = unique_topic("drop");
    let mut member = join(&broker, &topic, brief("g")).await;
    let mut other = join(&broker, &topic, patient("other")).await;
    publish(&broker, &topic, 0).await;
    next(&mut member).await.settle(Outcome::Drop).await.expect("settled");
    publish(&broker, &topic, 1).await;
    assert_eq!(take(&mut member).await, "1");
    silent(&mut member, AFTER_TIMEOUT).await;
    assert_eq!(take_all(&mut other, 2).await, numbers(0..2), "one group's giving up is its own");
}

pub async fn retried_message_comes_back_after_the_pause(broker: Broker) {
    let topic = unique_topic("retry");
    let mut member = join(&broker, &topic, patient("g")).await;
    publish(&broker, &topic, "again").await;
    let mut delivery = next(&mut member).await;
    for (attempt, millis) in [(1, 0), (2, 500), (3, 1500)] {
        assert_delivery(&broker, &delivery, "again", attempt);
        let pause = Duration::from_millis(millis);
        let asked = Instant::now();
        delivery.retry(pause).await.expect("settled");
        delivery = next(&mut member).await;
        let waited = asked.elapsed();
        // Brokers count in milliseconds.
        assert!(
            waited + Duration::from_millis(5) >= pause || !broker.capabilities().pauses,
            "came back after {waited:?}, asked for {pause:?}"
        );
        assert!(waited < pause + patience() / 2, "came back after {waited:?}, asked for {pause:?}");
    }
    assert_delivery(&broker, &delivery, "again", 4);
    ack(delivery).await;
    silent(&mut member, QUIET).await;
}

pub async fn dropped_delivery_comes_back_at_once(broker: Broker) {
    let topic = unique_topic("abandoned");
    let mut member = join(&broker, &topic, with_credit(1, patient("g"))).await;
    publish(&broker, &topic, "here").await;
    for attempt in 1..=3 {
        let delivery = next(&mut member).await;
        assert_delivery(&broker, &delivery, "here", attempt);
    }
    assert_eq!(take(&mut member).await, "here");
}

pub async fn attempts_count_the_deliveries_of_a_group(broker: Broker) {
    let topic = unique_topic("attempts");
    let mut one = join(&broker, &topic, patient("one")).await;
    let mut two = join(&broker, &topic, patient("two")).await;
    publish_all(&broker, &topic, 0..2).await;
    let mut ids = Vec::new();
    for attempt in 1..=4 {
        let delivery = next(&mut one).await;
        assert_delivery(&broker, &delivery, "0", attempt);
        ids.push(delivery.id.clone());
        if attempt == 1 {
            // Taken now, so that only the first is redelivered from here on.
            let second = next(&mut one).await;
            assert_ne!(second.id, delivery.id, "each message has an id of its own");
            ack(second).await;
        }
        delivery.retry(Duration::ZERO).await.expect("settled");
    }
    let last = next(&mut one).await;
    ids.push(last.id.clone());
    ids.dedup();
    assert_eq!(ids.len(), 1, "the id stays the same at each delivery: {ids:?}");
    ack(last).await;
    for _ in 0..2 {
        let delivery = next(&mut two).await;
        assert_eq!(delivery.attempt, 1, "another group's deliveries are not counted");
        ack(delivery).await;
    }
}

pub async fn returned_message_comes_back_and_does_not_count(broker: Broker) {
    let topic = unique_topic("returned");
    let mut member = join(&broker, &topic, with_credit(1, patient("g"))).await;
    publish(&broker, &topic, "unheard").await;
    let mut delivery = next(&mut member).await;
    for millis in [0, 0, 700, 0] {
        assert_delivery(&broker, &delivery, "unheard", 1);
        let (pause, asked) = (Duration::from_millis(millis), Instant::now());
        delivery.settle(Outcome::Return { after: pause }).await.expect("settled");
        delivery = next(&mut member).await;
        let waited = asked.elapsed();
        assert!(
            waited + Duration::from_millis(5) >= pause || !broker.capabilities().pauses,
            "came back after {waited:?}, asked for {pause:?}"
        );
    }
    // Those that did reach somebody go on counting.
    delivery.retry(Duration::ZERO).await.expect("settled");
    let delivery = next(&mut member).await;
    assert_delivery(&broker, &delivery, "unheard", 2);
    delivery.settle(Outcome::Return { after: Duration::from_millis(10) }).await.expect("settled");
    let delivery = next(&mut member).await;
    assert_delivery(&broker, &delivery, "unheard", 2);
    ack(delivery).await;
    silent(&mut member, QUIET).await;
}

pub async fn what_was_fetched_ahead_does_not_count(broker: Broker) {
    let topic = unique_topic("ahead");
    let mut one = join(&broker, &topic, lasting(LEISURE, "g")).await;
    publish_all(&broker, &topic, 0..6).await;
    let held = [next(&mut one).await, next(&mut one).await];
    drop(one);
    let mut two = join(&broker, &topic, lasting(LEISURE, "g")).await;
    for _ in 0..6 {
        let delivery = next(&mut two).await;
        let text = text(&delivery);
        assert_delivery(&broker, &delivery, &text, if ["0", "1"].contains(&text.as_str()) { 2 } else { 1 });
        ack(delivery).await;
    }
    drop(held);
    silent(&mut two, QUIET).await;
}

pub async fn waiting_retries_do_not_hold_up_the_rest(broker: Broker) {
    if !broker.capabilities().pauses {
        return;
    }
    let topic = unique_topic("hold");
    let mut member = join(&broker, &topic, with_credit(8, patient("g"))).await;
    publish_all(&broker, &topic, 0..5).await;
    next(&mut member).await.retry(Duration::from_secs(3600)).await.expect("settled");
    assert_eq!(take_all(&mut member, 4).await, numbers(1..5));
}

/// Nobody else of the group has it earlier, also when the member that asked for the pause is gone.
pub async fn pause_longer_than_the_timeout_is_kept(broker: Broker) {
    if !broker.capabilities().pauses {
        return;
    }
    let [stays, leaves] = ["stays", "leaves"].map(|name| unique_topic(&format!("pause-{name}")));
    let pause = BRIEF * 2;
    let wait = async |topic: &str, leave: bool| {
        let mut one = join(&broker, topic, with_credit(1, brief("g"))).await;
        publish(&broker, topic, "later").await;
        let delivery = next(&mut one).await;
        let mut two = join(&broker, topic, with_credit(1, brief("g"))).await;
        let asked = Instant::now();
        delivery.retry(pause).await.expect("settled");
        let delivery = if leave {
            drop(one);
            next(&mut two).await
        } else {
            either(&mut one, &mut two).await
        };
        let waited = asked.elapsed();
        assert!(
            waited + Duration::from_millis(5) >= pause,
            "came back after {waited:?}, asked for {pause:?}"
        );
        assert_delivery(&broker, &delivery, "later", 2);
        ack(delivery).await;
    };
    futures_util::join!(wait(&stays, false), wait(&leaves, true));
}

pub async fn unsettled_message_goes_to_another_after_the_timeout(broker: Broker) {
    let topic = unique_topic("timeout");
    let mut one = join(&broker, &topic, with_credit(1, brief("g"))).await;
    let published = Instant::now();
    publish(&broker, &topic, "held").await;
    let held = next(&mut one).await;
    let mut two = join(&broker, &topic, with_credit(1, brief("g"))).await;
    let delivery = match broker.capabilities().pulled {
        true => next(&mut two).await,
        false => either(&mut one, &mut two).await,
    };
    let waited = published.elapsed();
    assert_delivery(&broker, &delivery, "held", 2);
    // The broker counts from when it gave it, in milliseconds.
    assert!(waited + Duration::from_millis(5) >= BRIEF, "taken away after {waited:?} already");
    // Neither answer of the one that was too late may undo the other's.
    drop(held.ack().await);
    drop(delivery.ack().await);
    futures_util::join!(silent(&mut one, AFTER_TIMEOUT), silent(&mut two, AFTER_TIMEOUT));
}

/// What a member holds for too long takes none of its credit, and what it says of it then is too late.
pub async fn unsettled_message_comes_back_to_its_only_member(broker: Broker) {
    let topic = unique_topic("alone");
    let mut member = join(&broker, &topic, with_credit(1, brief("g"))).await;
    let published = Instant::now();
    publish(&broker, &topic, "held").await;
    let held = next(&mut member).await;
    let again = next(&mut member).await;
    let waited = published.elapsed();
    assert_delivery(&broker, &again, "held", 2);
    assert!(waited + Duration::from_millis(5) >= BRIEF, "came back after {waited:?} already");
    // Where messages are pushed, an answer is for the latest delivery, whichever was meant.
    let held = (!broker.capabilities().pulled).then_some(held);
    silent(&mut member, QUIET).await;
    ack(again).await;
    publish(&broker, &topic, "next").await;
    assert_eq!(take(&mut member).await, "next");
    drop(held);
    silent(&mut member, AFTER_TIMEOUT).await;
}

pub async fn settled_in_time_is_not_delivered_twice(broker: Broker) {
    let topic = unique_topic("in-time");
    let in_time = Duration::from_millis(1500);
    let options = || with_credit(4, lasting(in_time + BRIEF, "g"));
    let mut one = join(&broker, &topic, options()).await;
    let mut two = join(&broker, &topic, options()).await;
    let mut held = Vec::new();
    for number in 0..3 {
        publish(&broker, &topic, number).await;
        held.push(either(&mut one, &mut two).await);
    }
    futures_util::join!(silent(&mut one, in_time), silent(&mut two, in_time));
    futures_util::future::join_all(held.into_iter().map(ack)).await;
    futures_util::join!(silent(&mut one, AFTER_TIMEOUT), silent(&mut two, AFTER_TIMEOUT));
}

pub async fn credit_bounds_what_a_member_holds(broker: Broker) {
    let topic = unique_topic("credit");
    let mut greedy = join(&broker, &topic, with_credit(2, patient("g"))).await;
    publish_all(&broker, &topic, 0..5).await;
    let held = [next(&mut greedy).await, next(&mut greedy).await];
    silent(&mut greedy, QUIET).await;
    let mut other = join(&broker, &topic, patient("g")).await;
    assert_eq!(take_all(&mut other, 3).await, numbers(2..5), "what the first may not hold is the other's");
    for delivery in held {
        ack(delivery).await;
    }
}

pub async fn settling_gives_credit_back(broker: Broker) {
    let topic = unique_topic("give-back");
    let mut member = join(&broker, &topic, with_credit(1, patient("g"))).await;
    publish_all(&broker, &topic, 0..4).await;
    ack(next(&mut member).await).await;
    next(&mut member).await.settle(Outcome::Drop).await.expect("settled");
    let third = next(&mut member).await;
    if broker.capabilities().pauses {
        third.retry(Duration::from_secs(3600)).await.expect("settled");
    } else {
        ack(third).await;
    }
    let last = next(&mut member).await;
    assert_eq!(text(&last), "3", "a retry that waits takes no credit");
    // Settled elsewhere while the member waits for credit.
    let waiting = timeout(patience(), member.next());
    let settling = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ack(last).await;
        publish(&broker, &topic, "4").await;
    };
    let (delivery, ()) = futures_util::join!(waiting, settling);
    let delivery = delivery.expect("credit came back").expect("delivered");
    assert_eq!(text(&delivery), "4");
    ack(delivery).await;
}

pub async fn settling_that_nobody_waits_for_gives_credit_back(broker: Broker) {
    let topic = unique_topic("impatient-settling");
    let mut member = join(&broker, &topic, with_credit(1, patient("g"))).await;
    publish_all(&broker, &topic, 0..4).await;
    for (number, outcome) in [Outcome::Ack, Outcome::Drop, Outcome::Ack].into_iter().enumerate() {
        let delivery = next(&mut member).await;
        assert_eq!(text(&delivery), number.to_string());
        // Asked once: begun perhaps, and perhaps done. What is not noted comes after the processing timeout.
        drop(delivery.settle(outcome).now_or_never());
    }
    assert_eq!(text(&next(&mut member).await), "3");
}

pub async fn dropped_wait_loses_nothing(broker: Broker) {
    let topic = unique_topic("impatient");
    let mut member = join(&broker, &topic, patient("g")).await;
    let publisher = broker.clone();
    let publishing = async {
        for number in 0..100 {
            publish(&publisher, &topic, number).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let taking = async {
        let mut texts = Vec::new();
        let give_up = Instant::now() + patience();
        while texts.len() < 100 {
            assert!(Instant::now() < give_up, "only {} came: {texts:?}", texts.len());
            // Often too short: the wait is dropped while a message is on its way.
            if let Ok(delivery) = timeout(Duration::from_micros(300), member.next()).await {
                let delivery = delivery.expect("delivered");
                texts.push(text(&delivery));
                ack(delivery).await;
            }
        }
        texts
    };
    let (texts, ()) = futures_util::join!(taking, publishing);
    assert_eq!(texts, numbers(0..100));
}
