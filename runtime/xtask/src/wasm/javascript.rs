//! Components in JavaScript, by the published tools from npm: on QuickJS for functions of ours, on a whole engine for
//! those of `wasi:http`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::functions::{copy, installed, workshop, world};
use super::{Toolchain, entries};
use crate::tools;
use crate::workspace::{find_program, output, root};

/// The functions on QuickJS; the one beside them is of `wasi:http`.
const FUNCTIONS: [&str; 1] = ["counter"];
const SERVED: &str = "served";

pub(super) fn toolchain() -> Result<Toolchain> {
    let package = root().join("wasm/functions/js/package.json");
    let text = std::fs::read_to_string(&package).with_context(|| format!("reading {}", package.display()))?;
    let dir = installed("javascript", &text, |dir| tools::npm_install(dir, &text))?;
    let node = find_program("node").context("Node.js is not installed")?;
    let jco = dir.join("node_modules/.bin/jco");
    let version = output(Command::new(node).arg(&jco).arg("--version"))?;
    Ok(Toolchain { version: format!("jco {}", version.trim()), program: jco, environment: Vec::new() })
}

pub(super) fn build(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    for name in FUNCTIONS {
        component(toolchain, &sources.join(format!("{name}.js")), &world(name), into)?;
    }
    served(toolchain, sources, into)
}

/// Of a module whose world is called as its file.
pub(super) fn component(toolchain: &Toolchain, source: &Path, world: &Path, into: &Path) -> Result<()> {
    let dir = workshop(source, world)?;
    copy(&root().join("wasm/guest/js/outrigger.js"), &dir.path().join("outrigger.js"))?;
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let mut jco = toolchain.command();
    jco.current_dir(&dir).args(["componentize", &format!("{name}.js"), "--wit", "wit", "-n", &name]);
    // Asynchronous built-ins are of a later WASI than the sidecar's.
    jco.args(["--backend", "qjs", "--backend-qjs-disable-async", "-o"]);
    output(jco.arg(into.join(format!("{name}.wasm")))).map(drop)
}

fn served(toolchain: &Toolchain, sources: &Path, into: &Path) -> Result<()> {
    let bin = toolchain.program.parent().context("a folder of programs")?;
    let modules = bin.parent().context("a folder of packages")?.join("@bytecodealliance");
    let dir = tempfile::tempdir().context("creating a folder to build in")?;
    let wit = dir.path().join("wit");
    wasi(&modules.join("jco/lib/wit/builtin").join(PACKAGED), &wit)?;
    let mut componentize = Command::new(bin.join("componentize-js"));
    componentize.arg(sources.join(format!("{SERVED}.js"))).arg("--wit").arg(&wit).args(["-n", SERVED, "-o"]);
    output(componentize.arg(into.join(format!("{SERVED}.wasm")))).map(drop)
}

/// The WASI whose definitions one package carries, and the one the other's engine was built for: it takes no other.
const PACKAGED: &str = "0.2.12";
const SPOKEN: &str = "0.2.10";

fn wasi(from: &Path, wit: &Path) -> Result<()> {
    for package in entries(from)?.iter().filter(|entry| entry.is_dir()) {
        let to = wit.join("deps").join(package.file_name().unwrap_or_default());
        std::fs::create_dir_all(&to)?;
        for file in entries(package)? {
            let text = std::fs::read_to_string(&file)?.replace(PACKAGED, SPOKEN);
            std::fs::write(to.join(file.file_name().unwrap_or_default()), text)?;
        }
    }
    let world =
        format!("package outrigger:{SERVED};\nworld {SERVED} {{ include wasi:http/proxy@{SPOKEN}; }}\n");
    std::fs::write(wit.join("world.wit"), world).context("writing a world")
}
