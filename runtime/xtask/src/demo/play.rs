//! One story being played: the servers it needs, the sidecar, and the application beside it.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Story, guests};
use crate::process::{Scratch, Server, accepts, free_port, scratch, wait_until};
use crate::sidecar::release_binary;
use crate::tools::Need;
use crate::workspace::{Profile, build, build_examples, compiled_modules, output, root, tools_dir};

/// Every port the configurations of the stories name.
const PORTS: [&str; 7] = ["34904", "34999", "8080", "9999", "9998", "6380", "2379"];
/// The Unix socket one of them names.
const SOCKET: &str = "/tmp/client-proxy.sock";

/// How long a function may take until it runs: an interpreter's takes a dozen seconds to compile, once.
const COMPILED: Duration = Duration::from_secs(300);

/// What a story needs beside the sidecar, at the port its configuration names.
#[derive(Clone, Copy)]
pub(super) enum Backend {
    Redis { port: &'static str, password: &'static str },
    Etcd,
}

/// Where everything listens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// Where the configuration says, for people.
    Documented,
    /// Wherever there is room, for tests.
    Free,
}

/// What the stories run.
pub(super) struct Programs {
    outrigger: PathBuf,
    examples: PathBuf,
}

/// Dropping it ends everything.
pub(super) struct Play {
    pub(super) sidecar: Server,
    pub(super) app: Option<Server>,
    /// Where the application finds the sidecar.
    pub(super) endpoint: String,
    /// Of the configuration, and of what it names.
    pub(super) folder: PathBuf,
    ports: BTreeMap<&'static str, String>,
    _backends: Vec<Server>,
    _scratch: Option<Scratch>,
}

impl Programs {
    pub(super) fn build(profile: Profile) -> Result<Self> {
        let outrigger = match profile {
            Profile::Release => release_binary()?.to_owned(),
            Profile::Dev | Profile::Dist => build("outrigger", "outrigger", "full", profile)?,
        };
        Ok(Self { outrigger, examples: build_examples("outrigger-sdk")? })
    }

    /// The command line of an example: its name comes first.
    pub(super) fn example(&self, arguments: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        if let Some(name) = words.first_mut() {
            *name = self.examples.join(&name).display().to_string();
        }
        words
    }
}

impl Backend {
    pub(super) fn need(self) -> Need {
        match self {
            Self::Redis { .. } => Need::Program("redis-server"),
            Self::Etcd => Need::Program("etcd"),
        }
    }

    fn start(self, ports: &BTreeMap<&str, String>) -> Result<Server> {
        let port = |documented: &str| -> Result<u16> {
            Ok(ports.get(documented).context("a port of the list")?.parse()?)
        };
        match self {
            Self::Redis { port: at, password } => crate::backends::redis(port(at)?, password),
            Self::Etcd => crate::backends::etcd(port("2379")?),
        }
    }
}

impl Play {
    pub(super) fn start(story: &Story, programs: &Programs, at: Ports) -> Result<Self> {
        let scratch = (at == Ports::Free).then(scratch).transpose()?;
        let folder = match &scratch {
            Some(scratch) => scratch.path().to_owned(),
            None => documented(story)?,
        };
        let mut ports = BTreeMap::new();
        for port in PORTS {
            ports.insert(port, if at == Ports::Free { free_port()?.to_string() } else { port.to_owned() });
        }
        let socket = match at {
            Ports::Documented => SOCKET.to_owned(),
            Ports::Free => folder.join("api.sock").display().to_string(),
        };
        let backends = story.servers.iter().map(|server| server.start(&ports)).collect::<Result<Vec<_>>>()?;
        let file = match story.config {
            "" => own(story, &folder, &ports)?,
            _ => configure(story, &folder, &ports, &socket)?,
        };
        let over_socket = std::fs::read_to_string(&file)?.contains(&socket);
        let mut command = Command::new(&programs.outrigger);
        command.current_dir(&folder).env("HOME", &folder).arg("run").arg("-c").arg(&file);
        // A demo's home is new each time; what has been compiled need not be.
        command.env("OUTRIGGER__WASM__CACHE", compiled_modules()?);
        let mut sidecar = Server::start(&format!("demo-{}", story.name), &mut command, None)?;
        let port = |documented: &str| ports.get(documented).cloned().unwrap_or_default();
        let api: u16 = port("34904").parse()?;
        let web: Option<u16> = story.config.is_empty().then(|| port("8080").parse()).transpose()?;
        let is_open = || if over_socket { UnixStream::connect(&socket).is_ok() } else { accepts(api) };
        sidecar.wait_ready(|| is_open() && web.is_none_or(accepts))?;
        for function in guests::functions(story) {
            let list = format!("http://127.0.0.1:{}/functions/{function}", port("34999"));
            wait_until("the function runs", COMPILED, || {
                // One that is being compiled is listed as well.
                output(Command::new("curl").args(["-sS", "--fail", &list]))
                    .is_ok_and(|listed| listed.contains(r#""state":"current""#))
            })
            .with_context(|| sidecar.log_tail())?;
        }
        let endpoint = if over_socket { format!("unix:{socket}") } else { format!("127.0.0.1:{api}") };
        let app = app(story, programs, &port("9999"))?;
        Ok(Self { sidecar, app, endpoint, folder, ports, _backends: backends, _scratch: scratch })
    }

    /// Where what the configuration has at this port listens.
    pub(super) fn port(&self, documented: &str) -> &str {
        self.ports.get(documented).map(String::as_str).unwrap_or_default()
    }
}

/// Where clients of a story that is played for people look for its folder. Each play begins with an empty one.
fn documented(story: &Story) -> Result<PathBuf> {
    let folder = tools_dir("demo")?.join(story.name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("removing what was played before")?;
    }
    std::fs::create_dir(&folder).context("creating a folder for the story")?;
    Ok(folder)
}

/// The story's configuration with our ports, and the files it names beside it.
fn configure(story: &Story, dir: &Path, ports: &BTreeMap<&str, String>, socket: &str) -> Result<PathBuf> {
    let from = root().join("configs/layotto");
    std::fs::copy(from.join("secrets.json"), dir.join("secrets.json")).context("copying secrets.json")?;
    let mut text = std::fs::read_to_string(from.join(format!("{}.json", story.config)))?;
    for (documented, port) in ports {
        text = text.replace(&format!(":{documented}\""), &format!(":{port}\""));
        text = text.replace(&format!(": {documented}"), &format!(": {port}"));
    }
    let file = dir.join("config.json");
    std::fs::write(&file, text.replace(SOCKET, socket))?;
    Ok(file)
}

/// The story's own configuration with our ports, and beside it the guests it names.
fn own(story: &Story, dir: &Path, ports: &BTreeMap<&str, String>) -> Result<PathBuf> {
    guests::place(story, dir)?;
    let mut text = std::fs::read_to_string(root().join("demo").join(story.name).join("outrigger.yaml"))?;
    for (documented, port) in ports {
        text = text.replace(&format!(":{documented}\""), &format!(":{port}\""));
    }
    let port = |documented: &str| ports.get(documented).cloned().unwrap_or_default();
    let head = format!(
        "api: {{ listeners: {{ main: {{ address: \"127.0.0.1:{}\" }} }} }}\nadmin: {{ address: \"127.0.0.1:{}\" }}\n",
        port("34904"),
        port("34999")
    );
    let file = dir.join("outrigger.yaml");
    std::fs::write(&file, head + &text)?;
    Ok(file)
}

fn app(story: &Story, programs: &Programs, port: &str) -> Result<Option<Server>> {
    let words = programs.example(story.app);
    let Some((program, arguments)) = words.split_first() else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(arguments).env("APP_PORT", port);
    let server = Server::start(&format!("demo-{}-app", story.name), &mut command, None)?;
    server.wait_port(port.parse()?).map(Some)
}
