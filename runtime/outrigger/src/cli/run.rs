//! `outrigger run`: the sidecar, alone or with the application it starts.

use std::{ffi::OsString, process::ExitCode};

use clap::Args;

use super::ConfigFrom;
use crate::life::{self, Plan};

/// Runs the sidecar; with `-- APP` also the application, from the moment the API listens until the application ends
#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    from: ConfigFrom,
    /// Do not reload when a configuration file changes (SIGHUP and admin still do).
    #[arg(long)]
    no_watch: bool,
    /// The application and its arguments. Its exit code becomes ours.
    #[arg(last = true, value_name = "APP")]
    app: Vec<OsString>,
}

pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    life::run(Plan { sources: args.from.sources(), watch: !args.no_watch, app: args.app })
}
