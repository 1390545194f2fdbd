//! Rust for wasm: the targets of the pinned toolchain, from rustup, or where they cannot be had Debian's compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Toolchain, debian, stems};
use crate::workspace::{find_program, output, root, tools_dir};

/// What the SDK of filters documents, what its older users build for (there the module allocates through another
/// export), and what functions are built for: its modules come out as components.
pub(super) const TARGETS: [&str; 3] = ["wasm32-wasip1", "wasm32-unknown-unknown", "wasm32-wasip2"];

/// The filters built for the second target as well. Those that want random numbers cannot be.
const UNKNOWN: [&str; 3] = ["add_header", "auth", "nothing"];

pub(super) fn toolchain() -> Result<Toolchain> {
    let rustc = output(rustc().arg("--version"))?;
    let sysroot = sysroot()?;
    if !has_targets(&sysroot)
        && let Err(error) = add_targets()
    {
        return debian::toolchain(&sysroot).with_context(|| format!("rustup has no wasm targets: {error:#}"));
    }
    Ok(Toolchain {
        version: format!("{} with {}", rustc.trim(), TARGETS.join(", ")),
        program: cargo(),
        environment: Vec::new(),
    })
}

/// Each example of the crate is a filter.
pub(super) fn build(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    let names = stems(&sources.join("examples"), "rs")?;
    let [wasi, unknown, _] = TARGETS;
    compile(toolchain, sources, wasi, &names, into)?;
    let beside = into.join("unknown");
    std::fs::create_dir(&beside)?;
    compile(toolchain, sources, unknown, &UNKNOWN.map(str::to_owned), &beside)
}

/// Each example of the crate is a function.
pub(super) fn functions(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    let [.., components] = TARGETS;
    compile(toolchain, sources, components, &stems(&sources.join("examples"), "rs")?, into)
}

/// The library of a crate is a module; each feature makes another version of it.
pub(super) fn versions(
    toolchain: &Toolchain,
    sources: &Path,
    target: &str,
    features: &[&str],
    into: &Path,
) -> Result<()> {
    let dir = tools_dir("wasm/target")?;
    let name = sources.file_name().unwrap_or_default().to_string_lossy();
    for feature in std::iter::once("").chain(features.iter().copied()) {
        let mut cargo = toolchain.command();
        cargo.current_dir(sources).args(["build", "--quiet", "--locked", "--release", "--target", target]);
        output(clean(cargo.args(["--features", feature, "--target-dir"]).arg(&dir)))?;
        let built = dir.join(target).join("release").join(format!("{name}.wasm"));
        let version = if feature.is_empty() { name.to_string() } else { format!("{name}-{feature}") };
        std::fs::copy(&built, into.join(format!("{version}.wasm")))
            .with_context(|| format!("copying {}", built.display()))?;
    }
    Ok(())
}

fn compile(toolchain: &Toolchain, sources: &Path, target: &str, names: &[String], into: &Path) -> Result<()> {
    let dir = tools_dir("wasm/target")?;
    let mut cargo = toolchain.command();
    cargo.current_dir(sources).args(["build", "--quiet", "--locked", "--release", "--target", target]);
    cargo.arg("--target-dir").arg(&dir);
    for name in names {
        cargo.args(["--example", name]);
    }
    output(clean(&mut cargo))?;
    for name in names {
        let file = format!("{name}.wasm");
        let built = dir.join(target).join("release/examples").join(&file);
        std::fs::copy(&built, into.join(file)).with_context(|| format!("copying {}", built.display()))?;
    }
    Ok(())
}

/// Flags meant for the sidecar must not reach its guests.
pub(super) fn clean(cargo: &mut Command) -> &mut Command {
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        cargo.env_remove(name);
    }
    cargo
}

pub(super) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The compiler of the checkout's `rust-toolchain.toml`.
fn rustc() -> Command {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(root());
    rustc
}

fn sysroot() -> Result<PathBuf> {
    Ok(output(rustc().args(["--print", "sysroot"]))?.trim().into())
}

/// Whether the standard library is there for each target.
pub(super) fn has_targets(sysroot: &Path) -> bool {
    TARGETS.iter().all(|target| {
        let lib = sysroot.join("lib/rustlib").join(target).join("lib");
        stems(&lib, "rlib").is_ok_and(|names| names.iter().any(|name| name.starts_with("libstd-")))
    })
}

fn add_targets() -> Result<()> {
    let rustup = find_program("rustup").context("rustup is not installed")?;
    println!("adding {}", TARGETS.join(", "));
    output(Command::new(rustup).current_dir(root()).args(["target", "add"]).args(TARGETS)).map(drop)
}
