//! The command line: one file per verb, and what they share.

mod check;
mod components;
mod config;
mod docs;
mod function;
mod run;
mod start;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{child::keeper, config::Sources};

/// One process beside your application: building-block APIs and an L4/L7 proxy.
///
/// Without a verb it runs; without a configuration it serves a durable state store named `state`.
#[derive(Parser)]
#[command(name = "outrigger", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::RunArgs),
    #[command(hide = true)]
    Start(Box<start::StartArgs>),
    /// As Layotto spells it; explains what to do instead
    #[command(hide = true)]
    Stop,
    /// As Layotto spells it; explains what to do instead
    #[command(hide = true)]
    Reload,
    Check(check::CheckArgs),
    Components(components::ComponentsArgs),
    Config(config::ConfigArgs),
    #[command(name = "fn")]
    Function(function::FunctionArgs),
    #[command(hide = true)]
    Docs(docs::DocsArgs),
}

/// Where the configuration comes from, lowest layer first: files in order, OUTRIGGER__A__B variables, --set flags.
#[derive(Args, Clone, Debug, Default)]
struct ConfigFrom {
    /// A configuration file; give several to lay one over the other.
    #[arg(short, long = "config", value_name = "FILE", env = "OUTRIGGER_CONFIG", value_delimiter = ':')]
    config: Vec<PathBuf>,
    /// One setting over all files and variables.
    #[arg(long = "set", value_name = "a.b=value")]
    sets: Vec<String>,
}

impl ConfigFrom {
    fn sources(&self) -> Sources {
        Sources::new(self.config.clone(), self.sets.clone())
    }
}

/// The configuration is at fault, so a restart will not help.
const BAD_CONFIG: u8 = 2;

/// The program.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(keeper::VERB) {
        keeper::main(&arguments.collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    // Before anything reads a certificate; checking a configuration does too.
    outrigger_net::tls::install_provider();
    let cli = Cli::parse();
    let outcome = match cli.verb.unwrap_or(Verb::Run(cli.run)) {
        Verb::Run(args) => run::run(args),
        Verb::Start(args) => start::run(*args),
        Verb::Stop => start::stop(),
        Verb::Reload => start::reload(),
        Verb::Check(args) => check::run(args),
        Verb::Components(args) => components::run(args),
        Verb::Config(args) => config::run(args),
        Verb::Function(args) => function::run(args),
        Verb::Docs(args) => docs::run(args),
    };
    outcome.unwrap_or_else(|error| {
        if error.is::<crate::config::Problems>() {
            eprintln!("{error}");
            return ExitCode::from(BAD_CONFIG);
        }
        eprintln!("outrigger: {error:#}");
        ExitCode::FAILURE
    })
}
