//! Endpoints under a name: found, followed, and kept while the name server is away.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outrigger_cluster::{Clusters, Context, Found, Resolve, SystemResolver};
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::backend::{Backend, Reply};
use crate::world::{config, status, the, until};

/// Answers what it was told last.
struct Book(Mutex<Result<Vec<IpAddr>, String>>);

impl Book {
    fn new(last_bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Ok(addresses(last_bytes)))))
    }

    fn now_says(&self, answer: Result<&[u8], &str>) {
        *self.0.lock() = answer.map(addresses).map_err(str::to_owned);
    }
}

fn addresses(last_bytes: &[u8]) -> Vec<IpAddr> {
    last_bytes.iter().map(|last| Ipv4Addr::new(127, 0, 0, *last).into()).collect()
}

#[async_trait]
impl Resolve for Book {
    async fn resolve(&self, _: &str) -> Result<Found, String> {
        let addresses = self.0.lock().clone()?;
        Ok(Found { addresses, valid_until: Instant::now() })
    }
}

fn named(resolver: Arc<dyn Resolve>, dns: Value) -> Clusters {
    let context = Context { resolver, ..Context::new(Metrics::new(), Handle::current()) };
    let clusters = Clusters::compile(&config(&json!({ "dns": dns })), &Clusters::empty(context)).unwrap();
    clusters.activate();
    clusters
}

fn listed(clusters: &Clusters) -> Vec<String> {
    the(clusters).snapshot().endpoints.into_iter().map(|endpoint| endpoint.address).collect()
}

#[tokio::test]
async fn changes_are_followed_and_failures_keep_the_last_good_answer() {
    let book = Book::new(&[2, 3]);
    let clusters = named(Arc::clone(&book) as _, json!({ "name": "svc", "port": 81, "refresh": "100ms" }));
    until("the first answer", || listed(&clusters) == ["127.0.0.2:81", "127.0.0.3:81"]).await;
    book.now_says(Ok(&[3, 2, 4]));
    until("the change", || listed(&clusters).len() == 3).await;
    book.now_says(Err("the name server is away"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(listed(&clusters).len(), 3);
    book.now_says(Ok(&[9]));
    until("the recovery", || listed(&clusters) == ["127.0.0.9:81"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_ttl_is_respected_between_its_bounds() {
    struct Counting(Mutex<Vec<Instant>>, Duration);
    #[async_trait]
    impl Resolve for Counting {
        async fn resolve(&self, _: &str) -> Result<Found, String> {
            let now = tokio::time::Instant::now().into_std();
            self.0.lock().push(now);
            Ok(Found { addresses: addresses(&[1]), valid_until: now + self.1 })
        }
    }
    for (ttl, expected) in [(0, 60), (10, 6), (3_600, 1)] {
        let resolver = Arc::new(Counting(Mutex::default(), Duration::from_secs(ttl)));
        let clusters = named(Arc::clone(&resolver) as _, json!({ "name": "svc", "port": 1 }));
        tokio::time::sleep(Duration::from_millis(59_500)).await;
        assert_eq!(resolver.0.lock().len(), expected, "a ttl of {ttl} s, over a minute");
        drop(clusters);
    }
}

#[tokio::test]
async fn the_first_request_waits_for_the_first_answer() {
    let backend = Backend::answering(200).await;
    struct Slow;
    #[async_trait]
    impl Resolve for Slow {
        async fn resolve(&self, _: &str) -> Result<Found, String> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Found { addresses: addresses(&[1]), valid_until: Instant::now() })
        }
    }
    let clusters = named(Arc::new(Slow), json!({ "name": "svc", "port": backend.address.port() }));
    assert_eq!(status(&the(&clusters), None).await, Ok(200));
}

#[tokio::test]
async fn a_name_nobody_knows_is_said_so() {
    let book = Book::new(&[]);
    book.now_says(Err("no such name"));
    let context = Context { resolver: book, ..Context::new(Metrics::new(), Handle::current()) };
    let dns = json!({ "dns": { "name": "svc", "port": 1 }, "connect_timeout": "50ms" });
    let clusters = Clusters::compile(&config(&dns), &Clusters::empty(context)).unwrap();
    clusters.activate();
    assert_eq!(status(&the(&clusters), None).await, Err("no_endpoint"));
}

#[tokio::test]
async fn localhost_needs_no_name_server() {
    let backend = Backend::scripted(|_, _| Reply::Status(200, "")).await;
    let found = SystemResolver.resolve("localhost").await.unwrap();
    assert!(found.addresses.iter().all(IpAddr::is_loopback), "{found:?}");
    let dns = json!({ "name": "localhost", "port": backend.address.port() });
    let clusters = named(Arc::new(SystemResolver), dns);
    until("an answer", || the(&clusters).is_resolved()).await;
    let policy = crate::world::retry(json!({ "attempts": 2, "on": ["connect_failure"] }));
    assert_eq!(status(&the(&clusters), Some(&policy)).await, Ok(200), "::1 has no listener, 127.0.0.1 has");
}

#[tokio::test]
async fn endpoints_found_by_name_survive_a_reload() {
    let book = Book::new(&[1]);
    let before = named(Arc::clone(&book) as _, json!({ "name": "svc", "port": 81 }));
    until("the first answer", || listed(&before).len() == 1).await;
    let json = json!({ "dns": { "name": "svc", "port": 81 }, "balance": "random" });
    let after = Clusters::compile(&config(&json), &before).unwrap();
    assert_eq!(listed(&after), ["127.0.0.1:81"], "before its first look-up of its own");
    assert!(Clusters::compile(&BTreeMap::new(), &after).is_ok());
}
