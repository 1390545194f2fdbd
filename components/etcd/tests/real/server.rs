//! An etcd of one member that can be killed, paused and started again in its place.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_etcd::EtcdConfig;
use outrigger_testkit::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server and the folder that outlives its process.
pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    peers: u16,
    scheme: &'static str,
    arguments: Vec<String>,
    process: Option<Child>,
}

/// A server that does not start, or stop, within this does neither.
const PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    /// A server that is not yet running; `None` where there is no etcd.
    pub(crate) fn new() -> Option<Self> {
        if std::env::var_os("OUTRIGGER_TEST_ETCD_URL").is_none() {
            eprintln!("skipped: OUTRIGGER_TEST_ETCD_URL is not set");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (port, peers) = (free_port(), free_port());
        Some(Self { folder, port, peers, scheme: "http", arguments: Vec::new(), process: None })
    }

    pub(crate) fn started() -> Option<Self> {
        let mut server = Self::new()?;
        server.start();
        Some(server)
    }

    /// More arguments for every start from now on.
    pub(crate) fn with(mut self, scheme: &'static str, arguments: &[&str]) -> Self {
        self.scheme = scheme;
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// Members of one cluster, not yet running: a call is answered where most of them are.
    pub(crate) fn cluster<const MEMBERS: usize>() -> Option<[Self; MEMBERS]> {
        Self::new()?;
        let mut members = [(); MEMBERS].map(|()| Self::new().expect("there is etcd"));
        let named = |(number, member): (usize, &Self)| format!("m{number}=http://127.0.0.1:{}", member.peers);
        let all: Vec<_> = members.iter().enumerate().map(named).collect();
        for (number, member) in members.iter_mut().enumerate() {
            let (name, all) = (format!("m{number}"), all.join(","));
            // Somewhat sooner than usual, and not so soon that a member kept from the processor is taken for dead.
            let soon = ["--heartbeat-interval", "150", "--election-timeout", "1500"];
            let arguments = ["--name", &name, "--initial-cluster", &all].into_iter().chain(soon);
            member.arguments = arguments.map(str::to_owned).collect();
        }
        Some(members)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(crate) fn config(&self) -> EtcdConfig {
        EtcdConfig { endpoints: self.url().as_str().into(), ..EtcdConfig::default() }
    }

    /// Starts the process and waits until it listens, which is a little before it serves. Somebody who passes through
    /// may have its port just then: it is started again.
    pub(crate) fn start(&mut self) {
        let begun = Instant::now();
        self.process = Some(self.spawn());
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "etcd does not listen");
            std::thread::sleep(Duration::from_millis(10));
            let ended = |process: &mut Child| process.try_wait().expect("asked").is_some();
            if self.process.as_mut().is_some_and(ended) {
                self.process = Some(self.spawn());
            }
        }
    }

    fn spawn(&self) -> Child {
        let (clients, peers) = (self.url(), format!("http://127.0.0.1:{}", self.peers));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self.folder.path().join("data")).args(["--log-level", "error"]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]).args(&self.arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd starts")
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("waited for");
        }
    }

    /// Stops the process from running, all of its threads.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let begun = Instant::now();
        while !self.stands_still() {
            assert!(begun.elapsed() < PATIENCE, "etcd does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn stands_still(&self) -> bool {
        let id = self.process.as_ref().expect("running").id();
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("its threads");
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().expect("running").id();
        kill_process(Pid::from_raw(id.cast_signed()).expect("an id"), signal).expect("signalled");
    }

    /// Another client, to look at what is really there.
    pub(crate) async fn client(&self) -> etcd_client::Client {
        etcd_client::Client::connect([self.url()], None).await.expect("connected")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
