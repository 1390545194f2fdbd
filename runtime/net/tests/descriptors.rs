//! What happens when descriptors run out. The test runs itself again under a low limit, as the limit is the process's.

#![cfg(test)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use outrigger_net::{
    Accepted, Acceptor, ConnectOptions, Drain, Listener, ListenerLimits, SocketOptions, Stream, Workers,
};
use outrigger_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const INSIDE: &str = "OUTRIGGER_TEST_INSIDE";
const LIMIT: u64 = 100;

fn run_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let script = format!("ulimit -n {LIMIT} && exec \"$0\" --exact {test} --nocapture --test-threads=1");
    let output = Command::new("sh").args(["-c", &script]).arg(this).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    false
}

/// The greeting, or `None` once accepting is paused for this reason and it has not come.
async fn greeting(stream: &mut Stream, metrics: &Metrics, reason: &str) -> Option<u8> {
    let paused = format!("outrigger_accept_paused_total{{listener=\"web\",reason=\"{reason}\"}}");
    for _ in 0..100 {
        match tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await {
            Ok(byte) => return Some(byte.unwrap()),
            Err(_) if metrics.render().contains(&paused) => return None,
            Err(_) => {}
        }
    }
    panic!("neither served nor paused:\n{}", metrics.render());
}

async fn hello(mut conn: Accepted) {
    conn.stream.write_all(b"x").await.unwrap();
    // Held until the client goes.
    let _ = conn.stream.read(&mut [0]).await;
}

#[test]
fn accepting_stops_at_ninety_percent_and_goes_on_after() {
    if !run_inside("accepting_stops_at_ninety_percent_and_goes_on_after") {
        return;
    }
    assert_eq!(outrigger_net::nofile_limit().unwrap(), LIMIT);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let metrics = Metrics::new();
        let acceptor = Acceptor {
            name: "web".into(),
            listener: Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap(),
            workers: Arc::new(Workers::start(1).unwrap()),
            service: Arc::new(hello),
            limits: ListenerLimits::default(),
            tls: None,
            drain: Drain::new(),
        };
        let handle = acceptor.spawn(&metrics).unwrap();
        let options = ConnectOptions::default();
        let mut held = Vec::new();
        // Both ends of each connection are in this process.
        let refused = loop {
            assert!(held.len() < LIMIT as usize);
            let mut stream = Stream::connect(handle.address(), &options).await.unwrap();
            match greeting(&mut stream, &metrics, "descriptors").await {
                Some(byte) => held.push((stream, byte)),
                None => break stream,
            }
        };
        assert!((30..45).contains(&held.len()), "{}", held.len());
        assert!(
            metrics
                .render()
                .contains("outrigger_accept_paused_total{listener=\"web\",reason=\"descriptors\"} 1\n")
        );
        std::fs::File::open("/dev/null").expect("some are left for everything else");
        held.truncate(10);
        let mut waiting = refused;
        let served = tokio::time::timeout(Duration::from_secs(10), waiting.read_u8()).await;
        assert_eq!(served.expect("accepting goes on").unwrap(), b'x');
    });
}

#[test]
fn no_descriptor_at_all_is_survived() {
    if !run_inside("no_descriptor_at_all_is_survived") {
        return;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let metrics = Metrics::new();
        let acceptor = Acceptor {
            name: "web".into(),
            listener: Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap(),
            workers: Arc::new(Workers::start(1).unwrap()),
            service: Arc::new(hello),
            limits: ListenerLimits::default(),
            tls: None,
            drain: Drain::new(),
        };
        let handle = acceptor.spawn(&metrics).unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        // One for the client's end; accepting it fails with EMFILE.
        hoard.pop();
        let mut stream = Stream::connect(handle.address(), &ConnectOptions::default()).await.unwrap();
        assert_eq!(greeting(&mut stream, &metrics, "error").await, None);
        drop(hoard);
        let served = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
        assert_eq!(served.expect("accepting goes on").unwrap(), b'x');
    });
}
