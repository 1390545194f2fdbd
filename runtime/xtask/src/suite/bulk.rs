//! A gigabyte each way between a fast and a slow end: what passes through must not pile up in the proxy.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::peer;
use crate::cases::Cases;
use crate::process::{Server, free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools::program;
use crate::workspace::output;

const BYTES: u64 = 1 << 30;
/// What a proxy may hold of a transfer, whatever its size.
const LIMIT: u64 = 1 << 20;

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let (listen, forward, port) = (free_port()?, free_port()?, free_port()?);
    let _backend = peer::python_server("bulk_server.py", port, &[&BYTES.to_string()])?;
    let config = format!(
        "listeners:\n  web: {{ address: \"127.0.0.1:{listen}\", protocol: http }}\n  \
         raw: {{ address: \"127.0.0.1:{forward}\", protocol: tcp, cluster: backend }}\n\
         routes: {{ all: {{ listeners: [web], match: [ {{ path: {{ prefix: / }} }} ], \
         backends: [ {{ cluster: backend }} ], timeout: 10m }} }}\n\
         clusters: {{ backend: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    );
    let proxy = Sidecar::start("bulk-outrigger", &config, &[listen, forward])?.server;
    for (name, port, flags) in [
        ("HTTP/1.1", listen, "--http1.1"),
        ("h2c", listen, "--http2-prior-knowledge"),
        ("L4", forward, "--http1.1"),
    ] {
        let mut grown = (0, 0);
        cases.case(&format!("1 GiB down to a slow reader over {name}"), || {
            warm_up(|| download(port, flags, 64 << 20))?;
            grown.0 = growth(&proxy, || download(port, flags, BYTES))?;
            ensure!(grown.0 < LIMIT, "the proxy grew by {} KiB", grown.0 / 1024);
            Ok(())
        });
        cases.case(&format!("1 GiB up to a slow reader over {name}"), || {
            warm_up(|| upload(port, flags, 64 << 20))?;
            grown.1 = growth(&proxy, || upload(port, flags, BYTES))?;
            ensure!(grown.1 < LIMIT, "the proxy grew by {} KiB", grown.1 / 1024);
            Ok(())
        });
        cases.note(format!("{name}: grew {} KiB down, {} KiB up", grown.0 / 1024, grown.1 / 1024));
    }
    planted(cases, port)
}

/// The first transfer of a kind on a worker fills pools that stay; four at once reach every worker.
fn warm_up(transfer: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let transfers: Vec<_> = (0..4).map(|_| scope.spawn(&transfer)).collect();
        transfers
            .into_iter()
            .try_for_each(|transfer| transfer.join().map_err(|_| anyhow!("a transfer panicked"))?)
    })
}

/// The same watch on a proxy that does pile up.
fn planted(cases: &mut Cases, backend: u16) -> Result<()> {
    let port = free_port()?;
    let buffering = peer::python_server("buffering_proxy.py", port, &[&backend.to_string()])?;
    cases.case("planted: a buffering proxy is noticed", || {
        let grown = growth(&buffering, || upload(port, "--http1.1", 64 << 20))?;
        ensure!(grown > LIMIT, "it grew by {} KiB only", grown / 1024);
        Ok(())
    });
    Ok(())
}

/// Reads `bytes` of the answer at a pace far below loopback's, and stops there.
fn download(port: u16, flag: &str, bytes: u64) -> Result<()> {
    let mut curl = curl(port, flag)?;
    curl.args(["--limit-rate", "200M"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = curl.spawn()?;
    let mut body = child.stdout.take().context("curl's output")?;
    std::thread::sleep(Duration::from_secs(1));
    let read = std::io::copy(&mut std::io::Read::take(&mut body, bytes), &mut std::io::sink())?;
    drop(body);
    if bytes < BYTES {
        child.kill()?;
    }
    let status = child.wait()?;
    ensure!(read == bytes && (status.success() || bytes < BYTES), "{read} bytes of {bytes}, curl: {status}");
    Ok(())
}

/// Sends `bytes`; the backend counts them.
fn upload(port: u16, flag: &str, bytes: u64) -> Result<()> {
    let dir = scratch()?;
    let file = sparse(dir.path(), bytes)?;
    let mut curl = curl(port, flag)?;
    let counted = output(curl.arg("-T").arg(&file))?;
    ensure!(counted == bytes.to_string(), "the backend read {counted} of {bytes} bytes");
    Ok(())
}

fn curl(port: u16, flag: &str) -> Result<Command> {
    let mut curl = Command::new(program("curl")?);
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "600", flag]);
    curl.args(["--header", "Expect:", &format!("http://127.0.0.1:{port}/")]);
    Ok(curl)
}

fn sparse(dir: &Path, bytes: u64) -> Result<std::path::PathBuf> {
    let path = dir.join("body");
    std::fs::File::create(&path)?.set_len(bytes)?;
    Ok(path)
}

/// By how much the memory a server holds data in grows, at most, while `work` runs.
fn growth(server: &Server, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = held(server.pid())?;
    let (done, highest) = (AtomicBool::new(false), AtomicU64::new(before));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                highest.fetch_max(held(server.pid()).unwrap_or(u64::MAX), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })?;
    Ok(highest.into_inner() - before)
}

fn held(pid: u32) -> Result<u64> {
    Ok(crate::usage::anonymous_kib(pid)? * 1024)
}
