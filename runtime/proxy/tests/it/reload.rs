//! Changes of configuration while traffic flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::{Proxy, until};
use crate::ports::reserved;

fn with_web(listener: Value, backend: &Backend) -> Value {
    let mut config = config(json!(null), "", 0, backend);
    config["listeners"]["web"] = listener;
    config
}

fn config(web: Value, text: &str, extra: usize, backend: &Backend) -> Value {
    let mut routes = json!({
        "all": { "backends": [{ "cluster": "c" }] },
        "version": { "match": [{ "path": { "exact": "/version" } }], "respond": { "body": text } },
    });
    for i in 0..extra {
        routes[format!("extra-{i}")] = json!({ "hosts": [format!("h{i}.example")], "respond": {} });
    }
    json!({
        "listeners": { "web": { "address": web } },
        "routes": routes,
        "clusters": { "c": { "endpoints": [backend.address] } },
    })
}

#[test]
fn no_request_is_lost_while_routes_come_and_go() {
    let backend = Backend::saying("ok");
    let web = json!(reserved());
    let mut proxy = Proxy::start(config(web.clone(), "0", 0, &backend));
    let address = proxy.web();
    let (done, failed, served) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (done, failed, served) = (Arc::clone(&done), Arc::clone(&failed), Arc::clone(&served));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !done.load(Ordering::SeqCst) {
                    let counter = if client.get("/", "").status == 200 { &served } else { &failed };
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 1..=50 {
        let version = round.to_string();
        until("traffic flows", || served.load(Ordering::SeqCst) + failed.load(Ordering::SeqCst) >= round * 4);
        proxy.apply(config(web.clone(), &version, round % 7, &backend)).unwrap();
        assert_eq!(Client::connect(address).get("/version", "").text(), version, "the new table is in force");
    }
    done.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    assert!(served.load(Ordering::SeqCst) >= 200, "{served:?}");
}

#[test]
fn a_new_table_holds_for_connections_that_live() {
    let backend = Backend::saying("ok");
    let web = json!(reserved());
    let mut proxy = Proxy::start(config(web.clone(), "1", 0, &backend));
    let mut client = Client::connect(proxy.web());
    assert_eq!(client.get("/version", "").text(), "1");
    proxy.apply(config(web, "2", 0, &backend)).unwrap();
    assert_eq!(client.get("/version", "").text(), "2");
}

#[test]
fn listeners_come_and_go_without_the_others_noticing() {
    let backend = Backend::saying("ok");
    let (web, other) = (reserved(), reserved());
    let with = |names: &[(&str, Value)]| {
        let mut config = config(json!(web), "1", 0, &backend);
        for (name, listener) in names {
            config["listeners"][name] = listener.clone();
        }
        config
    };
    let mut proxy = Proxy::start(with(&[]));
    let mut client = Client::connect(proxy.web());
    assert_eq!(client.get("/", "").status, 200);
    assert!(std::net::TcpStream::connect(other).is_err());
    proxy.apply(with(&[("second", json!({ "address": other }))])).unwrap();
    assert_eq!(Client::connect(other).get("/", "").status, 200);
    // The same address under another name and another protocol.
    let tcp = json!({ "address": other, "protocol": "tcp", "cluster": "c" });
    proxy.apply(with(&[("renamed", tcp)])).unwrap();
    assert_eq!(Client::connect(other).get("/version", "").text(), "ok", "bytes go to the cluster now");
    proxy.apply(with(&[])).unwrap();
    assert!(std::net::TcpStream::connect(other).is_err());
    assert_eq!(client.get("/", "").status, 200, "the connection to the first listener lived through it all");
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let backend = Backend::saying("ok");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = json!(reserved());
    let mut proxy = Proxy::start(config(web.clone(), "1", 0, &backend));
    let mut next = config(web.clone(), "2", 0, &backend);
    next["listeners"]["second"] = json!({ "address": taken.local_addr().unwrap() });
    let error = proxy.apply(next).unwrap_err();
    assert!(error.contains("listeners.second.address") && error.contains("another process"), "{error}");
    assert_eq!(Client::connect(proxy.web()).get("/version", "").text(), "1");
}

#[test]
fn an_address_is_shared_where_both_sides_say_so() {
    let backend = Backend::saying("ok");
    let listener = json!({ "address": "127.0.0.1:0", "reuse_port": true });
    let one = Proxy::start(with_web(listener, &backend));
    let same = |reuse| json!({ "address": one.web(), "reuse_port": reuse });
    let other = Proxy::start(with_web(same(true), &backend));
    assert_eq!(Client::connect(other.web()).get("/", "").status, 200);
    let mut third = Proxy::start(with_web(json!({ "address": "127.0.0.1:0" }), &backend));
    let error = third.apply(with_web(same(false), &backend)).unwrap_err();
    assert!(error.contains("listeners.web.address"), "{error}");
}
