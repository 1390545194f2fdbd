//! A second, tiny process of this program that ends the application when we cannot, because we were killed.
//! It sleeps on a pipe: an end of file without a goodbye means we are gone.

use std::{
    io::{BufRead, Write},
    process::{ChildStdin, Command, Stdio},
};

use rustix::process::Pid;

use super::family::Family;

/// The hidden first argument under which this program becomes a keeper.
pub const VERB: &str = "__keeper";
const GOODBYE: &str = "goodbye";

/// Our end of the pipe.
pub struct Keeper {
    process: std::process::Child,
    pipe: Option<ChildStdin>,
}

impl Keeper {
    /// In a group of its own, so that ^C does not reach it, and without our environment or output.
    pub fn start(family: &Family) -> std::io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?);
        process.args([VERB, family.mark()]).env_clear().stdin(Stdio::piped());
        process.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = std::os::unix::process::CommandExt::process_group(&mut process, 0).spawn()?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// Tells it the group, for members that hide their environment.
    pub fn watch(&mut self, family: &Family) -> std::io::Result<()> {
        let group = family.group.map(|group| group.as_raw_nonzero().get()).unwrap_or_default();
        self.pipe.as_mut().map_or(Ok(()), |pipe| writeln!(pipe, "{group}"))
    }

    /// The application has ended in order; so may the keeper.
    pub async fn dismiss(mut self) {
        if let Some(mut pipe) = self.pipe.take()
            && writeln!(pipe, "{GOODBYE}").is_err()
        {
            tracing::debug!("the keeper was gone already");
        }
        let waited = tokio::task::spawn_blocking(move || self.process.wait()).await;
        if let Ok(Err(error)) = waited {
            tracing::debug!(%error, "the keeper could not be waited for");
        }
    }
}

/// The keeper's whole life. `arguments` are those after [`VERB`].
pub fn main(arguments: &[String]) {
    let Some(mark) = arguments.first() else { return };
    let mut group = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line == GOODBYE {
            return;
        }
        group = line.parse().ok().and_then(Pid::from_raw);
    }
    Family::known(mark.clone(), group).end_blocking();
}
