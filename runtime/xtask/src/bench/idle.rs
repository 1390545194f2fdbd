//! Memory: a contestant with nothing to do, and what each idle keep-alive connection adds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

use super::backend::Backend;
use super::peer::{Certificate, Job, Peer, Wire};
use crate::process::loopback;
use crate::table::Table;
use crate::usage;

/// With the warm ones, as many as Outrigger's default admits on a listener.
const CONNECTIONS: usize = 10_000;
const WARM: usize = 16;

pub(super) fn run(peers: &[Peer], backend: &Backend, certificate: &Certificate) -> Result<String> {
    let endpoints = vec![format!("127.0.0.1:{}", backend.http1)];
    let job = Job { wire: Wire::Http1, endpoints, routes: 1, certificate, access_log: false, filter: None };
    let mut table = Table::new(&[
        "proxy",
        "base RSS MiB",
        "RSS with 10,000 idle MiB",
        "bytes per idle connection",
        "wake-ups/s",
    ]);
    for peer in peers {
        eprintln!("memory of {peer}");
        let contestant = peer.start(&job)?;
        let pid = contestant.pid();
        // Some give back what the start needed when they have rested.
        std::thread::sleep(Duration::from_secs(2));
        let base = usage::resident_kib(pid)?;
        let wake_ups = wake_ups_per_second(pid, Duration::from_secs(5))?;
        // The first connections fill pools that all later ones share.
        let warm: Vec<TcpStream> = open(contestant.port, WARM)?;
        let before = usage::resident_kib(pid)?;
        let idle = open(contestant.port, CONNECTIONS - WARM)?;
        std::thread::sleep(Duration::from_millis(500));
        let after = usage::resident_kib(pid)?;
        drop((warm, idle));
        table.row([
            peer.to_string(),
            format!("{:.1}", base as f64 / 1024.0),
            format!("{:.1}", after as f64 / 1024.0),
            format!("{}", after.saturating_sub(before) * 1024 / (CONNECTIONS - WARM) as u64),
            format!("{wake_ups:.1}"),
        ]);
    }
    Ok(table.render())
}

pub(super) fn wake_ups_per_second(pid: u32, watched: Duration) -> Result<f64> {
    let before = usage::wake_ups(pid)?;
    std::thread::sleep(watched);
    Ok(usage::wake_ups(pid)?.saturating_sub(before) as f64 / watched.as_secs_f64())
}

/// Opens connections, sends one request on each, and leaves them open.
fn open(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    (0..count).map(|index| one(port).with_context(|| format!("idle connection {index}"))).collect()
}

fn one(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(loopback(port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"xxxxxxxx") {
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    Ok(stream)
}
