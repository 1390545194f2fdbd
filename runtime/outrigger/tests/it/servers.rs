//! Redis and etcd of a test's own, which it can kill, pause and start again in their place.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{http::try_send, ports::reserved, program::PATIENCE};

/// A server at one port, with one folder for all its lives. Dropping it kills it.
pub(crate) struct Server {
    kind: Kind,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

enum Kind {
    Redis { arguments: Vec<String> },
    Etcd { peers: u16 },
}

impl Server {
    /// A Redis that is not yet running. None where it is not installed; that fails where nothing may be skipped.
    pub(crate) fn redis(arguments: &[&str]) -> Option<Self> {
        let found = Command::new(redis()).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !found {
            let required = std::env::var("OUTRIGGER_TEST_REQUIRE").is_ok_and(|value| value == "all");
            assert!(!required, "redis-server is missing, and OUTRIGGER_TEST_REQUIRE asks for it");
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Some(Self::new(Kind::Redis { arguments }))
    }

    /// A Redis that answers a write once it is on the disk.
    pub(crate) fn durable_redis() -> Option<Self> {
        Self::redis(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// An etcd of one member that is not yet running. None where nobody said that there is etcd.
    pub(crate) fn etcd() -> Option<Self> {
        if std::env::var_os("OUTRIGGER_TEST_ETCD_URL").is_none() {
            eprintln!("skipped: OUTRIGGER_TEST_ETCD_URL is not set");
            return None;
        }
        Some(Self::new(Kind::Etcd { peers: reserved().port() }))
    }

    fn new(kind: Kind) -> Self {
        Self { kind, folder: tempfile::tempdir().unwrap(), port: reserved().port(), process: None }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process and waits until it serves.
    pub(crate) fn start(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.serves() {
            assert!(Instant::now() < deadline, "the server at port {} does not serve", self.port);
            if self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some()) {
                self.process = Some(self.spawn());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn spawn(&self) -> Child {
        let mut command = match &self.kind {
            Kind::Redis { arguments } => redis_command(self.port, arguments),
            Kind::Etcd { peers } => etcd_command(self.port, *peers, self.folder.path()),
        };
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn serves(&self) -> bool {
        match &self.kind {
            Kind::Redis { .. } => self
                .try_ask("PING")
                .is_ok_and(|said| said.starts_with("+PONG") || said.starts_with("-NOAUTH")),
            Kind::Etcd { .. } => {
                let address = ([127, 0, 0, 1], self.port).into();
                try_send(address, "GET", "/health", &[], "").is_ok_and(|answer| answer.body.contains("true"))
            }
        }
    }

    /// Kills the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Has the process stand still.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().expect("running").id().cast_signed();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Sends Redis inline commands and gives back what it answers to the last.
    pub(crate) fn ask(&self, commands: &[&str]) -> String {
        let answers = commands.join("\r\n");
        self.try_ask(&answers).unwrap()
    }

    fn try_ask(&self, commands: &str) -> std::io::Result<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes())?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers)?;
        Ok(answers)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn redis() -> std::ffi::OsString {
    std::env::var_os("OUTRIGGER_TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

fn redis_command(port: u16, arguments: &[String]) -> Command {
    let mut command = Command::new(redis());
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(arguments);
    command
}

fn etcd_command(port: u16, peers: u16, folder: &Path) -> Command {
    let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.join("data")).args(["--log-level", "error"]);
    // Checking a password costs a tenth of a second otherwise, and every connection has to.
    command.args(["--bcrypt-cost", "4"]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("default={peers}")]);
    command
}
