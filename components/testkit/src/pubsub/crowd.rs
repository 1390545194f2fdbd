//! Many at once, and from more than one runtime.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use outrigger_component_api::{Outcome, SubscribeOptions};
use tokio::time::timeout;

use super::fixture::*;
use crate::{in_other_runtime, patience};

const MESSAGES: usize = 1000;
const GROUPS: [&str; 2] = ["one", "two"];
const MEMBERS: usize = 3;

/// What one group has acknowledged.
type Tally = Arc<Mutex<BTreeSet<String>>>;

/// Members that leave, sulk and forget, on runtimes of their own, while publishers publish: everything acknowledged
/// as published reaches every group.
pub async fn thousand_messages_reach_every_group(broker: Broker) {
    let topic = unique_topic("thousand");
    for group in GROUPS {
        drop(join(&broker, &topic, lively(group)).await);
    }
    let tallies = GROUPS.map(|group| (group, Tally::default()));
    let members = (0..GROUPS.len() * MEMBERS).map(|seed| {
        let (group, tally) = tallies[seed % GROUPS.len()].clone();
        let (broker, topic) = (broker.clone(), topic.clone());
        in_other_runtime(async move { fickle_member(&broker, &topic, group, &tally, seed as u64).await })
    });
    let publishers = (0..4).map(|publisher| {
        let (broker, topic) = (broker.clone(), topic.clone());
        in_other_runtime(async move {
            publish_all(&broker, &topic, publisher * MESSAGES / 4..(publisher + 1) * MESSAGES / 4).await;
        })
    });
    futures_util::join!(join_all(members), join_all(publishers));
    let expected: BTreeSet<_> = numbers(0..MESSAGES).into_iter().collect();
    for (group, tally) in tallies {
        let seen = tally.lock().expect("not poisoned");
        let missing: Vec<_> = expected.difference(&seen).collect();
        assert!(missing.is_empty(), "group {group} never got {} messages: {missing:?}", missing.len());
    }
}

fn lively(group: &str) -> SubscribeOptions {
    with_credit(16, brief(group))
}

async fn fickle_member(broker: &Broker, topic: &str, group: &str, tally: &Tally, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut member = join(broker, topic, lively(group)).await;
    let (mut count, mut progress) = (0, Instant::now());
    loop {
        let now = tally.lock().expect("not poisoned").len();
        if now != count {
            (count, progress) = (now, Instant::now());
        }
        if count == MESSAGES || progress.elapsed() > patience() {
            return;
        }
        let Ok(delivery) = timeout(QUIET, member.next()).await else { continue };
        let delivery = delivery.expect("delivered");
        let text = text(&delivery);
        match rng.u8(..100) {
            0..4 => drop(delivery),
            4..10 => delivery.retry(Duration::from_millis(rng.u64(..50))).await.expect("settled"),
            10..11 => {
                drop(member);
                drop(delivery);
                member = join(broker, topic, lively(group)).await;
            }
            _ => {
                if delivery.settle(Outcome::Ack).await.is_ok() {
                    tally.lock().expect("not poisoned").insert(text);
                }
            }
        }
    }
}

pub async fn outlives_the_runtime_that_used_it_first(broker: Broker) {
    let topic = unique_topic("runtimes");
    for round in 0..3 {
        let (other, other_topic) = (broker.clone(), topic.clone());
        in_other_runtime(async move {
            let mut member = join(&other, &other_topic, patient("g")).await;
            publish(&other, &other_topic, "there").await;
            assert_eq!(take(&mut member).await, "there");
        })
        .await;
        let mut member = join(&broker, &topic, patient("g")).await;
        publish(&broker, &topic, round).await;
        assert_eq!(take(&mut member).await, round.to_string());
    }
    // Both at once: neither may depend on the other being driven.
    let mut member = join(&broker, &topic, patient("g")).await;
    let (other, other_topic) = (broker.clone(), topic.clone());
    let there = in_other_runtime(async move { publish_all(&other, &other_topic, 0..50).await });
    let (texts, ()) = futures_util::join!(take_all(&mut member, 50), there);
    assert_eq!(texts, numbers(0..50));
}

pub async fn member_in_a_runtime_that_ends_passes_its_messages_on(broker: Broker) {
    let topic = unique_topic("ends");
    let (other, other_topic) = (broker.clone(), topic.clone());
    let held = in_other_runtime(async move {
        let mut member = join(&other, &other_topic, brief("g")).await;
        publish_all(&other, &other_topic, 0..3).await;
        // Neither settled nor dropped, and its member not told to leave: the runtime just ends.
        let held = next(&mut member).await;
        (held, member)
    });
    let (held, gone) = held.await;
    let mut member = join(&broker, &topic, brief("g")).await;
    let texts: BTreeSet<_> = take_all(&mut member, 3).await.into_iter().collect();
    assert_eq!(texts, numbers(0..3).into_iter().collect());
    drop((held, gone));
    publish(&broker, &topic, 3).await;
    assert_eq!(take(&mut member).await, "3");
}
