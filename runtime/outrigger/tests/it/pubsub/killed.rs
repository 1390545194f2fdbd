//! Events on a Redis that is killed under load, again and again, behind a sidecar that stays: every publish that was
//! acknowledged reaches the application. The same on a Redis that keeps nothing must be found out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use outrigger_sdk::Client;
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{app::AppProcess, client, ledger::Ledger, runtime, with_app};
use crate::{
    program::{Folder, eventually},
    servers::Server,
};

const ROUNDS: usize = 20;
const PUBLISHERS: usize = 8;
/// So many publishes are acknowledged between two kills.
const A_ROUND: usize = 100;
/// More than the sidecar fetches for an application that stands still.
const BACKLOG: usize = 500;

/// What the publishers share.
#[derive(Default)]
struct Load {
    ledger: Ledger,
    numbers: AtomicUsize,
    refused: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// Publishes until it is over. What fails is not tried again: it may come or not.
    async fn publish(self: Arc<Self>, client: Client) {
        let events = client.pubsub("events");
        while !self.over.load(Ordering::SeqCst) {
            let number = self.numbers.fetch_add(1, Ordering::SeqCst);
            match events.publish("orders", number.to_string(), "text/plain").await {
                Ok(()) => self.ledger.published(number),
                Err(_) => {
                    self.refused.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        }
    }
}

/// Kills Redis so often under load, and starts it again after each time. `judge` looks at the ledger in the end.
/// With `behind`, the application stands still before the last kill, and Redis has what nobody else has.
fn kill_under_load<T>(
    redis: &mut Server,
    (rounds, behind): (usize, bool),
    judge: impl FnOnce(&Load, &AppProcess) -> T,
) -> T {
    redis.start();
    let app = AppProcess::new();
    let settings = format!("redisHost: '127.0.0.1:{}', processingTimeout: 1s", redis.port());
    let component = format!("events: {{ type: pubsub.redis, settings: {{ {settings} }} }}");
    let folder = Folder::with(&with_app(app.port(), &component));
    let mut program = folder.run();
    let running = app.start();
    program.wait_for("the application is subscribed");
    let (runtime, load) = (runtime(), Arc::new(Load::default()));
    let client = runtime.block_on(client(&program));
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishers.spawn_on(Arc::clone(&load).publish(client.clone()), runtime.handle());
    }
    let acknowledged =
        |enough| eventually("enough is acknowledged", || (load.ledger.count() >= enough).then_some(()));
    for round in 1..=rounds {
        acknowledged(round * A_ROUND);
        if behind && round == rounds {
            running.signal(Signal::STOP);
            acknowledged(load.ledger.count() + BACKLOG);
        }
        redis.kill();
        redis.start();
    }
    running.signal(Signal::CONT);
    acknowledged(load.ledger.count() + A_ROUND);
    load.over.store(true, Ordering::SeqCst);
    while let Some(ended) = runtime.block_on(publishers.join_next()) {
        ended.unwrap();
    }
    judge(&load, &app)
}

#[test]
fn a_redis_that_is_killed_loses_nothing_that_was_acknowledged() {
    let Some(mut redis) = Server::durable_redis() else { return };
    kill_under_load(&mut redis, (ROUNDS, false), |load, app| {
        load.ledger.wait_until_complete(app);
        let (acknowledged, refused) = (load.ledger.count(), load.refused.load(Ordering::SeqCst));
        println!("{ROUNDS} kills: {acknowledged} publishes acknowledged, {refused} refused, none lost");
        assert!(refused > ROUNDS, "only {refused} publishes were refused: the kills met no load");
    });
}

/// Whoever changes a password changes it on two sides, one after the other.
#[test]
fn a_subscription_that_redis_refused_is_made_when_it_does_not() {
    let Some(mut redis) = Server::redis(&["--requirepass", "new"]) else { return };
    redis.start();
    let app = AppProcess::new();
    let settings = format!("redisHost: '127.0.0.1:{}', redisPassword: old", redis.port());
    let component = format!("events: {{ type: pubsub.redis, settings: {{ {settings} }} }}");
    let folder = Folder::with(&with_app(app.port(), &component));
    let mut program = folder.run();
    let _running = app.start();
    let refused = program.wait_for("the subscription of the application is interrupted");
    assert!(refused.contains("redisPassword"), "{refused}");
    redis.ask(&["AUTH new", "CONFIG SET requirepass old"]);
    program.wait_for_next("the application is subscribed");
}

/// The planted violation.
#[test]
fn the_ledger_notices_a_redis_that_keeps_nothing() {
    let Some(mut redis) = Server::redis(&["--appendonly", "no"]) else { return };
    kill_under_load(&mut redis, (3, true), |load, app| {
        // What is still to come is there when the last one is.
        app.wait_for_text(" orders ");
        eventually("nothing more comes", || {
            let before = load.ledger.missing(app);
            std::thread::sleep(std::time::Duration::from_secs(3));
            (load.ledger.missing(app) == before).then_some(())
        });
        assert!(!load.ledger.missing(app).is_empty(), "the fault was planted and not found");
    });
}
