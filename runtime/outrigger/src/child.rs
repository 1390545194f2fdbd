//! The application started by `outrigger run -- APP`: its own process group, its lines in our output, no orphans.

pub mod family;
pub mod keeper;
mod lines;

use std::{ffi::OsString, io, process::ExitStatus, process::Stdio, time::Duration};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, task::JoinHandle};

use family::Family;
use keeper::Keeper;

/// What to start.
#[derive(Clone, Debug)]
pub struct AppCommand {
    pub program: OsString,
    pub args: Vec<OsString>,
    /// Added to our own environment.
    pub env: Vec<(&'static str, String)>,
}

/// The running application.
pub struct Child {
    process: tokio::process::Child,
    family: Family,
    pumps: Vec<JoinHandle<()>>,
    keeper: Keeper,
}

/// After the application ended, its output is read to the end for at most this long: a descendant we could not
/// find may hold the pipe open.
const LAST_LINES: Duration = Duration::from_secs(1);

impl Child {
    /// Starts the application in a process group of its own. The keeper is there first, so that there is no moment
    /// at which our sudden death would leave the application behind.
    pub fn start(command: &AppCommand) -> anyhow::Result<Self> {
        let mut family = Family::found();
        let mut keeper = Keeper::start(&family).context("starting the process that outlives us")?;
        let mut process = Command::new(&command.program)
            .args(&command.args)
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .env(family::MARK, family.mark())
            .process_group(0)
            .stdin(stdin())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", command.program.display()))?;
        family.group = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        keeper.watch(&family)?;
        let out = process.stdout.take().map(|out| tokio::spawn(lines::pump(out, tokio::io::stdout())));
        let err = process.stderr.take().map(|err| tokio::spawn(lines::pump(err, tokio::io::stderr())));
        Ok(Self { process, family, pumps: out.into_iter().chain(err).collect(), keeper })
    }

    /// Sends a signal to the whole group, as a terminal would.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.family.group
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::debug!(%error, ?signal, "the app's process group is gone");
        }
    }

    /// Waits for the application itself to end. May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Ends whatever the application left running, and passes on its last lines.
    pub async fn clean_up(mut self) {
        self.family.end().await;
        let pumps = std::mem::take(&mut self.pumps);
        let drained = async {
            for pump in pumps {
                // A pump cannot panic, and is cancelled by nobody.
                let _ended = pump.await;
            }
        };
        if tokio::time::timeout(LAST_LINES, drained).await.is_err() {
            tracing::warn!("something still holds the app's output open; it is not read further");
        }
        self.keeper.dismiss().await;
    }
}

/// A background process group that reads a terminal is stopped by it, so the application gets ours only if it is a
/// file or pipe.
fn stdin() -> Stdio {
    if io::IsTerminal::is_terminal(&io::stdin()) { Stdio::null() } else { Stdio::inherit() }
}

/// A process's exit code as a shell tells it: 128 + n when signal n ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or_else(|| signal.map(|n| 128 + n)).unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

/// What a shell answers when a program cannot be started.
pub fn start_failure_code(error: &anyhow::Error) -> u8 {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    if kind == Some(io::ErrorKind::NotFound) { 127 } else { 126 }
}
