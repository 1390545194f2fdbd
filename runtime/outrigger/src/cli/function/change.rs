//! `outrigger fn promote`, `rollback` and `remove`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Asked, Sidecar, SidecarArgs, escaped},
    list,
};

/// What a change takes at most: files are written, nothing is compiled.
const PATIENCE: Duration = Duration::from_secs(90);

/// Gives the candidate of a function all calls, or a percentage
#[derive(Args)]
pub(super) struct PromoteArgs {
    name: String,
    /// The percentage of calls. Default: all of them.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    weight: Option<u8>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Takes the candidate of a function back, or else returns to its version before
#[derive(Args)]
pub(super) struct RollbackArgs {
    name: String,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Takes a function away
#[derive(Args)]
pub(super) struct RemoveArgs {
    name: String,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// What a change is answered with.
#[derive(Deserialize)]
pub(super) struct Changed {
    pub(super) function: list::Function,
    pub(super) kept: bool,
}

pub(super) fn promote(args: PromoteArgs) -> anyhow::Result<ExitCode> {
    let (verb, body) = match args.weight {
        None => ("promote", String::new()),
        Some(weight) => ("weight", json!({"weight": weight}).to_string()),
    };
    change(args.sidecar, &args.name, verb, body)
}

pub(super) fn rollback(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    change(args.sidecar, &args.name, "rollback", String::new())
}

pub(super) fn remove(args: RemoveArgs) -> anyhow::Result<ExitCode> {
    let target = format!("/functions/{}", escaped(&args.name));
    Sidecar::new(args.sidecar)?.simply("DELETE", target)?;
    println!("removed {}", args.name);
    Ok(ExitCode::SUCCESS)
}

fn change(sidecar: SidecarArgs, name: &str, verb: &str, body: String) -> anyhow::Result<ExitCode> {
    let target = format!("/functions/{}/{verb}", escaped(name));
    let content_type = Some("application/json").filter(|_| !body.is_empty());
    let asked = Asked { method: "POST", target, content_type, body: body.into(), patience: PATIENCE };
    let answer = Sidecar::new(sidecar)?.ask(asked)?;
    let Changed { function, .. } = serde_json::from_slice(&answer).context("reading the answer")?;
    print!("{}", list::table(&[function]));
    Ok(ExitCode::SUCCESS)
}
