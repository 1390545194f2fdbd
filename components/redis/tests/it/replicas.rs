//! Strong writes beside a replica that stands still: none of them is confirmed, and none waits for the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use outrigger_component_api::{
    Concurrency, Consistency, ErrorKind, Etag, GetOptions, Key, Result, SetOptions, StateStore,
};
use outrigger_redis::{RedisState, RedisStateConfig};
use outrigger_testkit::relay::Relay;

use crate::server::{Server, wait_until};

/// How long a write waits for the replicas.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many wait at once.
const AT_ONCE: usize = 32;

type Store = Arc<RedisState>;

struct Pair {
    master: Server,
    replica: Server,
}

impl Pair {
    /// A master and its replica, past their first synchronisation.
    fn start() -> Option<Self> {
        let master = Server::start(&["--repl-diskless-sync-delay", "0"])?;
        let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())])?;
        wait_until("the replica", || master.ask("INFO replication").contains("state=online"));
        Some(Self { master, replica })
    }
}

fn store(host: String) -> Store {
    let config = RedisStateConfig { redis_host: host, ..RedisStateConfig::default() };
    Arc::new(RedisState::new(&config).expect("valid"))
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

async fn write(store: &Store, name: &str) -> Result<Etag> {
    let options = SetOptions { consistency: Consistency::Strong, ..SetOptions::default() };
    store.set(&key(name), Bytes::from_static(b"value"), options).await
}

/// Repeats a write until the replicas confirm it: one of them may have to wait for a processor.
pub(crate) async fn confirmed<T>(write: impl AsyncFn() -> Result<T>) {
    let started = Instant::now();
    while let Err(error) = write().await {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(started.elapsed() < Duration::from_secs(60), "still: {error}");
    }
}

#[tokio::test]
async fn writes_that_wait_do_so_beside_each_other_and_so_many_at_most() {
    let Some(pair) = Pair::start() else { return };
    let store = store(pair.master.host());
    confirmed(async || write(&store, "before").await).await;
    pair.replica.pause();
    let writers = (0..2 * AT_ONCE).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { write(&store, &format!("key-{number}")).await })
    });
    let (started, writers) = (Instant::now(), writers.collect::<Vec<_>>());
    let mut most = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let clients = pair.master.ask("CLIENT LIST TYPE normal");
        most = most.max(clients.lines().filter(|client| client.contains("cmd=wait")).count());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Two rounds; one after the other they would take a minute.
    let took = started.elapsed();
    assert!((2 * PATIENCE..30 * PATIENCE).contains(&took), "{took:?}");
    assert!((2..=AT_ONCE).contains(&most), "{most} waited at once");
    for writer in join_all(writers).await {
        let error = writer.expect("ended").expect_err("the replica stands still");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains("(confirmed=0, replicas=1)"), "{error}");
    }
    pair.replica.resume();
    confirmed(async || write(&store, "after").await).await;
}

/// A write that was refused has nothing to wait for, whatever its connection wrote before.
#[tokio::test]
async fn a_write_that_was_refused_says_so_at_once() {
    let Some(pair) = Pair::start() else { return };
    let store = store(pair.master.host());
    pair.replica.pause();
    write(&store, "taken").await.expect_err("the replica stands still");
    let options = SetOptions {
        consistency: Consistency::Strong,
        concurrency: Concurrency::FirstWrite,
        ..SetOptions::default()
    };
    let waits = || {
        let commands = pair.master.ask("INFO commandstats");
        commands.lines().find(|line| line.starts_with("cmdstat_wait:")).expect("one waited").to_owned()
    };
    let before = waits();
    let refused = store.set(&key("taken"), Bytes::new(), options).await.expect_err("taken");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert_eq!(waits(), before, "nothing was waited for");
    pair.replica.resume();
}

/// On another connection, `WAIT` would find nothing to wait for.
#[tokio::test]
async fn a_connection_lost_between_write_and_wait_confirms_nothing() {
    let Some(pair) = Pair::start() else { return };
    let relay = Relay::to(pair.master.port()).expect("a port");
    let store = store(relay.address().to_string());
    confirmed(async || write(&store, "before").await).await;
    pair.replica.pause();
    relay.cut_after(Some("EVAL"));
    for round in 0..30 {
        let name = format!("key-{round}");
        let error = write(&store, &name).await.expect_err("the replica stands still");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let entry = store.get(&key(&name), GetOptions::default()).await.expect("read");
        assert!(entry.is_some(), "the cut comes after the write: otherwise this proves nothing");
    }
    relay.cut_after(None);
    pair.replica.resume();
    confirmed(async || write(&store, "after").await).await;
}
