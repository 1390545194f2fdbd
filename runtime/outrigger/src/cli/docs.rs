//! `outrigger docs`: the pages of the component types, written or compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{backends, pages};

/// Writes a page for each component type of this build
#[derive(Args)]
pub(super) struct DocsArgs {
    /// The folder for the pages; other `.md` files in it are removed.
    folder: PathBuf,
    /// Write nothing, and fail where a page is not what it would be.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: DocsArgs) -> anyhow::Result<ExitCode> {
    let wanted = pages::blocking(all())?;
    let there = read(&args.folder)?;
    let differ: Vec<&str> = wanted
        .iter()
        .filter(|(name, page)| there.get(*name) != Some(page))
        .map(|(name, _)| name.as_str())
        .chain(there.keys().filter(|name| !wanted.contains_key(*name)).map(String::as_str))
        .collect();
    if args.check && !differ.is_empty() {
        bail!("{} differ from what this program says: {}", args.folder.display(), differ.join(", "));
    }
    for name in differ {
        let path = args.folder.join(name);
        match wanted.get(name) {
            Some(page) => fs::write(&path, page),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every page by its file name.
async fn all() -> anyhow::Result<BTreeMap<String, String>> {
    let registry = backends::registry();
    let mut all = BTreeMap::from([("README.md".to_owned(), pages::index(&registry))]);
    for info in registry.types() {
        all.insert(format!("{}.md", info.name), pages::page(&registry, info).await?);
    }
    Ok(all)
}

/// The pages in a folder; one that does not exist yet is made.
fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let reading = || format!("reading {}", folder.display());
    fs::create_dir_all(folder).with_context(reading)?;
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if let Some(name) =
            path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".md"))
        {
            pages.insert(name.to_owned(), fs::read_to_string(&path).with_context(reading)?);
        }
    }
    Ok(pages)
}
