//! Filters in Rust, Go and AssemblyScript, built from source against the published SDKs.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cases::Cases;
use crate::wasm::{self, Language};

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    for language in Language::ALL {
        let dir = wasm::filters(language)?;
        let names = wasm::stems(&dir, "wasm")?;
        ensure!(!names.is_empty(), "no modules in {}", dir.display());
        for name in names {
            cases.case(&format!("{name} in {language}"), || is_filter(&dir.join(format!("{name}.wasm"))));
        }
    }
    cases.case("planted: a module of no version is noticed", || {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), b"\0asm\x01\0\0\0")?;
        ensure!(is_filter(file.path()).is_err(), "it was not");
        Ok(())
    });
    Ok(())
}

/// A module that says which version of proxy-wasm it was written for.
fn is_filter(module: &Path) -> Result<()> {
    let bytes = std::fs::read(module)?;
    ensure!(bytes.starts_with(b"\0asm"), "no module");
    let marker = b"proxy_abi_version_0_2_";
    ensure!(bytes.windows(marker.len()).any(|window| window == marker), "it names no version");
    Ok(())
}
