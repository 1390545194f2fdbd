//! Events in a file that two sidecars share: neither the death of a process nor its idleness loses or delays them.

use std::time::{Duration, Instant};

use outrigger_sdk::Outcome;

use super::{client, next, runtime, without_app};
use crate::program::Folder;

/// A broker in this folder's file, whatever the sidecar.
pub(super) fn broker(folder: &Folder) -> String {
    let path = folder.path("events.db");
    format!(
        "events: {{ type: pubsub.sqlite, settings: {{ path: '{}', redeliverInterval: 20ms, processingTimeout: 2s, \
         maxMessages: 100000, retention: 1h, busyTimeout: 5s, synchronous: full, maxSizeBytes: 100000000 }} }}",
        path.display()
    )
}

#[test]
fn an_event_reaches_the_other_sidecar_at_once() {
    let shared = Folder::bare();
    let folders = [(); 2].map(|()| Folder::with(&without_app(&broker(&shared))));
    let [one, two] = folders.each_ref().map(Folder::run);
    runtime().block_on(async {
        let mut subscription = client(&two).await.pubsub("events").subscribe("orders").await.unwrap();
        let publisher = client(&one).await.pubsub("events");
        let (mut publishing, mut delivery) = (Vec::new(), Vec::new());
        for number in 0..200 {
            let started = Instant::now();
            publisher.publish("orders", number.to_string(), "text/plain").await.unwrap();
            publishing.push(started.elapsed());
            let event = next(&mut subscription).await;
            delivery.push(started.elapsed());
            assert_eq!(event.data, number.to_string());
            subscription.settle(&event, Outcome::Done).await.unwrap();
        }
        publishing.sort();
        delivery.sort();
        let [control, p50, p99] = [publishing[100], delivery[100], delivery[198]];
        println!("publish to delivery between two sidecars: p50 {p50:?}, p99 {p99:?}; publish alone: p50 {control:?}");
        // As slow as the disk makes it, which the publishing alone shows, but waiting for no timer besides.
        assert!(p50 < control * 10 + Duration::from_millis(50), "p50 {p50:?}, publish alone {control:?}");
    });
}

#[test]
fn events_held_by_a_sidecar_that_is_killed_go_to_the_other() {
    let shared = Folder::bare();
    let folders = [(); 2].map(|()| Folder::with(&without_app(&broker(&shared))));
    let [one, two] = folders.each_ref().map(Folder::run);
    runtime().block_on(async {
        let mut held = client(&one).await.pubsub("events").subscribe("orders").await.unwrap();
        let other = client(&two).await;
        for number in 0..10 {
            other.pubsub("events").publish("orders", number.to_string(), "text/plain").await.unwrap();
        }
        for _ in 0..10 {
            next(&mut held).await;
        }
        let killed = Instant::now();
        drop(one);
        let mut subscription = other.pubsub("events").subscribe("orders").await.unwrap();
        let mut numbers: Vec<_> = vec![];
        for _ in 0..10 {
            let event = next(&mut subscription).await;
            numbers.push(String::from_utf8(event.data.to_vec()).unwrap().parse::<usize>().unwrap());
            subscription.settle(&event, Outcome::Done).await.unwrap();
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        assert!(killed.elapsed() < Duration::from_secs(30), "{:?}", killed.elapsed());
    });
}
