//! Rust for wasm where rustup has none: the compiler Debian builds its browsers with, unpacked into `.tools` without
//! installing it. It comes with its library's sources but without a library for wasm, which is built once.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::rust::{TARGETS, cargo, clean, has_targets};
use super::{Toolchain, entries};
use crate::workspace::{fetch, find_program, output, tools_dir};

/// The compiler, its library's sources, and the C library of wasm32-wasip1.
const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

/// What the compiler needs to run, whatever its version: security updates move it.
const NEEDED: [&str; 2] = ["libstd-rust-web-", "libllvm"];

/// `sysroot` is rustup's, for its linker.
pub(super) fn toolchain(sysroot: &Path) -> Result<Toolchain> {
    let dir = tools_dir("wasm/rustc-web")?;
    let usr = dir.join("usr");
    let environment = environment(&usr, sysroot)?;
    if !has_targets(&usr) {
        unpack(&dir)?;
        for target in TARGETS {
            build_library(&usr, target, &environment)?;
        }
    }
    let version =
        output(Command::new(usr.join("bin/rustc")).arg("--version").envs(environment.iter().cloned()))?;
    Ok(Toolchain {
        version: format!("{} (Debian's rustc-web)", version.trim()),
        program: cargo(),
        environment,
    })
}

fn environment(usr: &Path, sysroot: &Path) -> Result<Vec<(String, String)>> {
    let programs = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
    let lib = usr.join("lib");
    let libraries = format!("{}:{}", lib.join("x86_64-linux-gnu").display(), lib.display());
    let mut environment = vec![
        ("RUSTC".to_owned(), usr.join("bin/rustc").display().to_string()),
        ("LD_LIBRARY_PATH".to_owned(), libraries),
    ];
    for target in TARGETS {
        let name = target.to_uppercase().replace('-', "_");
        // This one calls the other, and makes a component of what comes out.
        let linker = programs.join(if target == "wasm32-wasip2" { "wasm-component-ld" } else { "rust-lld" });
        ensure!(linker.is_file(), "there is no {}", linker.display());
        environment.push((format!("CARGO_TARGET_{name}_LINKER"), linker.display().to_string()));
    }
    Ok(environment)
}

fn unpack(dir: &Path) -> Result<()> {
    if find_program("apt-get").is_none() || find_program("dpkg").is_none() {
        bail!("and this is no Debian system, whose `rustc-web` would do");
    }
    if let Err(error) = download(dir) {
        // What the lists name is gone when an update has come since.
        let mut update = Command::new("apt-get");
        fetch(update.args(["-qq", "update"])).with_context(|| format!("after {error:#}"))?;
        download(dir)?;
    }
    for package in entries(dir)?.iter().filter(|file| file.extension() == Some(OsStr::new("deb"))) {
        output(Command::new("dpkg").arg("-x").arg(package).arg(dir))?;
        std::fs::remove_file(package)?;
    }
    Ok(())
}

fn download(dir: &Path) -> Result<()> {
    let mut packages = PACKAGES.map(str::to_owned).to_vec();
    // The compiler's own parts depend on each other in a row.
    let mut next = 0;
    while let Some(package) = packages.get(next) {
        let found = needed(package)?;
        packages.extend(found.into_iter().filter(|name| !packages.contains(name)).collect::<Vec<_>>());
        next += 1;
    }
    println!("downloading Debian's Rust for wasm ({})", packages.join(", "));
    fetch(Command::new("apt-get").current_dir(dir).args(["-qq", "download"]).args(&packages)).map(drop)
}

/// Which of a package's dependencies are parts of the compiler.
fn needed(package: &str) -> Result<Vec<String>> {
    let text = output(Command::new("apt-cache").args(["depends", "--important", package]))?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let parts = names.filter(|name| NEEDED.iter().any(|prefix| name.starts_with(prefix)));
    Ok(parts.map(str::to_owned).collect())
}

/// Builds the standard library for a target and puts it where the compiler looks for it.
fn build_library(usr: &Path, target: &str, environment: &[(String, String)]) -> Result<()> {
    println!("building Rust's library for {target}");
    let lib = usr.join("lib/rustlib").join(target).join("lib");
    std::fs::create_dir_all(&lib)?;
    if target != "wasm32-unknown-unknown" {
        c_library(usr, &lib.join("self-contained"))?;
    }
    let stub = tempfile::tempdir()?;
    std::fs::create_dir(stub.path().join("src"))?;
    std::fs::write(stub.path().join("src/lib.rs"), "")?;
    std::fs::write(
        stub.path().join("Cargo.toml"),
        "[package]\nname = \"stub\"\nversion = \"0.0.0\"\nedition = \"2024\"\n",
    )?;
    let mut build = Command::new(cargo());
    build.current_dir(stub.path()).args(["build", "--quiet", "--release", "--target", target]);
    build.arg("-Zbuild-std=std,panic_abort");
    clean(&mut build).envs(environment.iter().cloned());
    // Without bitcode in the library, guests that ask for link-time optimisation would not link.
    build.env("RUSTFLAGS", "-Cembed-bitcode=yes").env("RUSTC_BOOTSTRAP", "1");
    output(&mut build)?;
    let built = stub.path().join("target").join(target).join("release/deps");
    for file in entries(&built)?.iter().filter(|file| is_library(file)) {
        std::fs::copy(file, lib.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn is_library(file: &Path) -> bool {
    let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.ends_with(".rlib") && !name.starts_with("libstub-")
}

fn c_library(usr: &Path, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into)?;
    for name in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
        let from: PathBuf = usr.join("lib/wasm32-wasi").join(name);
        std::fs::copy(&from, into.join(name)).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}
