//! AssemblyScript: the compiler its proxy SDK was written for, with the SDK, from npm.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Language, Toolchain, stems};
use crate::tools;
use crate::workspace::{find_program, output, tools_dir};

pub(super) fn toolchain() -> Result<Toolchain> {
    let dir = tools_dir("wasm/assemblyscript")?;
    let package = Language::AssemblyScript.sources().join("package.json");
    let text = std::fs::read_to_string(&package).with_context(|| format!("reading {}", package.display()))?;
    tools::npm_install(&dir, &text)?;
    let compiler = dir.join("node_modules/assemblyscript/bin/asc");
    let node = find_program("node").context("Node.js is not installed")?;
    let version = output(Command::new(&node).arg(&compiler).arg("--version"))?;
    Ok(Toolchain {
        version: format!("asc {}", version.trim().trim_start_matches("Version ")),
        program: compiler,
        environment: Vec::new(),
    })
}

/// Each file is a filter. The compiler looks for packages below its working directory, so the sources go there.
pub(super) fn build(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    let dir = tools_dir("wasm/assemblyscript")?;
    for name in stems(sources, "ts")? {
        let source = format!("{name}.ts");
        std::fs::copy(sources.join(&source), dir.join(&source))
            .with_context(|| format!("copying {source}"))?;
        let mut asc = toolchain.command();
        asc.current_dir(&dir).arg(&source).args(["--optimize", "--use", "abort=abort_proc_exit", "-b"]);
        output(asc.arg(into.join(format!("{name}.wasm"))))?;
    }
    Ok(())
}
