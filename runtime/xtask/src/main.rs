//! The project's one entry: `cargo xtask check|test|proto|protoc|quickstart|demo|bench|dist|fuzz|wasm-toolchain`.
//! Developers and CI call the same commands; everything fetched or written lands in `.tools/`.

mod backends;
mod bench;
mod cases;
mod check;
mod demo;
mod dist;
mod fuzz;
mod metadata;
mod process;
#[cfg(feature = "proto")]
mod proto;
mod quickstart;
mod sidecar;
mod suite;
mod table;
mod test;
mod tools;
mod usage;
mod wasm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Outrigger's own commands", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formatting, lints, dependency rules, documentation and generated code.
    Check,
    /// Everything: installs what is missing, runs every suite, ends with a table.
    Test(test::Options),
    /// Generates the Rust code of `proto/`, or with `--check` compares it.
    Proto {
        /// Fails when the committed code differs instead of writing it.
        #[arg(long)]
        check: bool,
    },
    /// Builds the sidecar with everything in it and writes the pages of `components/docs`.
    Docs,
    /// Builds the stand-in for protoc and prints where it is, for `PROTOC`: the feature `etcd` needs one.
    Protoc,
    /// Builds the sidecar, starts it beside a demo application and walks through both.
    Quickstart,
    /// Plays one of the stories of `demo/`: its servers and the sidecar, until Ctrl-C.
    Demo {
        /// A folder of `demo/`.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(demo::names()))]
        name: String,
    },
    /// Measures Outrigger beside its peers, in one run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Builds the program as it is shipped, optimised for what it does in the benchmarks: twice, which takes its time.
    Dist,
    /// Feeds mutated input to a parser.
    Fuzz(fuzz::Options),
    /// Sets up what the filters of `wasm/` are built with, and says what there is.
    WasmToolchain {
        /// Builds them as well, and prints where they are.
        #[arg(long)]
        build: bool,
    },
}

fn main() -> ExitCode {
    run(Arguments::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check => check::run()?,
        Command::Test(options) => return test::run(&options),
        Command::Proto { check } => check::proto(check)?,
        Command::Protoc => println!("{}", workspace::protoc()?.display()),
        Command::Docs => docs()?,
        Command::Quickstart => quickstart::run()?,
        Command::Demo { name } => demo::run(&name)?,
        Command::Bench(bench) => bench::run(&bench)?,
        Command::Dist => dist::run()?,
        Command::Fuzz(options) => fuzz::run(&options)?,
        Command::WasmToolchain { build } => wasm::run(build)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The pages of the component types, told by the program itself.
fn docs() -> anyhow::Result<()> {
    let sidecar = workspace::build("outrigger", "outrigger", "outrigger/full", workspace::Profile::Dev)?;
    let folder = workspace::root().join("components/docs");
    workspace::run(std::process::Command::new(sidecar).arg("docs").arg(folder))
}
