//! A master, its replica and a sentinel: found by name, followed through a fail-over.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_component_api::{Consistency, ErrorKind, GetOptions, Key, Result, SetOptions, StateStore};
use outrigger_redis::{RedisState, RedisStateConfig};
use outrigger_testkit::Subject;
use parking_lot::Mutex;

use crate::replicas::confirmed;
use crate::server::{BUSY, Server, wait_until};

const MASTER: &str = "orders";
/// The sentinel needs half a second to see that the master is gone, then it counts and promotes. One that was kept from
/// the processor for long does nothing for half a minute.
const FAIL_OVER: Duration = Duration::from_secs(90);

struct Trio {
    master: Server,
    replica: Server,
    sentinel: Server,
}

impl Trio {
    fn start() -> Option<Self> {
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let login = "--requirepass inner --masterauth inner";
        let master = Server::start_with(Some("inner"), |_, _| words(login.to_owned()))?;
        let port = master.port();
        let replica = Server::start_with(Some("inner"), |_, _| {
            words(format!("{login} --replicaof 127.0.0.1 {port} --repl-diskless-sync-delay 0"))
        })?;
        wait_until("the replica", || replica.ask("INFO replication").contains("master_link_status:up"));
        let sentinel = Server::start_with(Some("outer"), |own, folder| {
            let file = folder.join("sentinel.conf");
            let lines = [
                format!("port {own}"),
                "bind 127.0.0.1".to_owned(),
                "requirepass outer".to_owned(),
                format!("sentinel monitor {MASTER} 127.0.0.1 {port} 1"),
                format!("sentinel auth-pass {MASTER} inner"),
                format!("sentinel down-after-milliseconds {MASTER} 60000"),
                format!("sentinel failover-timeout {MASTER} 3000"),
            ];
            std::fs::write(&file, lines.join("\n")).expect("written");
            vec![file.display().to_string(), "--sentinel".to_owned()]
        })?;
        wait_until("the sentinel", || {
            sentinel.ask(&format!("SENTINEL REPLICAS {MASTER}")).contains("slave-priority")
        });
        Some(Self { master, replica, sentinel })
    }

    fn shared() -> Option<Arc<Self>> {
        static RUNNING: Mutex<Weak<Trio>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock();
        if let Some(trio) = running.upgrade() {
            return Some(trio);
        }
        let trio = Arc::new(Self::start()?);
        *running = Arc::downgrade(&trio);
        Some(trio)
    }

    fn config(&self) -> RedisStateConfig {
        RedisStateConfig {
            redis_host: self.sentinel.host(),
            redis_password: Some("inner".to_owned().into()),
            failover: true,
            sentinel_master_name: Some(MASTER.to_owned()),
            sentinel_password: Some("outer".to_owned().into()),
            dial_timeout: BUSY,
            read_timeout: BUSY,
            ..RedisStateConfig::default()
        }
    }
}

fn by_sentinel() -> Option<Subject<dyn StateStore>> {
    let trio = Trio::shared()?;
    let store = Arc::new(RedisState::new(&trio.config()).expect("valid"));
    Some(Subject::new(store as Arc<dyn StateStore>).keeping(trio))
}

outrigger_testkit::state_suite!(by_sentinel());

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

async fn write(store: &RedisState, name: &str, consistency: Consistency) -> Result<()> {
    let options = SetOptions { consistency, ..SetOptions::default() };
    store.set(&key(name), Bytes::from_static(b"value"), options).await.map(drop)
}

/// Until the first synchronisation is over the master has no replica to wait for.
async fn replicating(trio: &Trio) {
    let started = Instant::now();
    while !trio.master.ask("INFO replication").contains("state=online") {
        assert!(started.elapsed() < FAIL_OVER, "the replica does not come online");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_fail_over_is_followed_and_loses_no_strong_write() {
    let Some(mut trio) = Trio::start() else { return };
    let store = RedisState::new(&trio.config()).expect("valid");
    replicating(&trio).await;
    for number in 0..50 {
        let name = format!("strong-{number}");
        confirmed(async || write(&store, &name, Consistency::Strong).await).await;
    }
    // Only now: until here a master that has to wait for a processor is not dead.
    trio.sentinel.ask(&format!("SENTINEL SET {MASTER} down-after-milliseconds 500"));
    trio.master.kill();
    let killed = Instant::now();
    while let Err(error) = write(&store, "after", Consistency::Unspecified).await {
        assert!(killed.elapsed() < FAIL_OVER, "still: {error:?}");
        let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for number in 0..50 {
        let entry = store.get(&key(&format!("strong-{number}")), GetOptions::default()).await.expect("read");
        assert!(entry.is_some(), "strong-{number} is lost");
    }
    assert!(trio.replica.ask("ROLE").contains("master"));
}

#[tokio::test]
async fn a_strong_write_waits_for_the_replica() {
    let Some(trio) = Trio::start() else { return };
    let store = RedisState::new(&trio.config()).expect("valid");
    replicating(&trio).await;
    confirmed(async || write(&store, "both", Consistency::Strong).await).await;
    assert_eq!(trio.replica.ask("HGET both data"), "$5\r\nvalue\r\n");
    trio.replica.pause();
    write(&store, "eventual", Consistency::Eventual).await.expect("on the master");
    let error = write(&store, "one", Consistency::Strong).await.expect_err("the replica does not answer");
    trio.replica.resume();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("(confirmed=0, replicas=1)"), "{error}");
}

#[tokio::test]
async fn what_the_sentinel_does_not_know_or_refuses_is_said() {
    let Some(trio) = Trio::shared() else { return };
    let check = async |config: RedisStateConfig, kind: ErrorKind, message: &str| {
        let store = RedisState::new(&config).expect("valid");
        let error = write(&store, "key", Consistency::Unspecified).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.message().contains(message), "{error:?}");
    };
    let unknown = RedisStateConfig { sentinel_master_name: Some("unknown".to_owned()), ..trio.config() };
    check(unknown, ErrorKind::Unavailable, "sentinelMasterName").await;
    let no_login = RedisStateConfig { sentinel_password: None, ..trio.config() };
    check(no_login, ErrorKind::Unauthenticated, "sentinelPassword").await;
    let stranger = RedisStateConfig { redis_password: Some("wrong".to_owned().into()), ..trio.config() };
    check(stranger, ErrorKind::Unauthenticated, "redisPassword").await;
}
