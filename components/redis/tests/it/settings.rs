//! Every setting does what it says: seen from the server's side.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_component_api::{
    BuildContext, ErrorKind, Key, Result, SetOptions, Settings, StateStore, parse_settings,
};
use outrigger_redis::RedisStateBackend;
use serde_json::{Value, json};

use crate::server::Server;

/// The component with these settings, as the runtime makes it.
async fn with(settings: Value) -> Result<Arc<dyn StateStore>> {
    use outrigger_component_api::Backend as _;
    let settings: Settings = settings.as_object().cloned().expect("an object");
    RedisStateBackend::build(parse_settings(settings)?, &BuildContext::default()).await
}

async fn write(store: &Arc<dyn StateStore>) -> Result<()> {
    let key = Key::new("key").expect("not empty");
    store.set(&key, Bytes::from_static(b"value"), SetOptions::default()).await.map(drop)
}

/// A server that takes connections, counts them, and does with them as told.
fn listener(hold: bool) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            seen.fetch_add(1, Ordering::SeqCst);
            let Ok(mut stream) = stream else { return };
            if hold {
                // Reads for ever, answers never.
                std::thread::spawn(
                    move || while stream.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {},
                );
            }
        }
    });
    (port, count)
}

#[tokio::test]
async fn the_database_user_and_password_are_used() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("ACL SETUSER app on >secret ~* +@all");
    server.ask("ACL SETUSER poor on >secret ~* +@all -@scripting");
    let as_user = |user: &str, db: u8| {
        json!({
            "redisHost": "127.0.0.1", "redisPort": server.port(), "redisUsername": user, "redisPassword": "secret",
            "redisDB": db
        })
    };
    write(&with(as_user("app", 3)).await.expect("valid")).await.expect("written");
    assert!(server.ask("INFO keyspace").contains("db3:keys=1"));
    assert!(server.ask("CLIENT LIST").contains("user=app"));
    let error = write(&with(as_user("poor", 0)).await.expect("valid")).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let error = write(&with(as_user("nobody", 0)).await.expect("valid")).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

/// Whether a key has so many seconds left.
pub(crate) fn lives(server: &Server, key: &str, seconds: std::ops::RangeInclusive<u64>) -> bool {
    let left = server.ask(&format!("TTL {key}"));
    seconds.contains(&left.trim_start_matches(':').trim().parse().expect("a number"))
}

#[tokio::test]
async fn the_default_ttl_is_used_where_none_is_given() {
    let Some(server) = Server::start(&[]) else { return };
    let store = with(json!({"redisHost": server.host(), "ttlInSeconds": "60"})).await.expect("valid");
    write(&store).await.expect("written");
    assert!(lives(&server, "key", 58..=60));
    let own = SetOptions { ttl: Some(Duration::from_secs(30)), ..SetOptions::default() };
    store.set(&Key::new("key").expect("not empty"), Bytes::new(), own).await.expect("written");
    assert!(lives(&server, "key", 28..=30));
}

#[tokio::test]
async fn retries_are_counted() {
    for retries in [0, 1, 4] {
        let (port, count) = listener(false);
        let settings = json!({
            "redisHost": format!("127.0.0.1:{port}"), "redisMaxRetries": retries, "redisMinRetryInterval": "1ms"
        });
        let error = write(&with(settings).await.expect("valid")).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(count.load(Ordering::SeqCst), retries + 1);
    }
}

#[tokio::test]
async fn pauses_between_attempts_are_kept_and_capped() {
    let (port, count) = listener(false);
    let timed = async |retries: u32, first: &str, longest: &str| {
        let settings = json!({
            "redisHost": format!("127.0.0.1:{port}"), "maxRetries": retries, "dialTimeout": "60s",
            "redisMinRetryInterval": first, "redisMaxRetryInterval": longest
        });
        let store = with(settings).await.expect("valid");
        let start = Instant::now();
        write(&store).await.expect_err("refused");
        (start, store)
    };
    let (start, store) = timed(3, "100ms", "1s").await;
    let (doubling, attempts) = (start.elapsed(), count.load(Ordering::SeqCst));
    assert!(doubling >= Duration::from_millis(700), "100 + 200 + 400 ms, and not {doubling:?}");
    // After the last attempt, calls fail at once for as long as the longest pause.
    write(&store).await.expect_err("refused");
    let over = start.elapsed() >= Duration::from_millis(1700);
    assert!(over || count.load(Ordering::SeqCst) == attempts, "tried again after {:?}", start.elapsed());
    // Twenty pauses of a second if it were not for the cap.
    let (start, _) = timed(20, "1s", "10ms").await;
    let capped = start.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(10)).contains(&capped), "{capped:?}");
}

/// Those given are longer than what holds without, so that a busy machine proves nothing it should not.
#[tokio::test]
async fn the_timeouts_end_calls() {
    let ends = async |store: &Arc<dyn StateStore>, kind: ErrorKind, after: Duration| {
        let start = Instant::now();
        let call = tokio::time::timeout(Duration::from_secs(60), write(store));
        let error = call.await.expect("ended").expect_err("no answer");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(start.elapsed() >= after, "{:?}", start.elapsed());
    };
    let dialling = async {
        let (port, _) = listener(true);
        let host = format!("127.0.0.1:{port}");
        let store = with(json!({"redisHost": host, "dialTimeout": "6s"})).await.expect("valid");
        ends(&store, ErrorKind::Unavailable, Duration::from_secs(6)).await;
    };
    let reading = async {
        let Some(server) = Server::start(&[]) else { return };
        let store = with(json!({"redisHost": server.host(), "readTimeout": "4s"})).await.expect("valid");
        write(&store).await.expect("written");
        server.pause();
        ends(&store, ErrorKind::Timeout, Duration::from_secs(4)).await;
    };
    futures_util::join!(dialling, reading);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_to_do() {
    let check = async |settings: Value, expected: &str| {
        let Err(error) = with(settings).await else { panic!("accepted, expected: {expected}") };
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(json!({"redisHost": " , "}), "redisHost is empty").await;
    check(json!({"redisHost": "db:port"}), "redisHost is malformed: expected host:port (host=db:port)").await;
    check(json!({"redisHost": "redis://db"}), "redisHost is malformed").await;
    check(json!({"redisHost": "a,b"}), "set redisType to cluster").await;
    check(json!({"redisType": "cluster", "failover": true}), "set redisType or failover, not both").await;
    check(json!({"redisType": "cluster", "redisDB": 1}), "remove redisDB").await;
    check(json!({"failover": true}), "failover needs sentinelMasterName").await;
    check(json!({"sentinelMasterName": "m"}), "set failover to true or remove it").await;
    check(json!({"redisUsername": "app"}), "redisUsername needs redisPassword").await;
    check(json!({"caCert": "/ca.pem"}), "do nothing without enableTLS").await;
    check(json!({"enableTLS": true, "caCert": "/no/such/file"}), "caCert is neither PEM nor").await;
    check(json!({"enableTLS": true, "clientCert": "-----BEGIN X"}), "clientCert and clientKey go together")
        .await;
    check(json!({"poolSize": 10}), "unknown field `poolSize`").await;
}
