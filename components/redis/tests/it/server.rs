//! Real Redis servers: started on free ports in folders of their own, ended by their process id.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_testkit::{Subject, free_port};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server that does not start within this does not start.
const PATIENCE: Duration = Duration::from_secs(60);
/// What Redis may take to answer where nothing is wrong with it but the machine is busy.
pub(crate) const BUSY: Duration = Duration::from_secs(30);
/// A port that was free may be somebody else's by the time the server binds it.
const TRIES: usize = 5;

/// A running server. Dropping it kills the process and removes its folder.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    password: Option<String>,
}

/// The server's program; none skips the test, or fails it where nothing may be skipped.
pub(crate) fn program() -> Option<PathBuf> {
    let given = std::env::var_os("OUTRIGGER_TEST_REDIS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = given.or_else(|| {
        std::env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|file| file.is_file())
    });
    if found.is_none() {
        let required = std::env::var("OUTRIGGER_TEST_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "redis-server is missing, and OUTRIGGER_TEST_REQUIRE asks for it");
        eprintln!("skipped: redis-server is not installed");
    }
    found
}

/// What a suite runs against: the server we were told of, or else one of its own.
pub(crate) fn subject<T: ?Sized>(component: impl FnOnce(&str) -> Arc<T>) -> Option<Subject<T>> {
    if let Ok(host) = std::env::var("OUTRIGGER_TEST_REDIS_URL") {
        return Some(Subject::new(component(&host)));
    }
    let server = Server::start(&[])?;
    Some(Subject::new(component(&server.host())).keeping(server))
}

/// Waits until `probe` says yes.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    while !probe() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Server {
    /// A server that keeps nothing on disk, with more arguments as `redis-server` takes them.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_with(None, |_, _| arguments.iter().map(|argument| (*argument).to_owned()).collect())
    }

    /// A server whose arguments depend on its port and folder. `password` is what our own probes log in with.
    pub(crate) fn start_with(
        password: Option<&str>,
        arguments: impl Fn(u16, &Path) -> Vec<String>,
    ) -> Option<Self> {
        let program = program()?;
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new().prefix("redis-").tempdir().expect("a folder");
            let port = free_port();
            let arguments = arguments(port, folder.path());
            let child = spawn(&program, port, folder.path(), &arguments);
            let mut server = Self { child, port, folder, arguments, password: password.map(str::to_owned) };
            if server.wait_for_answer() {
                return Some(server);
            }
        }
        panic!("redis-server did not start in {TRIES} tries");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The value that follows an argument.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let at = self.arguments.iter().position(|argument| argument == name).expect("an argument");
        &self.arguments[at + 1]
    }

    /// Kills the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("ended");
    }

    /// Starts the process again, on the same port and folder, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        let program = program().expect("it was there before");
        wait_until("the restart", || {
            self.child = spawn(&program, self.port, self.folder.path(), &self.arguments);
            self.wait_for_answer()
        });
    }

    /// Stops the process from running; it goes on with [`Server::resume`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("signalled");
    }

    /// Sends an inline command of the protocol and gives back what comes first.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.try_ask(command).expect("an answer")
    }

    fn try_ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(15)))?;
        let mut read = |command: &str| {
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            let mut buffer = vec![0; 64 << 10];
            let length = stream.read(&mut buffer)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        if let Some(password) = &self.password {
            read(&format!("AUTH {password}"))?;
        }
        read(command)
    }

    /// Whether it answers at all; false when the process has ended instead.
    fn wait_for_answer(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().expect("asked").is_some() {
                return false;
            }
            if self.arguments.iter().any(|argument| argument == "--tls-port") {
                // It does not understand us; that it listens has to do.
                if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                    return true;
                }
            }
            match self.try_ask("PING") {
                Ok(answer) if !answer.starts_with("-LOADING") => return true,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, port: u16, folder: &Path, arguments: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command = Command::new(program);
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--sentinel") {
        // The first argument is the configuration file, which sentinel rewrites.
    } else {
        if !has("--port") {
            command.args(["--port", &port.to_string()]);
        }
        command.args(["--bind", "127.0.0.1", "--save", ""]);
    }
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
    command.spawn().expect("redis-server starts")
}
