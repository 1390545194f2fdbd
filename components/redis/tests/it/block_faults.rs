//! The other blocks on a Redis that goes and comes back: calls end in time with the right kind, subscriptions and watches
//! go on by themselves. What the verdicts are worth is shown beside those of the state store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_component_api::{
    Component, ConfigurationChange, ConfigurationEvent, ConfigurationItem, ConfigurationStore, ErrorKind,
    Key, LockStore, Message, NextOptions, PubSub, Result, Selector, Sequencer, SubscribeOptions, Watch,
};
use outrigger_redis::{
    RedisConfig, RedisConfiguration, RedisLock, RedisPubSub, RedisPubSubConfig, RedisSequencer,
};
use tokio::time::timeout;

use crate::server::Server;

/// How long a call may take, on a busy machine.
const IN_TIME: Duration = Duration::from_secs(15);
/// How soon after its return Redis has to be of use, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// How long a call waits for an answer: also for one that has to come.
const ANSWER: Duration = Duration::from_secs(3);

fn hasty(server: &Server) -> RedisConfig {
    RedisConfig {
        redis_host: server.host(),
        dial_timeout: ANSWER,
        read_timeout: ANSWER,
        ..RedisConfig::default()
    }
}

fn key() -> Key {
    Key::new("key").expect("not empty")
}

/// Fails in time while Redis is gone, in one of the ways allowed.
async fn fails<T>(call: impl Future<Output = Result<T>>) {
    let answer = timeout(IN_TIME, call).await.expect("in time");
    let Err(error) = answer else { panic!("succeeded without Redis") };
    assert!([ErrorKind::Unavailable, ErrorKind::Timeout].contains(&error.kind()), "{error:?}");
}

/// Succeeds soon after Redis' return.
async fn recovers<T>(mut call: impl AsyncFnMut() -> Result<T>) {
    let back = Instant::now();
    while let Err(error) = call().await {
        assert!(back.elapsed() < SOON, "still: {error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn locks_and_sequences_end_in_time_and_recover() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let lock = RedisLock::new(&hasty(&server)).expect("valid");
    let sequencer = RedisSequencer::new(&hasty(&server)).expect("valid");
    let ttl = Duration::from_secs(60);
    let token = lock.try_lock(&key(), "a", ttl).await.expect("asked").expect("free").token;
    let number = Key::new("number").expect("not empty");
    assert_eq!(sequencer.next(&number, NextOptions::default()).await.expect("a number"), 1);
    server.kill();
    fails(lock.try_lock(&key(), "b", ttl)).await;
    fails(lock.unlock(&key(), "a")).await;
    fails(sequencer.next(&number, NextOptions::default())).await;
    server.restart();
    recovers(async || lock.keep_alive(&key(), "a", ttl).await).await;
    assert_eq!(lock.try_lock(&key(), "b", ttl).await.expect("asked"), None, "the lease survived");
    lock.unlock(&key(), "a").await.expect("unlocked");
    let next = lock.try_lock(&key(), "b", ttl).await.expect("asked").expect("free").token;
    assert!(next > token, "{next} after {token}");
    recovers(async || sequencer.ping().await).await;
    assert_eq!(sequencer.next(&number, NextOptions::default()).await.expect("a number"), 2);
}

/// Tokens go on growing on a Redis that has lost everything.
#[tokio::test]
async fn tokens_increase_even_when_redis_forgets() {
    let Some(mut server) = Server::start(&[]) else { return };
    let lock = RedisLock::new(&hasty(&server)).expect("valid");
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let lease = lock.try_lock(&key(), "a", Duration::from_secs(60)).await.expect("asked");
        tokens.push(lease.expect("free").token);
        server.kill();
        server.restart();
        recovers(async || lock.ping().await).await;
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[tokio::test]
async fn a_subscription_goes_on_after_a_restart_and_a_pause() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let config = RedisPubSubConfig {
        redis_host: server.host(),
        dial_timeout: ANSWER,
        read_timeout: ANSWER,
        ..RedisPubSubConfig::default()
    };
    let broker = RedisPubSub::new(config).expect("valid");
    let mut member = broker.subscribe("topic", SubscribeOptions::new("group")).await.expect("subscribed");
    let mut seen = BTreeSet::new();
    for round in 0..4 {
        // Waiting when it happens.
        drop(timeout(Duration::from_millis(50), member.next()).await);
        if round % 2 == 0 {
            server.kill();
            fails(broker.publish("topic", Message::new("lost"))).await;
            fails(broker.subscribe("topic", SubscribeOptions::new("group"))).await;
            server.restart();
        } else {
            server.pause();
            fails(broker.publish("topic", Message::new("maybe"))).await;
            server.resume();
        }
        let name = format!("message {round}");
        recovers(async || broker.publish("topic", Message::new(name.clone())).await).await;
        let published = Instant::now();
        while !seen.contains(&name) {
            assert!(published.elapsed() < SOON, "{name} is not delivered");
            if let Ok(Ok(delivery)) = timeout(SOON, member.next()).await {
                seen.insert(String::from_utf8_lossy(&delivery.message.data).into_owned());
                delivery.ack().await.expect("acknowledged");
            }
        }
    }
}

async fn changes(watch: &mut Box<dyn Watch>, count: usize) -> Vec<(String, Option<String>)> {
    let mut seen = Vec::new();
    let start = Instant::now();
    while seen.len() < count {
        assert!(start.elapsed() < SOON, "only {seen:?}");
        match timeout(SOON, watch.next()).await.expect("a change") {
            Ok(ConfigurationEvent::Changed { changes, .. }) => {
                seen.extend(changes.into_iter().map(|change| match change {
                    ConfigurationChange::Set(item) => (item.key, Some(item.content)),
                    ConfigurationChange::Deleted(item) => (item.key, None),
                }))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    seen
}

/// What changed while nobody listened is found when the watch listens again.
#[tokio::test]
async fn a_watch_finds_what_it_missed() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let store = RedisConfiguration::new(&hasty(&server)).expect("valid");
    let item = |key: &str, content: &str| ConfigurationItem {
        key: key.to_owned(),
        content: content.to_owned(),
        ..ConfigurationItem::default()
    };
    let before = ["kept", "changed", "gone"].map(|key| item(key, "before"));
    store.save("app", before.to_vec()).await.expect("saved");
    for keys in [vec![], ["kept", "changed", "gone", "new"].map(str::to_owned).to_vec()] {
        let selector = Selector { keys, ..Selector::default() };
        let mut watch = store.watch(&selector, None).await.expect("watched");
        server.ask(&format!("SET kept before||{}", selector.keys.len()));
        assert_eq!(changes(&mut watch, 1).await, [("kept".to_owned(), Some("before".to_owned()))]);
        server.kill();
        fails(store.get(&selector)).await;
        fails(store.save("app", vec![item("lost", "")])).await;
        fails(store.watch(&selector, None)).await;
        server.restart();
        server.ask("SET changed after||9");
        server.ask("SET new here");
        server.ask("DEL gone");
        let mut seen = changes(&mut watch, 3).await;
        seen.sort();
        let expected = [("changed", Some("after")), ("gone", None), ("new", Some("here"))];
        let expected = expected.map(|(key, content)| (key.to_owned(), content.map(str::to_owned)));
        assert_eq!(seen, expected);
        // And it goes on.
        recovers(async || {
            store.delete(&Selector { keys: vec!["new".to_owned()], ..Selector::default() }).await
        })
        .await;
        assert_eq!(changes(&mut watch, 1).await, [("new".to_owned(), None)]);
        server.ask("SET changed before");
        server.ask("SET gone before");
        drop(watch);
    }
}

/// Where Redis may not be asked to tell of changes, the operator is told what to set.
#[tokio::test]
async fn a_redis_that_does_not_tell_of_changes_is_not_watched_in_vain() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("ACL SETUSER app on >secret ~* &* +@all -config|set");
    let config = RedisConfig {
        redis_username: Some("app".to_owned()),
        redis_password: Some("secret".to_owned().into()),
        ..hasty(&server)
    };
    let store: Arc<dyn ConfigurationStore> = Arc::new(RedisConfiguration::new(&config).expect("valid"));
    let Err(error) = store.watch(&Selector::default(), None).await else { panic!("watched in vain") };
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error:?}");
    assert!(error.message().contains("notify-keyspace-events"), "{error:?}");
    server.ask("CONFIG SET notify-keyspace-events KA");
    store.watch(&Selector::default(), None).await.expect("told by the operator");
}
