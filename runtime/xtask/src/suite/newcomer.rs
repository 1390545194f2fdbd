//! What a newcomer tries first: the quickstart, and every config file of the repository.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cases::Cases;
use crate::demo::names_modules;
use crate::process::scratch;
use crate::quickstart;
use crate::sidecar::release_binary;
use crate::workspace::{finish, output, root, transcript};

pub(super) fn quickstart(cases: &mut Cases) -> Result<()> {
    cases.case("the quickstart succeeds and leaves nothing running", quickstart::run);
    cases.case("its second run takes less than 20 s", || {
        let start = Instant::now();
        quickstart::run()?;
        ensure!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
        Ok(())
    });
    Ok(())
}

pub(super) fn configs(cases: &mut Cases) -> Result<()> {
    let files = config_files()?;
    ensure!(!files.is_empty(), "the repository has no config files");
    for file in &files {
        let name = file.strip_prefix(root()).unwrap_or(file).display();
        cases.case(&format!("outrigger check {name}"), || {
            output(Command::new(release_binary()?).arg("check").arg(file)).map(drop)
        });
    }
    cases.case("planted: a misspelt key is refused with its place", || {
        let dir = scratch()?;
        let file = dir.path().join("wrong.yaml");
        std::fs::write(&file, "app: { id: shop }\nlisteners: { web: { adress: \"127.0.0.1:1\" } }\n")?;
        let output = finish(Command::new(release_binary()?).arg("check").arg(&file))?;
        let text = transcript(&output);
        ensure!(!output.status.success() && text.contains("wrong.yaml:2:"), "{}: {text}", output.status);
        Ok(())
    });
    Ok(())
}

/// Names a module: tests of the program check it beside one.
const NAMES_A_MODULE: &str = "configs/filter.yaml";

/// `configs/*.yaml` and `demo/*/*.yaml`, but for those that name modules: the suite `demos` plays them with their own.
fn config_files() -> Result<Vec<PathBuf>> {
    let mut directories = vec![root().join("configs")];
    for entry in std::fs::read_dir(root().join("demo")).context("reading demo")? {
        let directory = entry?.path();
        if !names_modules(&directory) {
            directories.push(directory);
        }
    }
    let mut files = Vec::new();
    for directory in directories.iter().filter(|directory| directory.is_dir()) {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml")
                && !path.ends_with(NAMES_A_MODULE)
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
