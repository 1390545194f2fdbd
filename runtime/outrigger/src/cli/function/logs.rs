//! `outrigger fn logs`: what a function writes.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;

use super::client::{Asked, Sidecar, SidecarArgs, escaped};

/// How long the sidecar is asked to wait for a line.
const WAIT: Duration = Duration::from_secs(20);
/// What an answer may take on top.
const MARGIN: Duration = Duration::from_secs(10);

/// Shows what a function wrote lately: to its log, its standard output and its standard error
#[derive(Args)]
pub(super) struct LogsArgs {
    name: String,
    /// Go on with what it writes from now on.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Deserialize)]
struct Lines {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    number: u64,
    at: String,
    version: String,
    level: String,
    text: String,
}

pub(super) fn run(args: LogsArgs) -> anyhow::Result<ExitCode> {
    let sidecar = Sidecar::new(args.sidecar)?;
    let mut after = 0;
    loop {
        let wait = if after > 0 && args.follow { WAIT } else { Duration::ZERO };
        let target =
            format!("/functions/{}/logs?after={after}&wait={}s", escaped(&args.name), wait.as_secs());
        let (method, body) = ("GET", Bytes::new());
        let answer =
            sidecar.ask(Asked { method, target, content_type: None, body, patience: wait + MARGIN })?;
        let Lines { lines } = serde_json::from_slice(&answer).context("reading the answer")?;
        for Line { number, at, version, level, text } in lines {
            println!("{at} {version} {level:<6} {text}");
            after = number;
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
