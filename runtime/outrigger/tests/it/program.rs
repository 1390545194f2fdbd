//! A running `outrigger` in a folder of its own.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    sync::mpsc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Everything that waits gives up after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a configuration, and the command line that uses it.
pub(crate) struct Folder {
    dir: TempDir,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
}

/// The running program. Dropping it kills it.
pub(crate) struct Program {
    process: Child,
    lines: mpsc::Receiver<String>,
    /// All lines seen so far, of both outputs.
    pub(crate) log: Vec<String>,
    pub(crate) api: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    web: Option<SocketAddr>,
}

/// What every configuration here starts with: ports the system picks.
pub(crate) const PORTS: &str =
    "api: { listeners: { main: { address: '127.0.0.1:0' } } }\nadmin: { address: '127.0.0.1:0' }\n";

impl Folder {
    /// With `outrigger.yaml` of [`PORTS`] and these lines.
    pub(crate) fn with(config: &str) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap(), arguments: Vec::new(), env: Vec::new() };
        folder.write("outrigger.yaml", &format!("{PORTS}{config}"));
        let file = folder.path("outrigger.yaml").display().to_string();
        folder.arguments(&["-c", &file])
    }

    /// Without any file or flag.
    pub(crate) fn bare() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), arguments: Vec::new(), env: Vec::new() }
    }

    /// Without any file; flags move the ports.
    pub(crate) fn empty() -> Self {
        Self::bare().arguments(&[
            "--set",
            "api.listeners.main.address=127.0.0.1:0",
            "--set",
            "admin.address=127.0.0.1:0",
        ])
    }

    pub(crate) fn arguments(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(|s| (*s).to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// In one step, as a careful editor does: nobody reads half a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.persist(self.path(name)).unwrap();
    }

    pub(crate) fn configure(&self, config: &str) {
        self.write("outrigger.yaml", &format!("{PORTS}{config}"));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // Another build of it, for measurements by hand.
        let other = std::env::var_os("OUTRIGGER_TEST_PROGRAM");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_outrigger").into()));
        command.args(arguments).current_dir(self.dir.path());
        command.env("XDG_DATA_HOME", self.path("data")).env("RUST_BACKTRACE", "0");
        command.env("XDG_CACHE_HOME", self.path("cache"));
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("OUTRIGGER")) {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts `outrigger run` and waits until it is ready.
    pub(crate) fn run(&self) -> Program {
        let mut program = self.start(&[]);
        program.wait_ready();
        program
    }

    /// Starts `outrigger run -- APP`.
    pub(crate) fn start(&self, app: &[&str]) -> Program {
        self.spawn("run", app)
    }

    /// Starts a verb that runs.
    pub(crate) fn spawn(&self, verb: &str, app: &[&str]) -> Program {
        let mut arguments = vec![verb];
        arguments.extend(self.arguments.iter().map(String::as_str));
        if !app.is_empty() {
            arguments.push("--");
            arguments.extend(app);
        }
        let mut command = self.command(&arguments);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = mpsc::channel();
        read(process.stdout.take().unwrap(), tell.clone());
        read(process.stderr.take().unwrap(), tell);
        Program { process, lines, log: Vec::new(), api: None, admin: None, web: None }
    }
}

fn read(from: impl std::io::Read + Send + 'static, tell: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
}

impl Program {
    pub(crate) fn wait_ready(&mut self) {
        const READY: &str = " ready version=";
        if !self.log.iter().any(|line| line.contains(READY)) {
            // Before that it may compile what it runs.
            self.wait_within(3 * PATIENCE, READY);
        }
        for line in &self.log {
            let address = || line.split("address=").nth(1)?.trim().parse().ok();
            if line.contains("kind=\"api\"") {
                self.api = self.api.or_else(address);
            } else if line.contains("kind=\"admin\"") {
                self.admin = self.admin.or_else(address);
            } else if line.contains("listener=web") {
                self.web = self.web.or_else(address);
            }
        }
    }

    /// Waits for a line that holds `text`, also among those already seen, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        if let Some(line) = self.log.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        self.wait_for_next(text)
    }

    /// The same, among lines not seen yet.
    pub(crate) fn wait_for_next(&mut self, text: &str) -> String {
        self.wait_within(PATIENCE, text)
    }

    fn wait_within(&mut self, patience: Duration, text: &str) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}); seen:\n{}", self.log.join("\n")),
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.api.expect("an API listener")
    }

    /// The proxy's listener `web`.
    pub(crate) fn web(&self) -> SocketAddr {
        self.web.expect("a listener named web")
    }

    /// Resident memory that holds data, in bytes.
    pub(crate) fn data(&self) -> usize {
        self.resident("RssAnon:")
    }

    /// Resident memory that is files, the program before all, in bytes.
    pub(crate) fn mapped(&self) -> usize {
        self.resident("RssFile:")
    }

    fn resident(&self, kind: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended, reads all its lines and tells how it went.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("still running; seen:\n{}", self.log.join("\n")),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        while let Ok(line) = self.lines.recv_timeout(PATIENCE / 2) {
            self.log.push(line);
        }
        status
    }

    /// Asks it to stop and tells how that went and how long it took.
    pub(crate) fn stop(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        let status = self.process.wait().unwrap();
        (status, asked.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// What a variable says, with which a test is made longer by hand.
pub(crate) fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Waits until `condition` holds.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Some(value) => return value,
            None if Instant::now() > deadline => panic!("did not happen: {what}"),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The configurations that ship with the program, of those the ones this build has the features for. The one that names a
/// filter has a test of its own, with a module.
pub(crate) fn configs() -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs"));
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.retain(|file| cfg!(feature = "redis") || !file.ends_with("redis.yaml"));
    files.retain(|file| cfg!(feature = "etcd") || !file.ends_with("etcd.yaml"));
    files.retain(|file| cfg!(feature = "wasm") || !file.ends_with("functions.yaml"));
    files.retain(|file| !file.ends_with("filter.yaml"));
    files.sort();
    files
}
