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
/// Under load for this long before each kill, and until so much was acknowledged.
const LOAD: Duration = Duration::from_millis(60);
const ENOUGH: usize = 2 * PUBLISHERS;
/// When nothing more has come for this long, nothing more comes: not even from a machine that is busy.
const SILENCE: Duration = Duration::from_secs(20);
/// The same where everything is lost.
const SHORT_SILENCE: Duration = Duration::from_secs(4);
const TOPIC: &str = "orders";

type Broker = Arc<dyn PubSub>;
type Names = BTreeSet<String>;

fn broker(server: &Server) -> Broker {
    let config = RedisPubSubConfig { redis_host: server.host(), ..RedisPubSubConfig::default() };
    Arc::new(RedisPubSub::new(config).expect("valid"))
}

/// What the publishers of a round share.
struct Load {
    round: usize,
    names: AtomicUsize,
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    fn of(round: usize) -> Arc<Self> {
        let (names, acknowledged) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { round, names, acknowledged, stop: AtomicBool::new(false) })
    }

    fn name(&self) -> String {
        format!("m{}-{}", self.round, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Until there was as much as there shall be; not for ever where nothing is acknowledged.
    async fn is_enough(&self) {
        tokio::time::sleep(LOAD).await;
        let begun = Instant::now();
        while self.acknowledged.load(Ordering::Relaxed) < ENOUGH && begun.elapsed() < SILENCE {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Publishes until told to stop, one by one and in bulk; what was acknowledged.
async fn publisher(broker: Broker, load: Arc<Load>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let name = || load.name();
    while !load.stop.load(Ordering::Relaxed) {
        let single = name();
        if broker.publish(TOPIC, Message::new(single.clone())).await.is_ok() {
            acknowledged.push(single);
            load.acknowledged.fetch_add(1, Ordering::Relaxed);
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
async fn take(member: &mut Box<dyn Subscription>, wanted: &Names, seen: &mut Names, silence: Duration) {
    let mut last = Instant::now();
    while last.elapsed() < silence && !wanted.is_subset(seen) {
        let Ok(next) = tokio::time::timeout(silence, member.next()).await else { continue };
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
async fn kill_under_load(server: &mut Server, rounds: usize, silence: Duration) -> (usize, Names) {
    let broker = broker(server);
    let options =
        SubscribeOptions { processing_timeout: Duration::from_secs(1), ..SubscribeOptions::new("shop") };
    let mut member = broker.subscribe(TOPIC, options).await.expect("subscribed");
    let (mut acknowledged, mut seen) = (Names::new(), Names::new());
    for round in 0..rounds {
        let load = Load::of(round);
        let publishers = (0..PUBLISHERS).map(|_| publisher(broker.clone(), Arc::clone(&load)));
        let publishers = tokio::spawn(join_all(publishers.collect::<Vec<_>>()));
        if round % 2 == 1 {
            // A wish that cannot be fulfilled: takes along what it can while the load goes on.
            let wish = Names::from(["never published".to_owned()]);
            tokio::select! {
                () = load.is_enough() => {}
                () = take(&mut member, &wish, &mut seen, silence) => {}
            }
        } else {
            load.is_enough().await;
        }
        server.kill();
        load.stop.store(true, Ordering::Relaxed);
        acknowledged.extend(publishers.await.expect("published").concat());
        server.restart();
        take(&mut member, &acknowledged, &mut seen, silence).await;
    }
    let lost = acknowledged.difference(&seen).cloned().collect();
    (acknowledged.len(), lost)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_redis_is_killed() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let (acknowledged, lost) = kill_under_load(&mut server, ROUNDS, SILENCE).await;
    assert!(acknowledged > ROUNDS * PUBLISHERS, "only {acknowledged} were published: that is no load");
    assert_eq!(lost, Names::new(), "{} of {acknowledged} are lost", lost.len());
}

#[tokio::test]
async fn the_loss_is_found_where_redis_keeps_nothing() {
    let Some(mut server) = Server::start(&["--appendonly", "no"]) else { return };
    let (_, lost) = kill_under_load(&mut server, 1, SHORT_SILENCE).await;
    assert!(!lost.is_empty(), "the fault was planted and not found");
}
