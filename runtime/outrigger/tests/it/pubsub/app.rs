//! An application in a process of its own, so that it can be killed: this very test binary, started as one.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use outrigger_sdk::{App, Outcome};

use crate::{ports::reserved, program::PATIENCE};

const PORT: &str = "TEST_APP_PORT";
const FILE: &str = "TEST_APP_FILE";
const TOPIC: &str = "TEST_APP_TOPIC";
const HASTY: &str = "TEST_APP_HASTY";

/// Where an application is found, and where it notes the events it has handled.
pub(crate) struct AppProcess {
    port: u16,
    folder: Arc<tempfile::TempDir>,
    topic: &'static str,
    hasty: bool,
}

pub(crate) struct Running(Child);

impl AppProcess {
    pub(crate) fn new() -> Self {
        Self {
            port: reserved().port(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            topic: "orders",
            hasty: false,
        }
    }

    /// It answers before it notes.
    pub(crate) fn hasty() -> Self {
        Self { hasty: true, ..Self::new() }
    }

    /// The same application in a version that wants another topic.
    pub(crate) fn wanting(&self, topic: &'static str) -> Self {
        Self { topic, folder: Arc::clone(&self.folder), ..*self }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("noted")
    }

    pub(crate) fn start(&self) -> Running {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "pubsub::app::the_application", "--nocapture"]);
        command.env(PORT, self.port.to_string()).env(FILE, self.file()).env(TOPIC, self.topic);
        if self.hasty {
            command.env(HASTY, "1");
        }
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// One line for each event handled.
    pub(crate) fn noted(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        self.wait_until(|lines| (lines.len() >= count).then(|| lines.to_vec()))
    }

    pub(crate) fn wait_for_text(&self, text: &str) -> String {
        self.wait_until(|lines| lines.iter().find(|line| line.contains(text)).cloned())
    }

    fn wait_until<T>(&self, found: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.noted();
            if let Some(found) = found(&lines) {
                return found;
            }
            assert!(Instant::now() < deadline, "the application noted only {lines:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Running {
    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    #[cfg(feature = "redis")]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.0.id().cast_signed()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The application itself, which the tests of this folder start as a process: without their variables it has nobody to
/// serve and ends. It notes an event and answers; `retry` as data is answered with a retry.
#[test]
fn the_application() {
    let Ok(port) = std::env::var(PORT) else { return };
    let file = OpenOptions::new().create(true).append(true).open(std::env::var(FILE).unwrap()).unwrap();
    let file = Arc::new(Mutex::new(file));
    let hasty = std::env::var_os(HASTY).is_some();
    let handler = move |event: outrigger_sdk::Event| {
        let file = Arc::clone(&file);
        async move {
            let text = String::from_utf8_lossy(&event.data).into_owned();
            if text == "retry" {
                return Outcome::Retry;
            }
            let line = format!(
                "{} {} {} 1.0 {} {} {text}\n",
                event.pubsub, event.topic, event.content_type, event.source, event.r#type
            );
            if hasty {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    note(&file, &line);
                    // One after the other, so that a kill meets some.
                    std::thread::sleep(Duration::from_millis(50));
                });
            } else {
                note(&file, &line);
            }
            Outcome::Done
        }
    };
    let topic = std::env::var(TOPIC).unwrap();
    let app = App::new().topic("events", topic, handler.clone()).topic("events", "extra", handler);
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    super::runtime().block_on(app.serve(address)).unwrap();
}

fn note(file: &Mutex<File>, line: &str) {
    file.lock().unwrap().write_all(line.as_bytes()).unwrap();
}
