//! `cargo xtask check`: what holds for every commit, without running the program.

mod deny;
mod guests;
mod licence;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cases::seconds;
use crate::workspace::{self, cargo, cargo_with_protoc};

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// Every check, the cheap ones first.
pub(crate) const ALL: [Check; 6] = [
    ("formatting", || workspace::run(&mut cargo(&["fmt", "--all", "--", "--check"]))),
    ("dependency rules", deny::run),
    ("lints", || {
        let programs = "xtask/bench,xtask/fuzz,xtask/proto,outrigger/full";
        let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--features", programs];
        workspace::run(cargo_with_protoc(&arguments)?.args(["--", "-D", "warnings"]))
    }),
    ("guests", guests::check),
    ("documentation", || workspace::run(documentation().env("RUSTDOCFLAGS", "-D warnings"))),
    ("generated code", || proto(true)),
];

/// Runs every check, reports all that failed, and fails when one did.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    for (name, check) in ALL {
        let start = Instant::now();
        match check() {
            Ok(()) => println!("ok      {name} ({})", seconds(start.elapsed())),
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn documentation() -> Command {
    cargo(&["doc", "--quiet", "--workspace", "--no-deps"])
}

/// Generates or compares the code of `proto/`. The generator's dependencies are a feature of this crate, so
/// that everyday commands do not compile them; hence one more cargo.
#[cfg(not(feature = "proto"))]
pub(crate) fn proto(check: bool) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--package", "xtask", "--features", "proto", "--", "proto"]);
    workspace::run(if check { command.arg("--check") } else { &mut command })
}

#[cfg(feature = "proto")]
pub(crate) fn proto(check: bool) -> Result<()> {
    crate::proto::run(check)
}
