//! Backends of blocking sockets, one thread a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::PATIENCE;

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

/// One connection the proxy opened.
pub(crate) struct Peer {
    pub(crate) stream: BufReader<TcpStream>,
    requests: Arc<AtomicUsize>,
}

/// A request head as it came.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Backend {
    /// Runs `serve` for every connection.
    pub(crate) fn start(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, seen, serve) = (Arc::clone(&connections), Arc::clone(&requests), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (serve, requests) = (Arc::clone(&serve), Arc::clone(&seen));
                counted.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                std::thread::spawn(move || serve(&mut Peer { stream: BufReader::new(stream), requests }));
            }
        });
        Self { address, connections, requests }
    }

    /// Answers every request on every connection with what `answer` makes of it, body included.
    pub(crate) fn http(answer: impl Fn(&Head, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |peer| {
            while let Some(head) = peer.head() {
                let body = peer.body(&head);
                let response = answer(&head, &body);
                if peer.write(&response).is_err() {
                    return;
                }
            }
        })
    }

    /// Says 200 with `text` to everything.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::http(move |_, _| ok(text))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// 200 with this body.
pub(crate) fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

impl Peer {
    /// The next request head; `None` when the proxy has closed.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let first = self.line()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                self.requests.fetch_add(1, Ordering::SeqCst);
                return Some(Head { line: first, headers });
            }
            let (name, value) = line.split_once(':').expect("a header line");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.strip_suffix("\r\n").expect("lines end in CRLF").to_owned()),
        }
    }

    /// The body of a request with this head, decoded, trailers appended as lines.
    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
        if let Some(length) = head.get("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).unwrap();
            return body;
        }
        let mut body = Vec::new();
        if head.get("transfer-encoding") != Some("chunked") {
            return body;
        }
        loop {
            let size = usize::from_str_radix(&self.line().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..]).unwrap();
            assert_eq!(self.line().as_deref(), Some(""));
        }
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            body.extend_from_slice(line.as_bytes());
        }
        body
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Blocks until the proxy closes the connection, or resets it.
    pub(crate) fn wait_closed(&mut self) {
        let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
    }
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }
}
