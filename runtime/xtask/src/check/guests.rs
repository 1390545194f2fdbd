//! The same for what runs inside the sidecar and is no part of the workspace: filters and functions, of `wasm/` and of
//! demos, and the crate functions are written on.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace::{cargo, find_program, output, root, run, tools_dir};

/// What is in Rust.
pub(super) const MANIFESTS: [&str; 6] = [
    "wasm/filters/rust/Cargo.toml",
    "wasm/functions/rust/Cargo.toml",
    "wasm/guest/Cargo.toml",
    "demo/filter-jwt/jwt/Cargo.toml",
    "demo/hot-swap/answer/Cargo.toml",
    "demo/hot-swap/stamp/Cargo.toml",
];

pub(super) fn check() -> Result<()> {
    for manifest in MANIFESTS {
        run(&mut cargo(&["fmt", "--manifest-path", manifest, "--", "--check"]))?;
        // For this machine: linting does not link, and needs no wasm target.
        let mut clippy = cargo(&["clippy", "--quiet", "--locked", "--manifest-path", manifest]);
        clippy.arg("--all-targets").arg("--target-dir").arg(tools_dir("wasm/target")?);
        run(clippy.args(["--", "-D", "warnings"]))?;
    }
    match find_program("gofmt") {
        Some(gofmt) => {
            let found = output(Command::new(gofmt).current_dir(root()).args(["-l", "wasm/filters/go"]))?;
            ensure!(found.is_empty(), "not as gofmt writes them:\n{found}");
        }
        None => println!("        without gofmt, the filters in Go are not looked at"),
    }
    Ok(())
}
