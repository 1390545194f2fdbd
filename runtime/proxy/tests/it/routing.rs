//! What routes do, seen from both sides.

use std::time::Duration;

use serde_json::json;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::harness::Proxy;

#[test]
fn routes_match_and_change_requests() {
    let backend = Backend::http(|head, _| {
        ok(&format!("{}|{:?}|{:?}|{:?}", head.line, head.get("host"), head.get("x-set"), head.get("x-gone")))
    });
    let proxy = Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0" } },
        "routes": {
            "api": {
                "match": [{ "path": { "prefix": "/v1" } }],
                "rewrite": { "prefix": "/api", "host": "inner.example" },
                "filters": { "headers": { "request": { "set": { "x-set": "1" }, "remove": ["x-gone"] },
                             "response": { "set": { "x-served-by": "outrigger" } } } },
                "backends": [{ "cluster": "c" }],
            },
            "old": { "match": [{ "path": { "prefix": "/old" } }], "redirect": { "status": 301, "prefix": "/new" } },
            "ping": { "match": [{ "path": { "exact": "/ping" } }],
                      "respond": { "status": 203, "body": "pong", "headers": { "x-a": "b" } } },
        },
        "clusters": { "c": { "endpoints": [backend.address] } },
    }));
    let mut client = Client::connect(proxy.web());
    let reply = client.get("/v1/users?q=1", "X-Gone: x\r\n");
    assert_eq!(reply.text(), r#"GET /api/users?q=1 HTTP/1.1|Some("inner.example")|Some("1")|None"#);
    assert_eq!(reply.get("x-served-by"), Some("outrigger"));
    let reply = client.get("/old/page?q=1", "");
    assert_eq!((reply.status, reply.get("location")), (301, Some("http://shop.example/new/page?q=1")));
    let reply = client.get("/ping", "");
    assert_eq!((reply.status, reply.text(), reply.get("x-a")), (203, "pong", Some("b")));
    assert_eq!(client.get("/elsewhere", "").refusal(), (404, "no_route"));
    assert_eq!(backend.requests(), 1);
    assert_eq!(proxy.metric(r#"outrigger_http_requests_total{route="api",class="2xx"}"#), 1.0);
    assert_eq!(proxy.metric(r#"outrigger_http_requests_total{route="none",class="4xx"}"#), 1.0);
}

#[test]
fn weights_are_kept() {
    let (a, b) = (Backend::saying("a"), Backend::saying("b"));
    let proxy = Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0" } },
        "routes": { "all": { "backends": [{ "cluster": "a", "weight": 90 }, { "cluster": "b", "weight": 10 }] } },
        "clusters": { "a": { "endpoints": [a.address] }, "b": { "endpoints": [b.address] } },
    }));
    let mut client = Client::connect(proxy.web());
    for _ in 0..2_000 {
        client.get("/", "");
    }
    assert_eq!(a.requests() + b.requests(), 2_000);
    // Five standard deviations around 200.
    assert!((133..=267).contains(&b.requests()), "{}", b.requests());
}

#[test]
fn a_request_sent_in_a_circle_ends() {
    let own = crate::ports::reserved();
    let proxy = Proxy::start(json!({
        "listeners": { "web": { "address": own } },
        "routes": { "all": { "backends": [{ "cluster": "self" }] } },
        "clusters": { "self": { "endpoints": [own] } },
    }));
    assert_eq!(Client::connect(proxy.web()).get("/", "").refusal(), (508, "loop"));
}

#[test]
fn connect_and_h2c_upgrades_go_no_further() {
    let backend =
        Backend::http(|head, _| ok(&format!("{:?} {:?}", head.get("upgrade"), head.get("http2-settings"))));
    let proxy = Proxy::to(backend.address);
    let reply = Client::connect(proxy.web())
        .write("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
        .reply();
    assert_eq!(reply.refusal(), (405, "connect_not_supported"));
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(Client::connect(proxy.web()).get("/", upgrade).text(), "None None");
}

#[test]
fn timeouts_are_answered_with_504() {
    let backend = Backend::start(|peer| {
        peer.head();
        peer.wait_closed();
    });
    let proxy = Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0" } },
        "routes": { "all": { "timeout": "100ms", "backends": [{ "cluster": "c" }] } },
        "clusters": { "c": { "endpoints": [backend.address] } },
    }));
    let started = std::time::Instant::now();
    assert_eq!(Client::connect(proxy.web()).get("/", "").refusal(), (504, "timeout"));
    assert!(started.elapsed() >= Duration::from_millis(100));
    // A slow upload is not the backend's fault, and the time for the answer begins after it.
    let mut client = Client::connect(proxy.web());
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    let mut uploaded = started;
    for byte in ["a", "b", "c"] {
        std::thread::sleep(Duration::from_millis(80));
        // Before it is written: the proxy may have read it before this thread goes on.
        uploaded = std::time::Instant::now();
        client.write(byte);
    }
    assert_eq!(client.reply().refusal(), (504, "timeout"));
    assert!(uploaded.elapsed() >= Duration::from_millis(90), "{:?}", uploaded.elapsed());
}

#[test]
fn filters_answer_before_any_backend_and_their_state_survives_a_reload() {
    let backend = Backend::saying("ok");
    let config = |body: &str| {
        json!({
            "listeners": { "web": { "address": "127.0.0.1:0" } },
            "routes": {
                "all": { "filters": { "rate_limit": { "capacity": 2, "refill_per_second": 0.001 } },
                         "backends": [{ "cluster": "c" }] },
                "changing": { "match": [{ "path": { "exact": "/x" } }], "respond": { "body": body } },
            },
            "clusters": { "c": { "endpoints": [backend.address] } },
        })
    };
    let mut proxy = Proxy::start(config("1"));
    let mut client = Client::connect(proxy.web());
    assert_eq!(client.get("/", "").status, 200);
    proxy.apply(config("2")).unwrap();
    let mut client = Client::connect(proxy.web());
    assert_eq!(client.get("/x", "").text(), "2");
    assert_eq!(
        [client.get("/", "").status, client.get("/", "").status],
        [200, 429],
        "the bucket was half empty"
    );
    assert_eq!(backend.requests(), 2);
}
