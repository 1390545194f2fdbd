//! The acceptor over real sockets: who gets a connection, when none is taken, and what stays when it closes.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use outrigger_net::tls::{ClientTls, ServerName, ServerTls, TlsAcceptor};
use outrigger_net::{
    Accepted, Acceptor, AcceptorHandle, Address, ConnectOptions, Drain, Listener, ListenerLimits, Peer,
    Service, SocketOptions, Stream, Workers,
};
use outrigger_telemetry::{Metrics, shard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Says where the connection landed, then gives back what it gets.
async fn echo(mut conn: Accepted) {
    let nodelay = match &conn.stream {
        Stream::Tcp(tcp) => tcp.nodelay().unwrap(),
        _ => false,
    };
    let line = format!(
        "{} {} {} {} {nodelay}\n",
        std::thread::current().name().unwrap_or_default(),
        shard::index(),
        conn.info.local,
        conn.info.listener,
    );
    conn.stream.write_all(line.as_bytes()).await.unwrap();
    let mut buf = [0; 64];
    loop {
        tokio::select! {
            () = conn.drain.draining() => return,
            read = conn.stream.read(&mut buf) => match read {
                Ok(n) if n > 0 => conn.stream.write_all(&buf[..n]).await.unwrap(),
                _ => return,
            },
        }
    }
}

struct Setup {
    workers: Arc<Workers>,
    metrics: Metrics,
    address: Address,
    handle: AcceptorHandle,
}

fn start(address: &str, limits: ListenerLimits, tls: Option<TlsAcceptor>) -> Setup {
    start_with(address, limits, tls, Arc::new(echo))
}

fn start_with(
    address: &str,
    limits: ListenerLimits,
    tls: Option<TlsAcceptor>,
    service: Arc<dyn Service>,
) -> Setup {
    let workers = Arc::new(Workers::start(2).unwrap());
    let metrics = Metrics::new();
    let listener = Listener::bind(&address.parse().unwrap(), &SocketOptions::default()).unwrap();
    let acceptor = Acceptor {
        name: "web".into(),
        listener,
        workers: Arc::clone(&workers),
        service,
        limits,
        tls,
        drain: Drain::new(),
    };
    let handle = acceptor.spawn(&metrics).unwrap();
    Setup { workers, metrics, address: handle.address().clone(), handle }
}

impl Setup {
    async fn connect(&self) -> (Stream, Vec<String>) {
        let mut stream = Stream::connect(&self.address, &ConnectOptions::default()).await.unwrap();
        let words = greeting(&mut stream).await.unwrap();
        (stream, words)
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|found| found == line)
    }

    /// Waits until `done`, for what happens on other threads.
    async fn until(&self, done: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("did not happen in time");
    }
}

async fn greeting(stream: &mut Stream) -> std::io::Result<Vec<String>> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(line).unwrap().split_whitespace().map(str::to_owned).collect())
}

#[tokio::test]
async fn connections_spread_over_the_workers() {
    let setup = start("127.0.0.1:0", ListenerLimits::default(), None);
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(setup.connect().await);
    }
    assert_eq!(setup.workers.connections(), [3, 3]);
    for (_, words) in &held {
        assert_eq!(words[0], format!("worker-{}", words[1]));
        assert_eq!(words[2..], [setup.address.to_string(), "web".into(), "true".into()], "nodelay is on");
    }
    assert_eq!((setup.handle.stats().active, setup.handle.stats().accepted), (6, 6));
    assert!(setup.metric("outrigger_connections_active{listener=\"web\"} 6"));
    // When all of one worker's connections end, the next ones go there.
    let (stay, go): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, words)| words[1] == "0");
    drop(go);
    setup.until(|setup| setup.workers.connections() == [3, 0]).await;
    for _ in 0..3 {
        assert_eq!(setup.connect().await.1[1], "1");
    }
    drop(stay);
    setup.until(|setup| setup.handle.stats().active == 0).await;
    assert!(setup.metric("outrigger_connections_active{listener=\"web\"} 0"));
}

#[tokio::test]
async fn at_the_limit_connections_wait_and_are_served_later() {
    let limits = ListenerLimits { max_connections: 2, ..ListenerLimits::default() };
    let setup = start("127.0.0.1:0", limits, None);
    let first = setup.connect().await;
    let _second = setup.connect().await;
    let mut third = Stream::connect(&setup.address, &ConnectOptions::default()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), greeting(&mut third)).await;
    assert!(early.is_err(), "connected by the kernel, not yet served");
    assert_eq!(setup.handle.stats().active, 2);
    assert!(setup.metric("outrigger_accept_paused_total{listener=\"web\",reason=\"max_connections\"} 1"));
    drop(first);
    greeting(&mut third).await.unwrap();
}

#[tokio::test]
async fn a_source_above_its_share_is_closed() {
    let limits = ListenerLimits { max_connections_per_source: Some(1), ..ListenerLimits::default() };
    let setup = start("127.0.0.1:0", limits, None);
    let first = setup.connect().await;
    let mut second = Stream::connect(&setup.address, &ConnectOptions::default()).await.unwrap();
    assert!(greeting(&mut second).await.is_err());
    assert!(setup.metric("outrigger_connections_refused_total{listener=\"web\",reason=\"source_limit\"} 1"));
    drop(first);
    setup.until(|setup| setup.handle.stats().active == 0).await;
    setup.connect().await;
}

#[tokio::test]
async fn closing_refuses_new_connections_and_draining_ends_the_old() {
    let setup = start("127.0.0.1:0", ListenerLimits::default(), None);
    let (mut living, _) = setup.connect().await;
    let drain = setup.handle.drain().clone();
    setup.handle.close().await;
    assert!(Stream::connect(&setup.address, &ConnectOptions::default()).await.is_err());
    living.write_all(b"still here").await.unwrap();
    living.read_exact(&mut [0; 10]).await.unwrap();
    assert_eq!(drain.wait(Duration::from_millis(50)).await, 1);
    drain.start();
    assert_eq!(drain.wait(Duration::from_secs(10)).await, 0);
    assert_eq!(living.read(&mut [0]).await.unwrap(), 0);
    assert!(setup.workers.stop(Duration::from_secs(5)));
}

#[tokio::test]
async fn a_new_service_gets_new_connections() {
    let setup = start("127.0.0.1:0", ListenerLimits::default(), None);
    let (mut old, _) = setup.connect().await;
    let hello = |mut conn: Accepted| async move { conn.stream.write_all(b"new service\n").await.unwrap() };
    setup.handle.replace(Arc::new(hello));
    assert_eq!(setup.connect().await.1, ["new", "service"]);
    old.write_all(b"x").await.unwrap();
    assert_eq!(old.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_panic_costs_one_connection() {
    let service = |mut conn: Accepted| async move {
        conn.stream.write_all(b"hello\n").await.unwrap();
        assert_eq!(conn.stream.read_u8().await.unwrap(), b'g', "a planted panic");
        conn.stream.write_all(b"good\n").await.unwrap();
    };
    let setup = start_with("127.0.0.1:0", ListenerLimits::default(), None, Arc::new(service));
    let (mut good, _) = setup.connect().await;
    for _ in 0..2 {
        let (mut bad, _) = setup.connect().await;
        bad.write_all(b"b").await.unwrap();
        assert!(greeting(&mut bad).await.is_err());
    }
    setup.until(|setup| setup.handle.stats().active == 1).await;
    good.write_all(b"g").await.unwrap();
    assert_eq!(greeting(&mut good).await.unwrap(), ["good"]);
}

#[tokio::test]
async fn the_local_address_is_the_one_the_client_reached() {
    let setup = start("0.0.0.0:0", ListenerLimits::default(), None);
    let address: Address = format!("127.0.0.1:{}", setup.address.port().unwrap()).parse().unwrap();
    let mut stream = Stream::connect(&address, &ConnectOptions::default()).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap()[2], address.to_string());
}

#[tokio::test]
async fn unix_sockets_are_served_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let setup = start(&format!("unix:{}", path.display()), ListenerLimits::default(), None);
    let (stream, words) = setup.connect().await;
    assert_eq!(words[2], setup.address.to_string());
    assert_eq!(stream.peer().unwrap(), Peer::Unix);
    setup.handle.close().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn tls_happens_on_the_worker_and_a_bad_handshake_costs_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(file("a.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("a.key"), made.signing_key.serialize_pem()).unwrap();
    let server = ServerTls::new(file("a.pem"), file("a.key")).build().unwrap();
    let service = |mut conn: Accepted| async move {
        let tls = conn.info.tls.as_ref().unwrap();
        let line = format!("{} {:?} {}\n", tls.version, tls.sni, tls.is_http2());
        conn.stream.write_all(line.as_bytes()).await.unwrap();
        conn.stream.flush().await.unwrap();
        // Until the client has read it and closes.
        assert_eq!(conn.stream.read(&mut [0]).await.unwrap_or(0), 0);
    };
    let setup = start_with(
        "127.0.0.1:0",
        ListenerLimits::default(),
        Some(TlsAcceptor::new(server)),
        Arc::new(service),
    );
    let client = ClientTls { alpn: vec!["h2".into()], ..ClientTls::new(file("a.pem")) }.build().unwrap();
    let options = ConnectOptions {
        tls: Some((client, ServerName::try_from("a.example").unwrap())),
        ..ConnectOptions::default()
    };
    let mut bad = Stream::connect(&setup.address, &ConnectOptions::default()).await.unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut alert = Vec::new();
    // Whether the alert or the reset comes first is the kernel's choice.
    let _ = bad.read_to_end(&mut alert).await;
    let mut good = Stream::connect(&setup.address, &options).await.unwrap();
    assert_eq!(greeting(&mut good).await.unwrap(), ["TLSv1.3", "Some(\"a.example\")", "true"]);
    setup
        .until(|setup| {
            setup.metric("outrigger_connections_refused_total{listener=\"web\",reason=\"tls_handshake\"} 1")
        })
        .await;
}
