//! `cargo xtask fuzz`: builds the driver with its target and runs it. The driver is a program of its own, so that
//! everyday commands do not compile what it feeds.

use std::hash::{BuildHasher, RandomState};
use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::workspace::{self, Profile, build, cargo, root, tools_dir};

#[derive(Args)]
pub(crate) struct Options {
    target: Target,
    /// How long to look.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Repeats an earlier run. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// The HTTP/1.1 codec, from the corpus of its tests.
    Http1,
    /// What WebAssembly filters may call, from a filter that calls it at random.
    Wasm,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("seed {seed}");
    workspace::run(&mut match options.target {
        Target::Http1 => driver("http1", options.seconds, seed)?,
        Target::Wasm => storm(options.seconds, seed),
    })
}

/// A test of the host's, told to go on for longer; the test beside it plants a failure and sees it counted.
pub(crate) fn storm(seconds: u64, seed: u64) -> Command {
    let mut command =
        cargo(&["test", "--quiet", "--package", "outrigger-wasm-host", "--test", "it", "storm::"]);
    command.env("OUTRIGGER_FUZZ_SECONDS", seconds.to_string()).env("OUTRIGGER_FUZZ_SEED", seed.to_string());
    command
}

/// The driver on one of its targets, `planted-panic` and `planted-hang` included. Built with the checks of the dev
/// profile: an overflow is a finding.
pub(crate) fn driver(target: &str, seconds: u64, seed: u64) -> Result<Command> {
    let corpus = root().join("runtime/http/tests/corpus");
    if !corpus.is_dir() {
        bail!("there is no corpus in {}", corpus.display());
    }
    let mut command = Command::new(build("xtask", "fuzz", "fuzz", Profile::Dev)?);
    command.args([target, "--seconds", &seconds.to_string(), "--seed", &seed.to_string()]);
    command.arg("--corpus").arg(corpus);
    command.arg("--findings").arg(tools_dir("fuzz")?);
    Ok(command)
}
