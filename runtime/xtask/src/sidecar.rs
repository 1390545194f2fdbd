//! Outrigger itself as a server under test: a config file in a fresh directory, the binary started on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::process::{Server, accepts, free_port, scratch};
use crate::workspace::{Profile, build, output};

/// A running sidecar.
pub(crate) struct Sidecar {
    pub(crate) server: Server,
    /// The API listener's port.
    pub(crate) api: u16,
    /// The API's Unix socket.
    pub(crate) api_socket: PathBuf,
    /// The admin listener's port.
    pub(crate) admin: u16,
}

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The release binary with every backend, built once in this run, or the one that was chosen.
pub(crate) fn release_binary() -> Result<&'static Path> {
    if let Some(binary) = BINARY.get() {
        return Ok(binary);
    }
    let binary = build("outrigger", "outrigger", "full", Profile::Release)?;
    Ok(BINARY.get_or_init(|| binary))
}

/// From here on this program takes the release binary's place. It is asked for its version first.
pub(crate) fn choose_binary(file: &Path) -> Result<()> {
    let file = file.canonicalize().with_context(|| format!("looking for {}", file.display()))?;
    print!("{}: {}", file.display(), output(Command::new(&file).arg("--version"))?);
    if BINARY.set(file).is_err() {
        bail!("another program is in use");
    }
    Ok(())
}

impl Sidecar {
    /// Starts the release binary on `config` (the native format, without `api` and `admin`, which get free
    /// ports) and waits until the API and every port of `listening` accept connections.
    pub(crate) fn start(name: &str, config: &str, listening: &[u16]) -> Result<Self> {
        Self::start_with(name, &mut Command::new(release_binary()?), config, listening)
    }

    /// The same with a command that ends in the binary, such as `taskset -c 0 outrigger`.
    pub(crate) fn start_with(
        name: &str,
        command: &mut Command,
        config: &str,
        listening: &[u16],
    ) -> Result<Self> {
        let dir = scratch()?;
        let (api, admin) = (free_port()?, free_port()?);
        let api_socket = dir.path().join("api.sock");
        let head = format!(
            "api: {{ listeners: {{ main: {{ address: \"127.0.0.1:{api}\" }}, local: {{ address: \"unix:{}\" }} }} }}\n\
             admin: {{ address: \"127.0.0.1:{admin}\" }}\n",
            api_socket.display()
        );
        let file = dir.path().join("outrigger.yaml");
        std::fs::write(&file, head + config).with_context(|| format!("writing {}", file.display()))?;
        command.current_dir(dir.path()).arg("run").arg("-c").arg(file);
        let mut server = Server::start(name, command, Some(dir))?;
        server.wait_ready(|| std::iter::once(&api).chain(listening).all(|port| accepts(*port)))?;
        Ok(Self { server, api, api_socket, admin })
    }
}
