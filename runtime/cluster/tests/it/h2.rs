//! HTTP/2 to endpoints: shared connections, refusals, GOAWAY and cancellation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use http::{Method, Response, StatusCode};
use outrigger_cluster::{Cluster, SendOptions};
use outrigger_http::Body;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{compile, request, retry, status, the, until, within};

/// What to do with a request, by its number.
#[derive(Clone, Copy)]
enum Reply {
    /// 200 with a body and trailers, after a while.
    Ok(Duration),
    Reset(Reason),
    Hang,
    /// 200 to this one, and GOAWAY to the connection.
    GoAway,
    /// A gRPC health answer.
    Health(u8),
    /// A gRPC answer without messages.
    GrpcStatus(&'static str),
}

struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn new(max_streams: u32, script: impl Fn(usize) -> Reply + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), Arc::<Counts>::default());
        let task = tokio::spawn({
            let counts = Arc::clone(&counts);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    counts.connections.fetch_add(1, SeqCst);
                    tokio::spawn(serve(stream, max_streams, script.clone(), Arc::clone(&counts)));
                }
            }
        });
        Self { address, counts, task }
    }

    fn requests(&self) -> usize {
        self.counts.requests.load(SeqCst)
    }

    fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }
}

async fn serve(stream: TcpStream, max_streams: u32, script: impl Fn(usize) -> Reply, counts: Arc<Counts>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(max_streams);
    let mut connection: Connection<TcpStream, Bytes> = builder.handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let reply = script(counts.requests.fetch_add(1, SeqCst));
        match reply {
            Reply::Reset(reason) => respond.send_reset(reason),
            Reply::GoAway => {
                connection.graceful_shutdown();
                tokio::spawn(answer(respond, Duration::ZERO, b"bye".to_vec()));
            }
            Reply::Ok(wait) => drop(tokio::spawn(answer(respond, wait, b"ok".to_vec()))),
            Reply::Health(code) => {
                drop(tokio::spawn(answer(respond, Duration::ZERO, vec![0, 0, 0, 0, 2, 8, code])))
            }
            Reply::GrpcStatus(code) => {
                let head = Response::builder().header("grpc-status", code).body(()).unwrap();
                respond.send_response(head, true).unwrap();
            }
            Reply::Hang => {
                let counts = Arc::clone(&counts);
                tokio::spawn(async move {
                    let gone = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    assert_eq!(gone.unwrap(), Reason::CANCEL);
                    counts.cancelled.fetch_add(1, SeqCst);
                    drop(request);
                });
            }
        }
    }
}

async fn answer(mut respond: SendResponse<Bytes>, wait: Duration, body: Vec<u8>) {
    tokio::time::sleep(wait).await;
    let head = Response::builder().status(StatusCode::OK).body(()).unwrap();
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    let _ = stream.send_data(body.into(), false);
    let _ = stream.send_trailers(http::HeaderMap::new());
}

async fn at_once(cluster: &Arc<Cluster>, count: usize) {
    let send = |cluster: Arc<Cluster>| tokio::spawn(async move { status(&cluster, None).await });
    let all: Vec<_> = (0..count).map(|_| send(Arc::clone(cluster))).collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(200));
    }
}

fn http2(address: SocketAddr) -> serde_json::Value {
    json!({ "endpoints": [address.to_string()], "protocol": "http2" })
}

#[tokio::test]
async fn requests_share_a_connection() {
    let server = Server::new(100, |_| Reply::Ok(Duration::from_millis(20))).await;
    let cluster = the(&compile(http2(server.address)));
    at_once(&cluster, 50).await;
    at_once(&cluster, 50).await;
    assert_eq!((server.connections(), server.requests()), (1, 100));
    let status = cluster.snapshot();
    assert_eq!((status.connections, status.requests, status.endpoints[0].active), (1, 0, 0));
}

#[tokio::test]
async fn another_connection_is_opened_at_the_peers_limit() {
    let server = Server::new(4, |_| Reply::Ok(Duration::from_millis(50))).await;
    let cluster = the(&compile(http2(server.address)));
    // The first request brings the peer's settings, and the second notices.
    for _ in 0..2 {
        assert_eq!(status(&cluster, None).await, Ok(200));
    }
    at_once(&cluster, 10).await;
    assert!(server.connections() >= 2, "{}", server.connections());
    assert!(server.requests() >= 12);
}

#[tokio::test]
async fn a_refused_stream_is_retried_when_asked_for() {
    let server = Server::new(100, |number| match number % 2 {
        0 => Reply::Reset(Reason::REFUSED_STREAM),
        _ => Reply::Ok(Duration::ZERO),
    });
    let server = server.await;
    let cluster = the(&compile(http2(server.address)));
    let policy = retry(json!({ "attempts": 1, "on": ["refused_stream"] }));
    assert_eq!(
        status(&cluster, None).await,
        Ok(200),
        "the peer's limit was not known yet, so this one is on us"
    );
    for _ in 0..3 {
        assert_eq!(status(&cluster, Some(&policy)).await, Ok(200));
    }
    assert_eq!(status(&cluster, None).await, Err("upstream_refused"));
    assert_eq!(server.connections(), 1, "a refused stream is no reason to close");
}

#[tokio::test]
async fn a_reset_is_the_upstreams_fault() {
    let server = Server::new(100, |_| Reply::Reset(Reason::INTERNAL_ERROR)).await;
    let cluster = the(&compile(http2(server.address)));
    assert_eq!(status(&cluster, None).await, Err("upstream_reset"));
}

#[tokio::test]
async fn goaway_costs_no_request() {
    let server = Server::new(100, |number| match number % 5 {
        4 => Reply::GoAway,
        _ => Reply::Ok(Duration::from_millis(1)),
    });
    let server = server.await;
    let cluster = the(&compile(http2(server.address)));
    for _ in 0..40 {
        assert_eq!(status(&cluster, None).await, Ok(200));
    }
    assert!(server.connections() >= 8, "the planted GOAWAYs closed connections: {}", server.connections());
    until("the old connections to close", || cluster.snapshot().connections <= 1).await;
}

#[tokio::test]
async fn a_cancelled_request_resets_its_stream_only() {
    let server =
        Server::new(100, |number| if number == 0 { Reply::Hang } else { Reply::Ok(Duration::ZERO) }).await;
    let cluster = the(&compile(http2(server.address)));
    let how = SendOptions { deadline: within(Duration::from_secs(60)), retry: None };
    let sending = cluster.send(request(Method::GET, Body::empty()), &how);
    // The end of the wait cancels the request.
    tokio::select! {
        _answered = sending => panic!("it hangs"),
        () = until("the request", || server.requests() == 1) => {}
    }
    until("the reset", || server.counts.cancelled.load(SeqCst) == 1).await;
    assert_eq!(status(&cluster, None).await, Ok(200));
    assert_eq!((server.connections(), cluster.snapshot().requests), (1, 0));
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let server = Server::new(100, |_| Reply::Ok(Duration::ZERO)).await;
    let mut json = http2(server.address);
    json["pool"] = json!({ "idle_timeout": "500ms" });
    let cluster = the(&compile(json));
    assert_eq!(status(&cluster, None).await, Ok(200));
    assert_eq!(cluster.snapshot().connections, 1);
    until("the reaping", || cluster.snapshot().connections == 0).await;
    assert_eq!(status(&cluster, None).await, Ok(200));
}

#[tokio::test]
async fn grpc_health_decides() {
    let code = Arc::new(AtomicUsize::new(2));
    let script = {
        let code = Arc::clone(&code);
        move |_| Reply::Health(code.load(SeqCst) as u8)
    };
    let server = Server::new(100, script).await;
    let mut json = http2(server.address);
    json["health"] = json!({ "active": {
        "type": "grpc", "service": "shop", "interval": "20ms", "healthy": 1, "unhealthy": 1,
    } });
    let clusters = compile(json);
    let cluster = the(&clusters);
    until("the failing check", || cluster.snapshot().usable == 0).await;
    code.store(1, SeqCst);
    until("the passing check", || cluster.snapshot().usable == 1).await;
}

#[tokio::test]
async fn unavailable_counts_against_the_endpoint_and_can_be_retried() {
    let bad = Server::new(100, |_| Reply::GrpcStatus("14")).await;
    let good = Server::new(100, |_| Reply::Ok(Duration::ZERO)).await;
    let endpoints = json!([bad.address.to_string(), good.address.to_string()]);
    let json = json!({ "endpoints": endpoints, "protocol": "http2", "balance": "round_robin" });
    let cluster = the(&compile(json));
    let policy = retry(json!({ "attempts": 1, "on": [], "grpc": [14] }));
    for _ in 0..20 {
        let how = SendOptions { deadline: within(Duration::from_secs(5)), retry: Some(&policy) };
        let response = cluster.send(request(Method::POST, Body::full("m")), &how).await.unwrap();
        assert!(!response.head.headers.contains(&http::HeaderName::from_static("grpc-status")));
    }
    assert_eq!(bad.requests(), 5, "five in a row ejected it");
}

/// Frames as they come, from a server that answers the first request and then nothing, not even a PING.
struct Mute {
    address: SocketAddr,
    pings: Arc<AtomicUsize>,
}

impl Mute {
    async fn start() -> Self {
        const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
        const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        /// `:status: 200`, END_HEADERS and END_STREAM.
        const OK: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, pings) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&pings);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; PREFACE]).await.unwrap();
            stream.write_all(&SETTINGS).await.unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
                match (head[3], head[8]) {
                    (1, 1) => stream.write_all(&OK).await.unwrap(),
                    (6, _) => drop(counted.fetch_add(1, SeqCst)),
                    _ => {}
                }
            }
        });
        Self { address, pings }
    }

    fn cluster(&self, ping_interval: &str) -> Arc<Cluster> {
        let mut json = http2(self.address);
        json["pool"] = json!({ "ping_interval": ping_interval });
        the(&compile(json))
    }

    async fn get(cluster: &Cluster, deadline: Duration) -> Result<u16, &'static str> {
        let how = SendOptions { deadline: within(deadline), retry: None };
        let response = cluster.send(request(Method::GET, Body::empty()), &how).await;
        response.map(|response| response.head.status.as_u16()).map_err(|error| error.kind.reason())
    }
}

#[tokio::test]
async fn a_connection_whose_endpoint_is_gone_is_found_out() {
    let long = Duration::from_secs(20);
    let server = Mute::start().await;
    let cluster = server.cluster("1s");
    assert_eq!(Mute::get(&cluster, long).await, Ok(200));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(server.pings.load(SeqCst), 0, "nobody waits for anything");
    assert_eq!(Mute::get(&cluster, long).await, Err("upstream_reset"));
    assert_eq!(server.pings.load(SeqCst), 1);

    // Without asking, only the deadline ends the wait.
    let server = Mute::start().await;
    let cluster = server.cluster("0s");
    assert_eq!(Mute::get(&cluster, long).await, Ok(200));
    assert_eq!(Mute::get(&cluster, Duration::from_secs(2)).await, Err("timeout"));
    assert_eq!(server.pings.load(SeqCst), 0);
}

#[tokio::test]
async fn an_endpoint_that_takes_its_time_is_left_alone() {
    let server = Server::new(100, |_| Reply::Ok(Duration::from_millis(1_500))).await;
    let mut json = http2(server.address);
    json["pool"] = json!({ "ping_interval": "300ms" });
    let cluster = the(&compile(json));
    assert_eq!(status(&cluster, None).await, Ok(200));
}
