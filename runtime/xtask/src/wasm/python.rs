//! Components in Python, by the published tool from PyPI.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::functions::{copy, installed, workshop};
use super::{Toolchain, stems};
use crate::tools;
use crate::workspace::{output, root};

pub(super) fn toolchain() -> Result<Toolchain> {
    let requirements = root().join("wasm/functions/python/requirements.txt");
    let text = std::fs::read_to_string(&requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    let dir = installed("python", &text, |dir| {
        println!("installing {}", text.trim());
        tools::pip_install(dir, &[OsStr::new("-r"), requirements.as_os_str()])
    })?;
    // The script pip writes names the folder it was installed into, which has been renamed since.
    let environment = vec![("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned())];
    let toolchain =
        Toolchain { version: text.trim().to_owned(), program: dir.join("bin/python"), environment };
    output(componentize(&toolchain).arg("--version"))?;
    Ok(toolchain)
}

fn componentize(toolchain: &Toolchain) -> Command {
    let mut command = toolchain.command();
    command.args(["-c", "import componentize_py; componentize_py.script()"]);
    command
}

/// Each file is a function.
pub(super) fn build(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    for name in stems(sources, "py")? {
        let dir = workshop(&name)?;
        let source = format!("{name}.py");
        copy(&sources.join(&source), &dir.path().join(&source))?;
        let mut command = componentize(toolchain);
        command.current_dir(&dir).args(["-d", "wit", "-w", &name, "componentize", &name, "-o"]);
        output(command.arg(into.join(format!("{name}.wasm"))))?;
    }
    Ok(())
}
