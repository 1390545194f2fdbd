//! Other programs as children of ours: started in a directory of their own, waited for on a condition,
//! and ended by their process id, whatever way the caller leaves.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::workspace::{tail, tools_dir};

/// A running server. Dropping it ends the process (TERM, then KILL) and removes its directory.
pub(crate) struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    _scratch: Option<Scratch>,
}

/// A fresh directory that lives as long as the value.
pub(crate) type Scratch = tempfile::TempDir;

/// A fresh directory with a short path, so that Unix sockets fit into it.
pub(crate) fn scratch() -> Result<Scratch> {
    tempfile::Builder::new().prefix("outrigger-").tempdir().context("creating a temporary directory")
}

/// A loopback port that was free a moment ago, and another one each time: what was given and is not bound yet looks
/// free to whoever asks next.
pub(crate) fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    new_port(&mut GIVEN.lock().unwrap_or_else(PoisonError::into_inner), || {
        Ok(TcpListener::bind("127.0.0.1:0").context("looking for a free port")?.local_addr()?.port())
    })
}

/// Those of the ports our configurations name that the system may give: in these, one after the other is replaced.
const NAMED: [u16; 2] = [34904, 34999];
/// Linux gives listeners the odd ports of half its range, some 7,000; a run of every suite takes 500 of them.
const DRAWS: usize = 1000;

fn new_port(given: &mut BTreeSet<u16>, mut draw: impl FnMut() -> Result<u16>) -> Result<u16> {
    for _ in 0..DRAWS {
        let port = draw()?;
        if !NAMED.contains(&port) && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("none of {DRAWS} ports drawn was a new one: {} are given", given.len());
}

/// Loopback at a port.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Whether something accepts connections at a loopback port.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port), Duration::from_millis(200)).is_ok()
}

/// Asks `probe` until it says yes; fails with `what` in the message after `limit`.
pub(crate) fn wait_until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Result<Duration> {
    let start = Instant::now();
    while !probe() {
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(start.elapsed())
}

/// How long a server may take to be ready. One that ended is noticed at once.
const READY: Duration = Duration::from_secs(60);

impl Server {
    /// Starts `command` with both output streams in `.tools/logs/NAME.log`. `scratch`, when given, lives as
    /// long as the server.
    pub(crate) fn start(name: &str, command: &mut Command, scratch: Option<Scratch>) -> Result<Self> {
        let log = tools_dir("logs")?.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().to_string_lossy()))?;
        Ok(Self { name: name.to_owned(), child, log, _scratch: scratch })
    }

    /// Starts `command` with its output on ours.
    pub(crate) fn start_visible(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: PathBuf::new(), _scratch: None })
    }

    /// Waits for `probe`, and gives up early, with the end of its log, when the server has ended.
    pub(crate) fn wait_ready(&mut self, mut probe: impl FnMut() -> bool) -> Result<Duration> {
        let mut ended = None;
        let child = &mut self.child;
        let waited = wait_until(&format!("{} ready", self.name), READY, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || probe()
        });
        match (waited, ended) {
            (Ok(waited), None) => Ok(waited),
            (Ok(_), Some(status)) => Err(anyhow!("{} ended: {status}\n{}", self.name, self.log_tail())),
            (Err(error), _) => Err(error.context(self.log_tail())),
        }
    }

    /// Waits until the server accepts connections at `port`.
    pub(crate) fn wait_port(mut self, port: u16) -> Result<Self> {
        self.wait_ready(|| accepts(port))?;
        Ok(self)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines the server wrote.
    pub(crate) fn log_tail(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default(), 20)
    }

    /// Waits for the server to end by itself.
    pub(crate) fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        let child = &mut self.child;
        wait_until(&format!("{} ended", self.name), limit, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        })?;
        status.ok_or_else(|| anyhow!("{} did not end", self.name))
    }

    /// Asks the server to end (TERM) and waits up to `limit`.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait_end(limit)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The child is not reaped before `wait`, so the id cannot belong to another process.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.stop(Duration::from_secs(3)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_of_the_named() {
        let mut drawn = [40001, 40001, 34999, 34904, 40001, 40003].into_iter().cycle();
        let mut given = BTreeSet::new();
        let mut next = || new_port(&mut given, || drawn.next().context("it goes round"));
        assert_eq!([next().unwrap(), next().unwrap()], [40001, 40003]);
        assert!(next().unwrap_err().to_string().contains("2 are given"));
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let server = Server::start("process-test-sleep", Command::new("sleep").arg("100"), None).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", server.pid()));
        assert!(proc.exists());
        drop(server);
        assert!(!proc.exists());
    }

    #[test]
    fn a_server_that_ends_is_reported_with_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut server = Server::start("process-test-ends", &mut command, None).unwrap();
        let error = server.wait_ready(|| false).unwrap_err().to_string();
        assert!(error.contains("the reason") && error.contains('3'), "{error}");
    }
}
