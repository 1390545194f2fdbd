//! HTTP backends that can die, hang and come back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::ports::reserved;

/// Answers every request, once it is whole, with 200 and `ok`. Dropping it kills it: its port refuses, its
/// connections are cut.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    answered: Arc<AtomicUsize>,
    paused: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    cut: watch::Sender<()>,
}

impl Backend {
    pub(crate) async fn start(status: u16) -> Self {
        // The port stays its own when it is killed.
        let listener = TcpListener::bind(reserved()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (paused, watch_paused) = watch::channel(false);
        let (cut, watch_cut) = watch::channel(());
        let answered = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&answered);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serve(stream, status, Arc::clone(&counted), watch_paused.clone());
                let mut cut = watch_cut.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ended = serving => {}
                        _sender_gone = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, answered, paused, accepting, cut }
    }

    /// From now on it accepts and reads, and answers nothing.
    pub(crate) fn pause(&self) {
        self.paused.send_replace(true);
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn kill(&self) {
        self.accepting.abort();
        self.cut.send_replace(());
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(
    mut stream: TcpStream,
    status: u16,
    answered: Arc<AtomicUsize>,
    mut paused: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\n\r\nok");
    let mut buffer = Vec::new();
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(end) = end_of_request(&buffer) {
            buffer.drain(..end);
            if paused.wait_for(|paused| !paused).await.is_err() {
                return Ok(());
            }
            // First: whoever has the answer finds it counted.
            answered.fetch_add(1, Ordering::SeqCst);
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

/// Where the first request in the buffer ends, its body included, once it is whole.
fn end_of_request(buffer: &[u8]) -> Option<usize> {
    let find = |what: &[u8]| buffer.windows(what.len()).position(|window| window == what);
    let body = find(b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..body]).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        return find(b"\r\n0\r\n\r\n").map(|at| at + 7);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let end = body + length.unwrap_or(0);
    (buffer.len() >= end).then_some(end)
}
