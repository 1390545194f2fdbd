//! A Redis that is down, killed, paused, slow or refuses: calls end in time with the right kind, and all is well soon
//! after its return. Each verdict also has to find the fault in stores that were built with one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_component_api::{
    Component, DeleteOptions, Entry, Error, ErrorKind, Etag, GetOptions, Key, Result, SetOptions, StateStore,
    async_trait,
};
use outrigger_redis::{RedisState, RedisStateConfig};
use outrigger_testkit::in_other_runtime;
use outrigger_testkit::relay::Relay;

use crate::server::Server;

/// How long a call may take in these tests, on a busy machine.
const IN_TIME: Duration = Duration::from_secs(15);
/// How soon after its return Redis has to be of use, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// What stands in for both where they pass for certain.
const BRIEFLY: Duration = Duration::from_secs(1);

type Store = Arc<dyn StateStore>;

fn at(server: &Server) -> RedisStateConfig {
    RedisStateConfig { redis_host: server.host(), ..RedisStateConfig::default() }
}

/// For calls that shall not be answered in time. Those that shall may take longer than this.
fn hasty(redis_host: String) -> RedisStateConfig {
    RedisStateConfig {
        redis_host,
        dial_timeout: Duration::from_millis(500),
        read_timeout: Duration::from_millis(500),
        ..RedisStateConfig::default()
    }
}

fn store(config: &RedisStateConfig) -> Store {
    Arc::new(RedisState::new(config).expect("valid"))
}

fn key() -> Key {
    Key::new("key").expect("not empty")
}

async fn read(store: &Store) -> Result<Option<Entry>> {
    store.get(&key(), GetOptions::default()).await
}

async fn write(store: &Store) -> Result<Etag> {
    store.set(&key(), Bytes::from_static(b"value"), SetOptions::default()).await
}

/// Whether reads, writes and probes fail in time, in one of the ways allowed.
async fn fails_in_time(store: &Store, kinds: &[ErrorKind]) -> Result<(), String> {
    fails_within(IN_TIME, store, kinds).await
}

async fn fails_within(time: Duration, store: &Store, kinds: &[ErrorKind]) -> Result<(), String> {
    let read = async { read(store).await.map(drop) };
    let write = async { write(store).await.map(drop) };
    let calls = [
        ("read", tokio::time::timeout(time, read).await),
        ("write", tokio::time::timeout(time, write).await),
        ("ping", tokio::time::timeout(time, store.ping()).await),
    ];
    for (call, answer) in calls {
        match answer {
            Err(_) => return Err(format!("the {call} did not end within {time:?}")),
            Ok(Ok(())) => return Err(format!("the {call} succeeded")),
            Ok(Err(error)) if !kinds.contains(&error.kind()) => {
                return Err(format!("the {call} failed as {}: {error}", error.kind()));
            }
            Ok(Err(_)) => {}
        }
    }
    Ok(())
}

/// Whether reads and writes succeed again soon. Asks the way an application under load does.
async fn recovers(store: &Store) -> Result<(), String> {
    recovers_within(SOON, store).await
}

async fn recovers_within(time: Duration, store: &Store) -> Result<(), String> {
    let back = Instant::now();
    loop {
        let both = async { read(store).await.is_ok() && write(store).await.is_ok() };
        let fine = tokio::time::timeout(time, both).await.unwrap_or(false);
        match back.elapsed() {
            late if late > time => return Err(format!("still failing after {late:?}")),
            _ if fine => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn down_at_the_start_and_back_later() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.kill();
    let store = store(&at(&server));
    fails_in_time(&store, &[ErrorKind::Unavailable]).await.expect("down");
    server.restart();
    recovers(&store).await.expect("back");
}

#[tokio::test]
async fn killed_and_back() {
    let Some(mut server) = Server::start(&[]) else { return };
    let store = store(&at(&server));
    write(&store).await.expect("written");
    for _ in 0..3 {
        server.kill();
        fails_in_time(&store, &[ErrorKind::Unavailable]).await.expect("down");
        server.restart();
        recovers(&store).await.expect("back");
    }
}

/// A connection that was closed while nobody used it costs nobody an error.
#[tokio::test]
async fn restarted_between_two_calls() {
    let Some(mut server) = Server::start(&[]) else { return };
    let store = store(&at(&server));
    for round in 0..3 {
        write(&store).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        server.kill();
        server.restart();
        // The driver has to be polled to learn of it, as it is while the worker does anything at all.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn paused_and_back() {
    let Some(server) = Server::start(&[]) else { return };
    let store = store(&hasty(server.host()));
    recovers(&store).await.expect("written");
    server.pause();
    fails_in_time(&store, &[ErrorKind::Timeout, ErrorKind::Unavailable]).await.expect("paused");
    server.resume();
    recovers(&store).await.expect("back");
}

#[tokio::test]
async fn slow_and_back() {
    let Some(server) = Server::start(&[]) else { return };
    let relay = Relay::to(server.port()).expect("a port");
    let store = store(&hasty(relay.address().to_string()));
    recovers(&store).await.expect("written");
    relay.delay(Duration::from_secs(3600));
    fails_in_time(&store, &[ErrorKind::Timeout, ErrorKind::Unavailable]).await.expect("slow");
    relay.delay(Duration::ZERO);
    recovers(&store).await.expect("back");
}

#[tokio::test]
async fn refusing_the_password_until_it_changes() {
    let Some(server) =
        Server::start_with(Some("right"), |_, _| ["--requirepass", "right"].map(str::to_owned).to_vec())
    else {
        return;
    };
    let store = store(&RedisStateConfig { redis_password: Some("secret7".to_owned().into()), ..at(&server) });
    fails_in_time(&store, &[ErrorKind::Unauthenticated]).await.expect("refused");
    let error = store.ping().await.expect_err("refused");
    assert!(error.message().contains("check redisUsername and redisPassword"), "{error}");
    assert!(!format!("{error:?}").contains("secret7"), "{error:?}");
    server.ask("CONFIG SET requirepass secret7");
    recovers(&store).await.expect("accepted");
}

#[tokio::test]
async fn a_server_that_wants_a_password_says_so() {
    let Some(server) =
        Server::start_with(Some("right"), |_, _| ["--requirepass", "right"].map(str::to_owned).to_vec())
    else {
        return;
    };
    fails_in_time(&store(&at(&server)), &[ErrorKind::Unauthenticated]).await.expect("refused");
}

#[tokio::test]
async fn each_runtime_has_one_connection_and_takes_it_along() {
    let Some(server) = Server::start(&[]) else { return };
    let store = store(&at(&server));
    let connections = || {
        let list = server.ask("CLIENT LIST");
        list.lines().filter(|line| line.contains("cmd=") && !line.contains("cmd=client")).count()
    };
    let calls: Vec<_> = (0..50).map(|_| write(&store)).collect();
    for answer in futures_util::future::join_all(calls).await {
        answer.expect("written");
    }
    assert_eq!(connections(), 1);
    let other = Arc::clone(&store);
    in_other_runtime(async move { write(&other).await.expect("written") }).await;
    crate::server::wait_until("the other's connection to go", || connections() == 1);
    write(&store).await.expect("written");
}

/// Redis with a fault of its own.
enum Planted {
    /// Takes for ever.
    Hangs,
    /// Answers although there is nobody to ask.
    Lies,
    /// Calls everything its own defect.
    Blurs,
    /// Remembers that it failed once.
    Sulks,
}

impl Planted {
    async fn answer<T>(&self, good: T) -> Result<T> {
        match self {
            Self::Hangs => std::future::pending().await,
            Self::Lies => Ok(good),
            Self::Blurs => Err(Error::internal("something went wrong")),
            Self::Sulks => Err(Error::unavailable("redis cannot be reached")),
        }
    }
}

#[async_trait]
impl Component for Planted {
    async fn ping(&self) -> Result<()> {
        self.answer(()).await
    }
}

#[async_trait]
impl StateStore for Planted {
    async fn get(&self, _: &Key, _: GetOptions) -> Result<Option<Entry>> {
        self.answer(None).await
    }

    async fn set(&self, _: &Key, _: Bytes, _: SetOptions) -> Result<Etag> {
        self.answer(Etag::from(1)).await
    }

    async fn delete(&self, _: &Key, _: DeleteOptions) -> Result<()> {
        self.answer(()).await
    }
}

#[tokio::test]
async fn the_verdicts_find_planted_faults() {
    let unavailable = [ErrorKind::Unavailable];
    let found = async |planted: Planted| {
        let store = Arc::new(planted) as Store;
        fails_within(BRIEFLY, &store, &unavailable).await.expect_err("a fault was planted")
    };
    assert!(found(Planted::Hangs).await.contains("did not end"));
    assert!(found(Planted::Lies).await.contains("succeeded"));
    assert!(found(Planted::Blurs).await.contains("failed as internal"));
    for planted in [Planted::Sulks, Planted::Hangs] {
        let store = Arc::new(planted) as Store;
        let verdict = recovers_within(BRIEFLY, &store).await.expect_err("a fault was planted");
        assert!(verdict.contains("still failing"), "{verdict}");
    }
}
