//! Components in Python, by the published tool from PyPI.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::functions::{installed, workshop, world};
use super::{Toolchain, stems};
use crate::tools;
use crate::workspace::{output, root};

const PROGRAM: &str = "componentize-py";

/// pip's own names the folder it was installed into, which has been renamed since.
const SCRIPT: &str = "\
#!/bin/sh
exec \"$(dirname \"$0\")/python\" -c 'import componentize_py; componentize_py.script()' \"$@\"
";

pub(super) fn toolchain() -> Result<Toolchain> {
    let requirements = root().join("wasm/functions/python/requirements.txt");
    let text = std::fs::read_to_string(&requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    let dir = installed("python", &format!("{text}{SCRIPT}"), |dir| {
        println!("installing {}", text.trim());
        tools::pip_install(dir, &[OsStr::new("-r"), requirements.as_os_str()])?;
        std::fs::write(dir.join("bin").join(PROGRAM), SCRIPT).context("writing a script")
    })?;
    let program = dir.join("bin").join(PROGRAM);
    output(Command::new(&program).arg("--version"))?;
    let environment = vec![("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned())];
    Ok(Toolchain { version: text.trim().to_owned(), program, environment })
}

/// Each file is a function.
pub(super) fn build(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    for name in stems(sources, "py")? {
        component(toolchain, &sources.join(format!("{name}.py")), &world(&name), into)?;
    }
    Ok(())
}

/// Of a module whose world is called as its file.
pub(super) fn component(toolchain: &Toolchain, source: &Path, world: &Path, into: &Path) -> Result<()> {
    let dir = workshop(source, world)?;
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let mut command = toolchain.command();
    command.current_dir(&dir).args(["-d", "wit", "-w", &name, "componentize", &name, "-o"]);
    output(command.arg(into.join(format!("{name}.wasm")))).map(drop)
}
