//! `outrigger fn`: functions, from their sources to a running sidecar.

mod build;
mod change;
mod client;
mod deploy;
mod list;
mod logs;
mod new;
mod template;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Functions: WebAssembly components that run inside the sidecar
#[derive(Args)]
pub(super) struct FunctionArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Deploy(deploy::DeployArgs),
    List(list::ListArgs),
    Logs(logs::LogsArgs),
    Promote(change::PromoteArgs),
    Rollback(change::RollbackArgs),
    Remove(change::RemoveArgs),
}

pub(super) fn run(args: FunctionArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::New(args) => new::run(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Deploy(args) => deploy::run(args),
        Verb::List(args) => list::run(args),
        Verb::Logs(args) => logs::run(args),
        Verb::Promote(args) => change::promote(args),
        Verb::Rollback(args) => change::rollback(args),
        Verb::Remove(args) => change::remove(args),
    }
}
