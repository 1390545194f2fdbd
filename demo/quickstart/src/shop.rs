//! The shop's backends: two versions of it, and a payment service that refuses every second request.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};

pub(crate) struct Shop {
    pub(crate) payment: Arc<Counts>,
}

/// What the payment service saw.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) asked: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Shop {
    /// Serves both versions and the payment service; they end with the process.
    pub(crate) fn open([v1, v2, payment]: [u16; 3]) -> Result<Self> {
        serve(v1, || (200, "v1"))?;
        serve(v2, || (200, "v2"))?;
        let counts = Arc::<Counts>::default();
        let seen = Arc::clone(&counts);
        serve(payment, move || {
            if seen.asked.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
                seen.refused.fetch_add(1, Ordering::Relaxed);
                return (503, "busy");
            }
            (200, "paid")
        })?;
        Ok(Self { payment: counts })
    }
}

fn serve(port: u16, answer: impl Fn() -> (u16, &'static str) + Clone + Send + 'static) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("listening on port {port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // A connection that breaks is the proxy's to notice.
            thread::spawn(move || connection(stream, answer));
        }
    });
    Ok(())
}

/// Answers requests without bodies until the other side closes.
fn connection(stream: TcpStream, answer: impl Fn() -> (u16, &'static str)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let end_of_head = line.trim_end().is_empty();
        line.clear();
        if end_of_head {
            let (status, body) = answer();
            let reply = format!("HTTP/1.1 {status} \r\nContent-Length: {}\r\n\r\n{body}", body.len());
            reader.get_mut().write_all(reply.as_bytes())?;
        }
    }
    Ok(())
}
