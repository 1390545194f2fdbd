//! Messages that come from a client and a backend over HTTP/1: what is on the wire when a filter has had its say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_cluster::{Cluster, Clusters, Context, SendOptions};
use outrigger_http::chain::Module;
use outrigger_http::{Handler, Request, Response, ServerConfig, serve};
use outrigger_net::{Accepted, Address, ConnInfo, Drain, Peer, Stream};
use outrigger_resilience::RetryPolicy;
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::guest::filter;
use crate::rig::{Rig, within};

/// Sends what comes to a cluster, and once more when that fails, past one filter.
struct Proxy {
    module: Arc<dyn Module>,
    cluster: Arc<Cluster>,
    retry: RetryPolicy,
}

impl Handler for Proxy {
    async fn handle(&self, mut request: Request) -> Response {
        let mut visit = self.module.visit(&"route".into());
        let how = SendOptions { retry: Some(&self.retry), ..SendOptions::default() };
        let mut response = match visit.request(&mut request).taken().await {
            Some(response) => response,
            None => match self.cluster.send(request, &how).await {
                Ok(response) => response,
                Err(error) => Response::status(error.kind.status()),
            },
        };
        visit.response(&mut response).taken().await;
        response
    }
}

/// Two endpoints with one script: each request is read up to `end`, kept, and answered by the next of the answers.
struct Backend {
    end: &'static str,
    answers: &'static [&'static str],
    asked: AtomicUsize,
    heard: Mutex<Vec<String>>,
}

impl Backend {
    fn new(end: &'static str, answers: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self { end, answers, asked: AtomicUsize::new(0), heard: Mutex::default() })
    }

    async fn listen(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, this) = (listener.local_addr().unwrap(), Arc::clone(self));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                this.answer(stream).await;
            }
        });
        address
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut text = String::new();
        let mut piece = [0; 4096];
        while !text.ends_with(self.end) {
            match stream.read(&mut piece).await {
                Ok(read @ 1..) => text.push_str(std::str::from_utf8(&piece[..read]).unwrap()),
                _ => break,
            }
        }
        self.heard.lock().push(text);
        let next = self.asked.fetch_add(1, Ordering::Relaxed);
        stream.write_all(self.answers[next].as_bytes()).await.unwrap();
    }
}

/// What a client is told that says this to a proxy with this filter, which closes after that.
async fn exchange(code: &str, backend: &Arc<Backend>, request: &str) -> String {
    let rig = Rig::with(&filter(code), json!({})).await;
    let endpoints = [backend.listen().await, backend.listen().await];
    let clusters = Clusters::empty(Context::new(Metrics::new(), Handle::current()));
    let config = serde_json::from_value(json!({ "c": { "endpoints": endpoints } })).unwrap();
    let clusters = Clusters::compile(&config, &clusters).unwrap();
    clusters.activate();
    let proxy = Proxy {
        module: Arc::clone(&rig.plugins.modules()["p"]),
        cluster: Arc::clone(clusters.get("c").unwrap()),
        retry: serde_json::from_value(json!({ "attempts": 1, "on": ["gateway_error"] })).unwrap(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let info = ConnInfo {
        id: 1,
        local: Address::Tcp(listener.local_addr().unwrap()),
        peer: Peer::Tcp(peer),
        tls: None,
        listener: "test".into(),
    };
    let drain = Drain::new();
    let conn = Accepted {
        stream: Stream::Tcp(stream),
        info: Arc::new(info),
        drain: drain.watch(),
        floods: Arc::default(),
    };
    let serving = tokio::spawn(serve(conn, Arc::new(proxy), Arc::new(ServerConfig::default())));
    client.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    within(client.read_to_string(&mut told)).await.unwrap();
    within(serving).await.unwrap();
    assert_eq!(rig.crashes(), 0);
    told
}

/// Looks at a body and leaves it as it is.
const LOOKS: &str =
    r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))"#;

#[tokio::test]
async fn a_body_that_is_sent_again_keeps_its_length() {
    let backend = Backend::new(
        "0123456789",
        &[
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ],
    );
    let request = "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n0123456789";
    let told = exchange(LOOKS, &backend, request).await;
    assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with("\r\n\r\nok"), "{told}");
    let heard = backend.heard.lock();
    assert_eq!(heard.len(), 2);
    for heard in &*heard {
        assert!(heard.contains("content-length: 10\r\n") && heard.ends_with("\r\n\r\n0123456789"), "{heard}");
    }
}

/// Puts a trailer after each piece of a body it is shown.
const SUMS: &str = r#"
    (func (export "proxy_on_SIDE_body") (param i32 i32 i32) (result i32)
      (call $ok (call $replace (i32.const MAP) @"x-sum" @"1"))
      (i32.const 0))"#;

const CHUNKED: &str = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n";

#[tokio::test]
async fn trailers_a_filter_adds_early_come_after_the_whole_response() {
    let code = SUMS.replace("SIDE", "response").replace("MAP", "3");
    for (theirs, all) in
        [("\r\n", "x-sum: 1\r\n\r\n"), ("x-peer: 2\r\n\r\n", "x-peer: 2\r\nx-sum: 1\r\n\r\n")]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{CHUNKED}{theirs}").leak();
        let backend = Backend::new("\r\n\r\n", vec![&*answer].leak());
        let told = exchange(&code, &backend, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(told.ends_with(&format!("\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n{all}")), "{told}");
    }
}

#[tokio::test]
async fn trailers_a_filter_adds_early_come_after_the_whole_request() {
    let code = SUMS.replace("SIDE", "request").replace("MAP", "1");
    let backend = Backend::new("x-sum: 1\r\n\r\n", &["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
    let request = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{CHUNKED}\r\n");
    let told = exchange(&code, &backend, &request).await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    let heard = &backend.heard.lock()[0];
    assert!(heard.ends_with("\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\nx-sum: 1\r\n\r\n"), "{heard}");
}
