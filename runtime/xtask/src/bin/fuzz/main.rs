//! The fuzz driver of stable Rust: seeded mutations of a corpus, fed to a parser in this process until the time
//! is over. A panic or a hang is a finding: its input is saved, the seed printed, and the exit code is 1.
//! `cargo xtask fuzz` builds and starts it.

mod corpus;
mod mutate;
mod watchdog;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use mutate::Mutator;
use watchdog::Watchdog;

#[derive(Parser)]
struct Options {
    target: Target,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many seconds one input may take: after that it is a hang.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// Repeats a run.
    #[arg(long)]
    seed: Option<u64>,
    /// A directory of inputs to start from: see `corpus.rs`.
    #[arg(long)]
    corpus: PathBuf,
    /// Where findings are saved.
    #[arg(long)]
    findings: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// The HTTP/1.1 codec.
    Http1,
    /// Panics on a chunk size without digits: shows that a panic is found.
    PlantedPanic,
    /// Never returns on the same input: shows that a hang is found.
    PlantedHang,
}

impl Target {
    fn run(self, input: &[u8]) {
        let planted = || input.windows(3).any(|window| window == b"\n;\r" || window == b"\n\0\r");
        match self {
            Self::Http1 => outrigger_http::fuzz_h1(input),
            Self::PlantedPanic => assert!(!planted(), "planted"),
            Self::PlantedHang => {
                while planted() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether the run ended without a finding.
fn run(options: &Options) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let corpus = corpus::read(&options.corpus)?;
    println!("{:?}: {} inputs, seed {seed}", options.target, corpus.len());
    std::fs::create_dir_all(&options.findings).context("creating the directory of findings")?;
    let mut mutator = Mutator::new(corpus, seed);
    let patience = Duration::from_secs(options.patience);
    let watchdog = Watchdog::start(options.findings.join(format!("{seed}-hang")), patience);
    let (start, limit) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut runs = 0_u64;
    while start.elapsed() < limit {
        for _ in 0..64 {
            let input = mutator.next();
            runs += 1;
            let verdict =
                watchdog.watch(input, || catch_unwind(AssertUnwindSafe(|| options.target.run(input))));
            if verdict.is_err() {
                report(&options.findings.join(format!("{seed}-panic")), input, "panic")?;
                return Ok(false);
            }
        }
    }
    println!("{runs} runs in {} s without a finding", options.seconds);
    Ok(true)
}

fn report(file: &Path, input: &[u8], kind: &str) -> Result<()> {
    std::fs::write(file, input).with_context(|| format!("writing {}", file.display()))?;
    println!("{kind} on {} bytes, saved in {}:\n{}", input.len(), file.display(), input.escape_ascii());
    Ok(())
}
