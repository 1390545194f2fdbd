//! A server that is not there yet, dies, or stands still.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use outrigger_component_api::{
    Component as _, ErrorKind, GetOptions, Key, LockStore as _, NextOptions, Sequencer as _, SetOptions,
    StateStore as _,
};
use outrigger_etcd::{EtcdConfig, EtcdLock, EtcdSequencer, EtcdState};

use crate::server::Server;
use crate::verdict::{recovers, refused_in_time};

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let Some(mut server) = Server::new() else { return };
    let store = EtcdState::new(&server.config()).expect("built without a server");
    let lock = EtcdLock::new(&server.config()).expect("built without a server");
    let read = async || store.get(&key("k"), GetOptions::default()).await;
    refused_in_time(read()).await.expect("down");
    refused_in_time(store.ping()).await.expect("down");
    refused_in_time(lock.try_lock(&key("k"), "a", Duration::from_secs(5))).await.expect("down");
    server.start();
    recovers(&read).await.expect("up");
    recovers(async || lock.try_lock(&key("k"), "a", Duration::from_secs(5)).await)
        .await
        .expect("up")
        .expect("free");
}

#[tokio::test]
async fn a_killed_server_is_missed_and_found_again() {
    let Some(mut server) = Server::started() else { return };
    let store = EtcdState::new(&server.config()).expect("valid");
    let sequencer = EtcdSequencer::new(&server.config()).expect("valid");
    let read = async || store.get(&key("k"), GetOptions::default()).await;
    recovers(async || store.set(&key("k"), "kept".into(), SetOptions::default()).await).await.expect("up");
    let mut last = sequencer.next(&key("n"), NextOptions::default()).await.expect("up");
    for _ in 0..3 {
        server.kill();
        refused_in_time(read()).await.expect("killed");
        server.start();
        let entry = recovers(&read).await.expect("back").expect("kept");
        assert_eq!(&entry.value[..], b"kept");
        let next =
            recovers(async || sequencer.next(&key("n"), NextOptions::default()).await).await.expect("back");
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_not_waited_for_and_goes_on() {
    let Some(server) = Server::started() else { return };
    let store = EtcdState::new(&server.config()).expect("valid");
    let read = async || store.get(&key("k"), GetOptions::default()).await;
    recovers(&read).await.expect("up");
    server.pause();
    let waited = tokio::time::timeout(Duration::from_millis(500), read()).await;
    waited.expect_err("the deadline of the call ends it");
    server.go_on();
    recovers(&read).await.expect("on");
}

#[tokio::test]
async fn a_member_that_is_gone_is_passed_over() {
    let Some(mut server) = Server::started() else { return };
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let endpoints = format!("http://{nobody};{}", server.url()).as_str().into();
    let store = EtcdState::new(&EtcdConfig { endpoints, ..EtcdConfig::default() }).expect("valid");
    let read = async || store.get(&key("k"), GetOptions::default()).await;
    recovers(&read).await.expect("the second one serves");
    server.kill();
    refused_in_time(read()).await.expect("both are gone");
    server.start();
    recovers(&read).await.expect("the second one again");
}

/// Longer than what holds without, so that a busy machine proves nothing it should not.
#[tokio::test]
async fn connecting_takes_as_long_as_told() {
    if Server::new().is_none() {
        return;
    }
    // Takes connections and says nothing, so that TLS waits.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let authority = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).expect("made");
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.cert.pem()).expect("written");
    let config = EtcdConfig {
        endpoints: format!("https://{}", silent.local_addr().expect("bound")).as_str().into(),
        dial_timeout: Some(Duration::from_secs(7)),
        tls_ca: Some(ca),
        ..EtcdConfig::default()
    };
    let begun = Instant::now();
    let store = EtcdState::new(&config).expect("valid");
    let ping = tokio::time::timeout(Duration::from_secs(60), store.ping());
    let error = ping.await.expect("ended").expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("dialTimeout"), "{error}");
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_value_larger_than_the_cluster_takes_is_refused_as_such() {
    let Some(server) = Server::started() else { return };
    let store = EtcdState::new(&server.config()).expect("valid");
    recovers(async || store.ping().await).await.expect("up");
    let big = vec![0; 2 << 20].into();
    let error = store.set(&key("big"), big, SetOptions::default()).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    store.get(&key("big"), GetOptions::default()).await.expect("the connection is as good as before");
}
