//! `outrigger fn`: functions, from their sources to a running sidecar.

mod build;
mod new;
mod template;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Functions: WebAssembly components that run inside the sidecar
#[derive(Args)]
pub(super) struct FunctionArgs {
    #[command(subcommand)]
    verb: FunctionVerb,
}

#[derive(Subcommand)]
enum FunctionVerb {
    New(new::NewArgs),
    Build(build::BuildArgs),
}

pub(super) fn run(args: FunctionArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        FunctionVerb::New(args) => new::run(&args),
        FunctionVerb::Build(args) => build::run(&args),
    }
}
