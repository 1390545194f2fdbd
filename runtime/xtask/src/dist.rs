//! `cargo xtask dist`: the program as it is shipped. It is compiled with counters, does what the benchmarks ask of it, and
//! is compiled again for what it was seen doing. Both times as a release build: the profile `dist`, which is compiled in one
//! piece, is smaller and was measured to be slower.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench;
use crate::process::scratch;
use crate::sidecar::choose_binary;
use crate::workspace::{Profile, cargo_with_protoc, output, run as execute, target_dir};

pub(crate) fn run() -> Result<()> {
    // Missing tools are to be told before minutes of compiling.
    bench::ready_to_train()?;
    let (merge, counts, target) = (profdata()?, scratch()?, target_dir()?);
    let counting = compile(&target, &format!("-Cprofile-generate={}", counts.path().display()))?;
    choose_binary(&counting)?;
    bench::train()?;
    let seen = target.join("outrigger.profdata");
    // Each run of the program has left a file of counts.
    output(Command::new(merge).args(["merge", "--output"]).arg(&seen).arg(counts.path()))?;
    let built = compile(&target, &format!("-Cprofile-use={}", seen.display()))?;
    let dir = target.join("shipped");
    std::fs::create_dir_all(&dir)?;
    let shipped = dir.join("outrigger");
    std::fs::copy(&built, &shipped).with_context(|| format!("copying {}", built.display()))?;
    println!("{}", shipped.display());
    Ok(())
}

/// The program with every backend. With a target named, the flags are not for build scripts and macros too.
fn compile(target: &Path, flags: &str) -> Result<PathBuf> {
    let (host, profile) = (host()?, Profile::Release.name());
    let arguments = ["build", "--profile", profile, "--package", "outrigger", "--bin", "outrigger"];
    let dir = target.join("trained");
    let mut cargo = cargo_with_protoc(&arguments)?;
    cargo.args(["--features", "full", "--target", &host, "--target-dir"]).arg(&dir).env("RUSTFLAGS", flags);
    execute(&mut cargo)?;
    Ok(dir.join(host).join(profile).join("outrigger"))
}

/// The compiler's own `llvm-profdata`: the format of the counts is its version's.
fn profdata() -> Result<PathBuf> {
    let libraries = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let tool = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
    if !tool.exists() {
        execute(Command::new("rustup").args(["component", "add", "llvm-tools"]))
            .context("the compiler's llvm-profdata is missing")?;
    }
    ensure!(tool.exists(), "there is no {}", tool.display());
    Ok(tool)
}

/// The compiler's name for this machine.
fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}
