//! What `send` costs beside the exchange itself: picking, pooling, judging, counting, over a connection that
//! answers from memory. `cargo run --release -p outrigger-cluster --example send_cost`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use outrigger_cluster::{ClusterConfig, Clusters, Context, SendOptions};
use outrigger_http::h1::client::{ClientConfig, Conn, Recycle};
use outrigger_http::{Body, Request, RequestExt, RequestHead};
use outrigger_net::{Address, ConnInfo, ConnectOptions, Peer, Stream};
use outrigger_resilience::Deadline;
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: u32 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = backend()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(compare(address))
}

/// On a thread of its own, so that its CPU time is not ours.
fn backend() -> std::io::Result<Address> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
    });
    Ok(address.into())
}

async fn compare(address: Address) -> Result<(), Box<dyn std::error::Error>> {
    let config = ClusterConfig { endpoints: vec![address.clone().into()], ..ClusterConfig::default() };
    let context = Context::new(Metrics::new(), tokio::runtime::Handle::current());
    let configs = BTreeMap::from([("backend".to_owned(), config)]);
    let clusters = Clusters::compile(&configs, &Clusters::empty(context)).map_err(|p| format!("{p:?}"))?;
    let cluster = clusters.get("backend").ok_or("no cluster")?;
    let conn = info()?;
    for _ in 0..3 {
        let bare = bare(&address).await?;
        let start = cpu()?;
        for _ in 0..ROUNDS {
            let how = SendOptions {
                deadline: Deadline::after(Instant::now(), Duration::from_secs(15)),
                retry: None,
            };
            cluster.send(request(&conn)?, &how).await?;
        }
        let sent = (cpu()? - start) / ROUNDS;
        println!("bare exchange {bare:?}, send {sent:?}, difference {:?}", sent.saturating_sub(bare));
    }
    Ok(())
}

/// The same exchange on one connection, without a cluster around it.
async fn bare(address: &Address) -> Result<Duration, Box<dyn std::error::Error>> {
    #[derive(Default)]
    struct Slot(Mutex<Option<Conn>>);
    impl Recycle for Slot {
        fn finished(self: Arc<Self>, conn: Option<Conn>) {
            *self.0.lock() = conn;
        }
    }
    let (slot, config) = (Arc::<Slot>::default(), Arc::<ClientConfig>::default());
    let stream = Stream::connect(address, &ConnectOptions::default()).await?;
    *slot.0.lock() = Some(Conn::new(stream, config));
    let info = info()?;
    let start = cpu()?;
    for _ in 0..ROUNDS {
        let mut request = request(&info)?;
        let conn = slot.0.lock().take().ok_or("the connection was closed")?;
        let recycle = Arc::clone(&slot) as Arc<dyn Recycle>;
        let options = outrigger_http::h1::client::SendOptions { recycle, informational: None };
        conn.send(&request.head, &mut request.body, options).await?;
    }
    Ok((cpu()? - start) / ROUNDS)
}

fn request(conn: &Arc<ConnInfo>) -> Result<Request, Box<dyn std::error::Error>> {
    let head = RequestHead::new(Method::GET, "backend.test".parse()?, "/");
    Ok(Request { head, body: Body::empty(), conn: Arc::clone(conn), ext: RequestExt::default() })
}

fn info() -> Result<Arc<ConnInfo>, Box<dyn std::error::Error>> {
    let local = "127.0.0.1:1".parse()?;
    Ok(Arc::new(ConnInfo { id: 1, local, peer: Peer::Unix, tls: None, listener: "bench".into() }))
}

/// CPU time of this thread.
fn cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().ok_or("no schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
