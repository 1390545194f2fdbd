//! Sidecars in a registry: one that dies is gone within its time, one that stops at once, and etcd may come and go.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outrigger_component_api::{Announcement, AppRegistry as _, Component as _, ErrorKind};
use outrigger_etcd::{EtcdConfig, EtcdRegistry};
use tokio::sync::oneshot;

use crate::server::Server;
use crate::verdict::{recovers, refused_in_time};

/// Short, and so long that a busy machine keeps it alive.
const TTL: Duration = Duration::from_secs(5);
/// So long that it is not what ends an entry.
const LONG: Duration = Duration::from_secs(600);
/// How late etcd ends a lease.
const LATE: Duration = Duration::from_secs(2);
/// Within this, what must happen has happened, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn registry(server: &Server) -> EtcdRegistry {
    EtcdRegistry::start(&server.config()).expect("valid")
}

async fn announce(registry: &EtcdRegistry, app: &str, address: &str) {
    announce_for(TTL, registry, app, address).await;
}

async fn announce_for(ttl: Duration, registry: &EtcdRegistry, app: &str, address: &str) {
    let (app, address) = (app.to_owned(), address.to_owned());
    registry.announce(Announcement { app, address, ttl }).await.expect("noted");
}

/// Waits until an id is seen at these addresses.
async fn becomes(registry: &EtcdRegistry, app: &str, expected: &[&str]) {
    let begun = Instant::now();
    loop {
        let found = registry.find(app).await;
        if found.as_ref().is_ok_and(|found| found == expected) {
            return;
        }
        assert!(begun.elapsed() < SOON, "{app} is at {found:?} and not at {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether nobody is found under an id once the time of whoever was there is over.
async fn is_gone_within(time: Duration, registry: &EtcdRegistry, app: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let found = registry.find(app).await.map_err(|error| error.to_string())?;
        match found.is_empty() {
            true => return Ok(()),
            false if begun.elapsed() > time => return Err(format!("{found:?} still")),
            false => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A sidecar in a runtime of its own, which can be killed: nothing of it runs on, and nothing is taken back.
struct Doomed {
    kill: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Doomed {
    fn announced(server: &Server, app: &'static str, address: &'static str) -> Self {
        let (kill, killed) = oneshot::channel();
        let config = server.config();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("built");
            runtime.block_on(async {
                let registry = EtcdRegistry::start(&config).expect("valid");
                announce(&registry, app, address).await;
                killed.await.expect("told");
                // It has no time to say farewell.
                std::mem::forget(registry);
            });
        });
        Self { kill, thread }
    }

    fn kill(self) {
        self.kill.send(()).expect("it lives");
        self.thread.join().expect("ended");
    }
}

#[tokio::test]
async fn one_that_is_killed_is_gone_within_its_time_and_one_that_stops_at_once() {
    let Some(server) = Server::started() else { return };
    let seeing = registry(&server);
    let doomed = Doomed::announced(&server, "orders", "10.0.0.1:1");
    let stopping = registry(&server);
    announce_for(LONG, &stopping, "orders", "10.0.0.2:1").await;
    becomes(&seeing, "orders", &["10.0.0.1:1", "10.0.0.2:1"]).await;
    // It is kept alive beyond its time, on the same lease.
    let before = keys(&server).await;
    tokio::time::sleep(TTL + LATE).await;
    assert_eq!(keys(&server).await, before);
    assert_eq!(seeing.find("orders").await.expect("seen"), ["10.0.0.1:1", "10.0.0.2:1"]);

    // A clean stop does not wait for the lease.
    stopping.withdraw().await.expect("taken back");
    becomes(&seeing, "orders", &["10.0.0.1:1"]).await;
    doomed.kill();
    is_gone_within(TTL + SOON, &seeing, "orders").await.expect("its lease has ended");

    // Nor does a registry that a reload does away with: it takes its entry along.
    announce_for(LONG, &stopping, "orders", "10.0.0.2:1").await;
    becomes(&seeing, "orders", &["10.0.0.2:1"]).await;
    drop(stopping);
    becomes(&seeing, "orders", &[]).await;
}

#[tokio::test]
async fn entries_survive_the_end_of_etcd_and_are_known_meanwhile() {
    let Some(mut server) = Server::started() else { return };
    let (seeing, orders) = (registry(&server), registry(&server));
    announce(&orders, "orders", "10.0.0.1:1").await;
    becomes(&seeing, "orders", &["10.0.0.1:1"]).await;
    for _ in 0..2 {
        server.kill();
        refused_in_time(seeing.ping()).await.expect("down");
        // Longer than the lease: nobody can be told that it has ended, and it has not.
        tokio::time::sleep(TTL + LATE).await;
        assert_eq!(seeing.find("orders").await.expect("still known"), ["10.0.0.1:1"]);
        let unknown = seeing.find("shop").await.expect_err("it may have come since");
        assert_eq!(unknown.kind(), ErrorKind::Unavailable, "{unknown}");
        server.start();
        recovers(async || seeing.ping().await).await.expect("back");
        recovers(async || seeing.find("shop").await).await.expect("asked again");
        assert_eq!(seeing.find("orders").await.expect("seen"), ["10.0.0.1:1"]);
        // It is not only remembered: it is there, and kept alive.
        tokio::time::sleep(TTL + LATE).await;
        becomes(&registry(&server), "orders", &["10.0.0.1:1"]).await;
    }
}

/// The keys of the registry, each with the lease it is on.
async fn keys(server: &Server) -> Vec<String> {
    let below = etcd_client::GetOptions::new().with_prefix();
    let all = server.client().await.get("/outrigger/apps/", Some(below)).await.expect("read");
    all.kvs().iter().map(|pair| pair.key_str().expect("text").to_owned()).collect()
}

/// Long enough for a beat to be missed and for another to come in time.
const SLOW: Duration = Duration::from_secs(12);

#[tokio::test]
async fn one_beat_without_an_answer_does_not_end_the_lease() {
    let Some(server) = Server::started() else { return };
    let orders = registry(&server);
    announce_for(SLOW, &orders, "orders", "10.0.0.1:1").await;
    becomes(&orders, "orders", &["10.0.0.1:1"]).await;
    let before = keys(&server).await;
    // The beat at a third of the time gets no answer, and the next one gets it late.
    server.pause();
    tokio::time::sleep(SLOW * 7 / 10).await;
    server.go_on();
    tokio::time::sleep(SLOW / 2).await;
    assert_eq!(keys(&server).await, before);
}

#[tokio::test]
async fn a_member_that_falls_silent_is_left_before_the_lease_ends() {
    let Some(mut members) = Server::cluster::<3>() else { return };
    members.iter_mut().for_each(Server::start);
    let urls: Vec<_> = members.iter().map(Server::url).collect();
    let config = EtcdConfig { endpoints: urls.join(";").as_str().into(), ..EtcdConfig::default() };
    let orders = EtcdRegistry::start(&config).expect("valid");
    announce_for(SLOW, &orders, "orders", "10.0.0.1:1").await;
    becomes(&orders, "orders", &["10.0.0.1:1"]).await;
    let before = keys(&members[1]).await;
    members[0].pause();
    tokio::time::sleep(SLOW + LATE).await;
    assert_eq!(keys(&members[1]).await, before);
}

#[tokio::test]
async fn a_member_that_lost_the_others_is_not_believed() {
    let Some(mut members) = Server::cluster::<3>() else { return };
    members.iter_mut().for_each(Server::start);
    let seeing = registry(&members[0]);
    becomes(&seeing, "orders", &[]).await;
    members[1].pause();
    members[2].pause();
    let begun = Instant::now();
    while let Ok(found) = seeing.find("orders").await {
        assert!(found.is_empty() && begun.elapsed() < SOON, "believed: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let unknown = seeing.find("orders").await.expect_err("it may have come since");
    assert_eq!(unknown.kind(), ErrorKind::Unavailable, "{unknown}");
    members.iter().skip(1).for_each(Server::go_on);
    becomes(&seeing, "orders", &[]).await;
}

#[tokio::test]
async fn an_entry_that_outlives_its_sidecar_is_found_out() {
    let Some(server) = Server::started() else { return };
    let seeing = registry(&server);
    let on_no_lease = server.client().await.put("/outrigger/apps/orders/1", "10.0.0.9:1", None).await;
    on_no_lease.expect("written");
    becomes(&seeing, "orders", &["10.0.0.9:1"]).await;
    is_gone_within(LATE, &seeing, "orders").await.expect_err("nothing ends it");
}

#[tokio::test]
async fn what_etcd_has_forgotten_is_told_again() {
    let Some(server) = Server::started() else { return };
    let (seeing, orders) = (registry(&server), registry(&server));
    announce(&orders, "orders", "10.0.0.1:1").await;
    becomes(&seeing, "orders", &["10.0.0.1:1"]).await;
    let mut client = server.client().await;
    let leases = client.leases().await.expect("listed");
    for lease in leases.leases() {
        client.lease_revoke(lease.id()).await.expect("ended");
    }
    becomes(&seeing, "orders", &[]).await;
    becomes(&seeing, "orders", &["10.0.0.1:1"]).await;
}

#[tokio::test]
async fn a_server_that_comes_later_is_told() {
    let Some(mut server) = Server::new() else { return };
    let (seeing, orders) = (registry(&server), registry(&server));
    announce(&orders, "orders", "10.0.0.1:1").await;
    refused_in_time(seeing.find("orders")).await.expect("down");
    server.start();
    becomes(&seeing, "orders", &["10.0.0.1:1"]).await;
}
