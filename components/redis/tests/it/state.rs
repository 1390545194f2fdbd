//! The state store keeps the promises of a state store, and Dapr's layout.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{Concurrency, ErrorKind, GetOptions, Key, SetOptions, StateStore};
use outrigger_redis::{RedisState, RedisStateConfig};

use crate::server::{BUSY, Server};

pub(crate) fn store(host: &str) -> Arc<dyn StateStore> {
    let config = RedisStateConfig {
        redis_host: host.to_owned(),
        dial_timeout: BUSY,
        read_timeout: BUSY,
        ..RedisStateConfig::default()
    };
    Arc::new(RedisState::new(&config).expect("valid"))
}

outrigger_testkit::state_suite!(crate::server::subject(store));

#[tokio::test]
async fn the_layout_is_daprs() {
    let Some(server) = Server::start(&[]) else { return };
    let store = store(&server.host());
    server.ask("HSET app||cart data theirs version 7");
    let key = Key::new("app||cart").expect("not empty");
    let entry = store.get(&key, GetOptions::default()).await.expect("read").expect("there");
    assert_eq!((entry.value.as_ref(), entry.etag.as_str()), (&b"theirs"[..], "7"));

    let options = SetOptions { if_match: Some(entry.etag), ..SetOptions::default() };
    let etag = store.set(&key, Bytes::from_static(b"ours"), options).await.expect("written");
    assert!(etag.version().expect("a number") > 7);
    let expected = format!("*2\r\n$4\r\nours\r\n${}\r\n{etag}\r\n", etag.as_str().len());
    assert_eq!(server.ask("HMGET app||cart data version"), expected);
    // As Dapr counts on.
    server.ask("HINCRBY app||cart version 1");
    let stale = SetOptions { if_match: Some(etag), ..SetOptions::default() };
    let error = store.set(&key, Bytes::new(), stale).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");

    let first = SetOptions { concurrency: Concurrency::FirstWrite, ..SetOptions::default() };
    store.set(&Key::new("new").expect("not empty"), Bytes::new(), first).await.expect("written");
    assert_eq!(server.ask("HGET new first-write"), "$1\r\n0\r\n");
}
