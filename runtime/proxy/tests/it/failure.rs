//! Backends that fail, and clients that go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy};
use crate::ports::reserved;

fn start(endpoints: Value, route: Value) -> Proxy {
    let mut route = route;
    route["backends"] = json!([{ "cluster": "c" }]);
    Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0" } },
        "routes": { "all": route },
        "clusters": { "c": { "endpoints": endpoints, "balance": "round_robin" } },
    }))
}

#[test]
fn all_backends_down_is_said_at_once() {
    let proxy = start(json!([reserved(), reserved()]), json!({}));
    let mut client = Client::connect(proxy.web());
    let mut fastest = PATIENCE;
    for _ in 0..20 {
        let started = Instant::now();
        let reply = client.get("/", "");
        fastest = fastest.min(started.elapsed());
        assert_eq!(reply.status, 503);
        assert!(["connect_failed", "no_healthy_endpoint"].contains(&reply.refusal().1), "{reply:?}");
    }
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}

#[test]
fn a_backend_that_speaks_nonsense_is_a_bad_gateway() {
    let backend = Backend::start(|peer| {
        peer.head();
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx").unwrap();
    });
    let proxy = Proxy::to(backend.address);
    assert_eq!(Client::connect(proxy.web()).get("/", "").refusal(), (502, "upstream_protocol"));
}

#[test]
fn a_lost_connection_is_retried_elsewhere() {
    let hangs_up = Backend::start(|peer| drop(peer.head()));
    let good = Backend::saying("ok");
    let endpoints = json!([hangs_up.address, good.address]);
    let retry = json!({ "retry": { "attempts": 1, "on": ["reset"] } });
    let proxy = start(endpoints.clone(), retry);
    let mut client = Client::connect(proxy.web());
    for _ in 0..10 {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert!(hangs_up.requests() > 0, "some attempts did fail");
    // Without the policy they would have shown.
    let proxy = start(endpoints, json!({}));
    let mut client = Client::connect(proxy.web());
    assert!((0..10).any(|_| client.get("/", "").status == 503));
}

#[test]
fn gateway_errors_are_retried_only_when_asked() {
    let failing = Backend::http(|_, _| b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec());
    let good = Backend::http(|_, body| ok(&body.len().to_string()));
    let endpoints = json!([failing.address, good.address]);
    let proxy = start(endpoints, json!({ "retry": { "attempts": 1, "on": ["gateway_error"] } }));
    let mut client = Client::connect(proxy.web());
    // Whose turn it is is left to chance.
    for attempt in 0..20 {
        if attempt >= 4 && failing.requests() > 0 {
            break;
        }
        let reply = client.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").reply();
        assert_eq!((reply.status, reply.text()), (200, "5"), "the body went out again");
    }
    assert!(failing.requests() > 0);
}

#[test]
fn a_client_that_goes_takes_its_request_along() {
    // Before the response head, and in the middle of the body.
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"] {
        let (sender, closed) = mpsc::channel();
        let backend = Backend::start(move |peer| {
            peer.head();
            peer.write(answer.as_bytes()).unwrap();
            sender.send(None).unwrap();
            peer.wait_closed();
            sender.send(Some(Instant::now())).unwrap();
        });
        let proxy = Proxy::to(backend.address);
        let mut client = Client::connect(proxy.web());
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(closed.recv_timeout(PATIENCE).unwrap(), None);
        if !answer.is_empty() {
            assert_eq!(client.reply_head().status, 200);
        }
        let left = Instant::now();
        drop(client);
        let noticed = closed.recv_timeout(PATIENCE).unwrap().unwrap();
        // No time-out has ended it.
        assert!(noticed.duration_since(left) < PATIENCE / 2, "{:?}", noticed.duration_since(left));
    }
}

#[test]
fn a_response_cut_short_is_not_passed_off_as_whole() {
    let backend = Backend::start(|peer| {
        peer.head();
        peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").unwrap();
    });
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut rest = Vec::new();
    // A reset is as good as an end, and so is no response at all.
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_panic_costs_nobody_else() {
    // Nothing of ours should panic on any input; the connection next door keeps working while a client misbehaves.
    let seen = Arc::new(AtomicBool::new(false));
    let marked = Arc::clone(&seen);
    let backend = Backend::http(move |_, _| {
        marked.store(true, Ordering::SeqCst);
        ok("ok")
    });
    let proxy = Proxy::to(backend.address);
    let mut good = Client::connect(proxy.web());
    for garbage in [
        "\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX",
    ] {
        Client::connect(proxy.web()).write(garbage);
        assert_eq!(good.get("/", "").status, 200);
    }
    assert!(seen.load(Ordering::SeqCst));
}
