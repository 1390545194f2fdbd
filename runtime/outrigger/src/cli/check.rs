//! `outrigger check`: would this configuration start? No port is opened and no backend asked.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::ConfigFrom;
use crate::{backends, config};

/// Reads a configuration and reports every problem with its place
#[derive(Args)]
pub(super) struct CheckArgs {
    /// Files to check; the same as -c.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    from: ConfigFrom,
}

pub(super) fn run(mut args: CheckArgs) -> anyhow::Result<ExitCode> {
    args.from.config.append(&mut args.files);
    let loaded = config::load(&args.from.sources(), &backends::registry())?;
    println!("ok: {}", summary(&loaded.config));
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &config::Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    [count(config.components.len(), "component"), count(config.api.listeners.len(), "API listener")]
        .join(", ")
}
