//! Backends that speak raw HTTP/1.1 and misbehave on request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ports::reserved;

/// What to do with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A whole response.
    Status(u16, &'static str),
    /// A response after a while.
    Late(Duration, u16),
    /// Head and part of the body, then nothing.
    Stall,
    /// Close without a word.
    Close,
    /// A response, then close although it said nothing of it.
    ThenClose(u16),
    /// Never answer.
    Hang,
    /// Bytes as they are.
    Raw(&'static str),
}

pub(crate) type Script = Arc<dyn Fn(&str, usize) -> Reply + Send + Sync>;

/// A listening backend; dropping it closes the port and resets its connections. The port is given to nobody else.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    /// Connections the other side has closed.
    pub(crate) closed: AtomicUsize,
    pub(crate) bodies: parking_lot::Mutex<Vec<String>>,
}

impl Backend {
    pub(crate) async fn answering(status: u16) -> Self {
        Self::scripted(move |_, _| Reply::Status(status, "ok")).await
    }

    /// Asks `script` with the request's head and its number, from 0.
    pub(crate) async fn scripted(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(reserved(), script).await
    }

    pub(crate) async fn on(
        at: SocketAddr,
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (listener, counts) = (TcpListener::bind(at).await.unwrap(), Arc::<Counts>::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&counts), Arc::new(script)));
        Self { address: at, counts, task }
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }

    /// Closes the port and every connection, as a killed process would.
    pub(crate) async fn kill(self) -> SocketAddr {
        self.task.abort();
        let address = self.address;
        let mut this = self;
        let _ = (&mut this.task).await;
        address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, counts: Arc<Counts>, script: Script) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        counts.connections.fetch_add(1, SeqCst);
        connections.spawn(serve(stream, Arc::clone(&counts), Arc::clone(&script)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, counts: Arc<Counts>, script: Script) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
        let number = counts.requests.fetch_add(1, SeqCst);
        counts.bodies.lock().push(body);
        let response = match script(&head, number) {
            Reply::Status(status, text) => whole(status, text),
            Reply::Late(wait, status) => {
                tokio::time::sleep(wait).await;
                whole(status, "late")
            }
            Reply::Raw(text) => text.to_owned(),
            Reply::Close => return,
            Reply::ThenClose(status) => {
                stream.write_all(whole(status, "bye").as_bytes()).await.unwrap();
                return;
            }
            Reply::Stall | Reply::Hang => {
                if matches!(script(&head, number), Reply::Stall) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
                }
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 1]).await;
                break;
            }
        };
        if stream.write_all(response.as_bytes()).await.is_err() {
            break;
        }
    }
    counts.closed.fetch_add(1, SeqCst);
}

fn whole(status: u16, text: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// One request's head and body, or `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    let head_end = read_until(stream, buffer, b"\r\n\r\n").await?;
    let head = String::from_utf8(buffer.drain(..head_end).collect()).unwrap().to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        let end = read_until(stream, buffer, b"0\r\n\r\n").await?;
        let raw = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let data = raw.split("\r\n").enumerate().filter(|(index, _)| index % 2 == 1).map(|(_, line)| line);
        return Some((head, data.collect()));
    }
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    let body = String::from_utf8(buffer.drain(..length).collect()).unwrap();
    Some((head, body))
}

async fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Some(at + end.len());
        }
        read_more(stream, buffer).await?;
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}
