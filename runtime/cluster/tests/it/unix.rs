//! Endpoints on Unix sockets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::tls::{answer_http1, answer_http2};
use crate::world::{compile, status, the, until, within};

/// Listens on `path` and counts connections.
fn listen<F>(path: &Path, serve: impl Fn(UnixStream) -> F + Send + 'static) -> Arc<AtomicUsize>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = UnixListener::bind(path).unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    connections
}

#[tokio::test]
async fn both_protocols_are_spoken_and_connections_reused() {
    let folder = tempfile::tempdir().unwrap();
    for protocol in ["http1", "http2"] {
        let path = folder.path().join(protocol);
        let connections = match protocol {
            "http1" => listen(&path, answer_http1),
            _ => listen(&path, answer_http2),
        };
        let endpoint = format!("unix:{}", path.display());
        let cluster = the(&compile(json!({ "endpoints": [endpoint], "protocol": protocol })));
        for _ in 0..3 {
            assert_eq!(status(&cluster, None).await, Ok(200), "{protocol}");
        }
        assert_eq!(connections.load(SeqCst), 1, "{protocol}");
    }
}

#[tokio::test]
async fn bytes_are_carried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    listen(&path, |mut stream| async move {
        let (mut input, mut output) = stream.split();
        // Ends when the other side does.
        let _ = tokio::io::copy(&mut input, &mut output).await;
    });
    let cluster = the(&compile(json!({ "endpoints": [format!("unix:{}", path.display())] })));
    let mut connected = cluster.connect(within(Duration::from_secs(5)), |_| false).await.unwrap();
    connected.stream.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    connected.stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
}

#[tokio::test]
async fn a_socket_that_is_not_there_yet_is_found_by_checks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late");
    let clusters = compile(json!({
        "endpoints": [format!("unix:{}", path.display())],
        "health": { "active": { "type": "http", "interval": "20ms" } },
    }));
    let cluster = the(&clusters);
    until("the failing check", || cluster.snapshot().usable == 0).await;
    assert_eq!(status(&cluster, None).await, Err("no_healthy_endpoint"));
    listen(&path, answer_http1);
    until("the passing checks", || cluster.snapshot().usable == 1).await;
    assert_eq!(status(&cluster, None).await, Ok(200));
}
