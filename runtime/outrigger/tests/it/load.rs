//! Load at a fixed rate over keep-alive connections: what a client sees while something happens.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

/// One request as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Since the load began.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// The status, or what went wrong.
    pub(crate) result: Result<u16, String>,
}

impl Seen {
    pub(crate) fn failed(&self) -> bool {
        self.result != Ok(200)
    }
}

/// Clients that keep asking until told to stop.
pub(crate) struct Load {
    begun: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Seen>>>,
}

impl Load {
    /// `rate` requests a second for `path`, spread over so many connections. A client that falls behind does not
    /// skip: it asks again at once.
    pub(crate) fn start(address: SocketAddr, path: &str, rate: u32, connections: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (begun, every) = (Instant::now(), Duration::from_secs(1) * connections / rate);
        let client = |n: u32| {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
            let first = begun + every * n / connections;
            tokio::spawn(client(address, request, begun, first, every, Arc::clone(&stop)))
        };
        Self { begun, clients: (0..connections).map(client).collect(), stop }
    }

    /// How long it runs by now.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Lets requests under way finish and returns all.
    pub(crate) async fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let mut seen = Vec::new();
        for client in self.clients {
            seen.extend(client.await.unwrap());
        }
        seen
    }
}

async fn client(
    address: SocketAddr,
    request: String,
    begun: Instant,
    mut next: Instant,
    every: Duration,
    stop: Arc<AtomicBool>,
) -> Vec<Seen> {
    let (mut seen, mut stream) = (Vec::new(), None);
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep_until(next.into()).await;
        next += every;
        let asked = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(30), ask(address, &mut stream, &request)).await;
        let result = match answer {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in 30 s".to_owned()),
        };
        if result.is_err() {
            stream = None;
        }
        seen.push(Seen { at: asked - begun, took: asked.elapsed(), result });
    }
    seen
}

async fn ask(address: SocketAddr, stream: &mut Option<TcpStream>, request: &str) -> std::io::Result<u16> {
    let mut connected = match stream.take() {
        Some(connected) => connected,
        None => TcpStream::connect(address).await?,
    };
    connected.set_nodelay(true)?;
    connected.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(1024);
    let (head, body) = loop {
        if let Some(at) = buffer.windows(4).position(|window: &[u8]| window == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&buffer[..at]).to_ascii_lowercase(), buffer.len() - at - 4);
        }
        if connected.read_buf(&mut buffer).await? == 0 {
            return Err(std::io::Error::other("closed before an answer"));
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).map_or("0", str::trim);
    let mut missing = length.parse::<usize>().unwrap().saturating_sub(body);
    while missing > 0 {
        buffer.clear();
        match connected.read_buf(&mut buffer).await? {
            0 => return Err(std::io::Error::other("closed within an answer")),
            n => missing = missing.saturating_sub(n),
        }
    }
    if !head.contains("connection: close") {
        *stream = Some(connected);
    }
    Ok(head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

/// The verdict all load tests use: which requests failed, in words.
pub(crate) fn failures(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .filter(|s| s.failed())
        .map(|s| format!("{:?} at {:?} after {:?}", s.result, s.at, s.took))
        .collect()
}
