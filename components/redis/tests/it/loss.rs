//! Redis is killed under load, again and again: every publish that was acknowledged is delivered at least once. The same
//! on a Redis that keeps nothing must be found out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use outrigger_component_api::{Message, PubSub, SubscribeOptions, Subscription};
use outrigger_redis::{RedisPubSub, RedisPubSubConfig};

use crate::server::Server;

const ROUNDS: usize = 20;
const PUBLISHERS: usize = 6;
/// Under load for this long before each kill.
const LOAD: Duration = Duration::from_millis(60);
/// When nothing more has come for this long, nothing more comes.
const SILENCE: Duration = Duration::from_secs(4);
const TOPIC: &str = "orders";

type Broker = Arc<dyn PubSub>;
type Names = BTreeSet<String>;

fn broker(server: &Server) -> Broker {
    let config = RedisPubSubConfig { redis_host: server.host(), ..RedisPubSubConfig::default() };
    Arc::new(RedisPubSub::new(config).expect("valid"))
}

/// Publishes until told to stop, one by one and in bulk; what was acknowledged.
async fn publisher(broker: Broker, count: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let name = || format!("m{}", count.fetch_add(1, Ordering::Relaxed));
    while !stop.load(Ordering::Relaxed) {
        let single = name();
        if broker.publish(TOPIC, Message::new(single.clone())).await.is_ok() {
            acknowledged.push(single);
        }
        let several: Vec<_> = (0..5).map(|_| name()).collect();
        let messages = several.iter().map(|name| Message::new(name.clone())).collect();
        if let Ok(answers) = broker.publish_bulk(TOPIC, messages).await {
            let answered = several.into_iter().zip(answers);
            acknowledged.extend(answered.filter(|(_, answer)| answer.is_ok()).map(|(name, _)| name));
        }
    }
    acknowledged
}

/// Takes messages until all of `wanted` were seen or nothing more comes, through whatever errors pass.
async fn take(member: &mut Box<dyn Subscription>, wanted: &Names, seen: &mut Names) {
    let mut last = Instant::now();
    while last.elapsed() < SILENCE && !wanted.is_subset(seen) {
        let Ok(next) = tokio::time::timeout(SILENCE, member.next()).await else { continue };
        match next {
            Ok(delivery) => {
                let name = String::from_utf8_lossy(&delivery.message.data).into_owned();
                if seen.insert(name) {
                    last = Instant::now();
                }
                // What cannot be acknowledged comes again.
                drop(delivery.ack().await);
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Kills the server under load and takes what is left, so many times. How much was acknowledged, and what was lost.
async fn kill_under_load(server: &mut Server, rounds: usize) -> (usize, Names) {
    let broker = broker(server);
    let options =
        SubscribeOptions { processing_timeout: Duration::from_secs(1), ..SubscribeOptions::new("shop") };
    let mut member = broker.subscribe(TOPIC, options).await.expect("subscribed");
    let (mut acknowledged, mut seen) = (Names::new(), Names::new());
    let count = Arc::new(AtomicUsize::new(0));
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let publishers = (0..PUBLISHERS).map(|_| publisher(broker.clone(), count.clone(), stop.clone()));
        let publishers = tokio::spawn(join_all(publishers.collect::<Vec<_>>()));
        if round % 2 == 1 {
            // A wish that cannot be fulfilled: takes along what it can while the load goes on.
            let wish = Names::from(["never published".to_owned()]);
            drop(tokio::time::timeout(LOAD, take(&mut member, &wish, &mut seen)).await);
        } else {
            tokio::time::sleep(LOAD).await;
        }
        server.kill();
        stop.store(true, Ordering::Relaxed);
        acknowledged.extend(publishers.await.expect("published").concat());
        server.restart();
        take(&mut member, &acknowledged, &mut seen).await;
    }
    let lost = acknowledged.difference(&seen).cloned().collect();
    (acknowledged.len(), lost)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_redis_is_killed() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let (acknowledged, lost) = kill_under_load(&mut server, ROUNDS).await;
    assert!(acknowledged > ROUNDS * PUBLISHERS, "only {acknowledged} were published: that is no load");
    assert_eq!(lost, Names::new(), "{} of {acknowledged} are lost", lost.len());
}

#[tokio::test]
async fn the_loss_is_found_where_redis_keeps_nothing() {
    let Some(mut server) = Server::start(&["--appendonly", "no"]) else { return };
    let (_, lost) = kill_under_load(&mut server, 1).await;
    assert!(!lost.is_empty(), "the fault was planted and not found");
}
