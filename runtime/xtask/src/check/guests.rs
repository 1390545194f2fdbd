//! The same for the filters of `wasm/filters`, which are no part of the workspace.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace::{cargo, find_program, output, root, run, tools_dir};

/// Of the Rust filters.
pub(super) const MANIFEST: &str = "wasm/filters/rust/Cargo.toml";

pub(super) fn check() -> Result<()> {
    run(&mut cargo(&["fmt", "--manifest-path", MANIFEST, "--", "--check"]))?;
    // For this machine: linting does not link, and needs no wasm target.
    let mut clippy = cargo(&["clippy", "--quiet", "--locked", "--manifest-path", MANIFEST, "--examples"]);
    clippy.arg("--target-dir").arg(tools_dir("wasm/target")?);
    run(clippy.args(["--", "-D", "warnings"]))?;
    match find_program("gofmt") {
        Some(gofmt) => {
            let found = output(Command::new(gofmt).current_dir(root()).args(["-l", "wasm/filters/go"]))?;
            ensure!(found.is_empty(), "not as gofmt writes them:\n{found}");
        }
        None => println!("        without gofmt, the filters in Go are not looked at"),
    }
    Ok(())
}
