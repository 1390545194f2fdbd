//! A server on a free port, and clients that speak in bytes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test support; each test binary uses a part of it"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_http::{Handler, ServerConfig, serve};
use outrigger_net::{Accepted, Address, ConnInfo, Drain, Peer, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Server {
    pub address: SocketAddr,
    pub drain: Drain,
}

/// Serves `handler` until the test ends.
pub async fn start<H: Handler>(handler: H, config: ServerConfig) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, handler, config) = (Drain::new(), Arc::new(handler), Arc::new(config));
    let watch = drain.watch();
    tokio::spawn(async move {
        loop {
            let (tcp, peer) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let info = info(address, peer);
            let conn =
                Accepted { stream: Stream::Tcp(tcp), info, drain: watch.clone(), floods: Arc::default() };
            tokio::spawn(serve(conn, Arc::clone(&handler), Arc::clone(&config)));
        }
    });
    Server { address, drain }
}

pub fn info(local: SocketAddr, peer: SocketAddr) -> Arc<ConnInfo> {
    Arc::new(ConnInfo {
        id: 1,
        local: Address::Tcp(local),
        peer: Peer::Tcp(peer),
        tls: None,
        listener: "test".into(),
    })
}

impl Server {
    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends bytes on a new connection and returns all that comes back until it closes.
    pub async fn exchange(&self, bytes: &str) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }
}

pub struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until what was read ends with `end`.
    pub async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let reading = async {
            while !text.ends_with(end.as_bytes()) {
                let mut byte = [0];
                if self.0.read(&mut byte).await.unwrap() == 0 {
                    break;
                }
                text.push(byte[0]);
            }
        };
        let timely = tokio::time::timeout(Duration::from_secs(20), reading).await.is_ok();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(timely && text.ends_with(end), "waited for {end:?}, read {text:?}");
        text
    }

    /// Reads until the server closes.
    pub async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), self.0.read_to_end(&mut text)).await;
        assert!(read.is_ok(), "not closed, read {:?}", String::from_utf8_lossy(&text));
        String::from_utf8_lossy(&text).into_owned()
    }
}
