//! What runs inside the sidecar of a story: made of the story's own sources, and put where its configuration says.

use std::path::Path;

use anyhow::{Context, Result};

use super::Story;
use crate::wasm::functions::{self, component};
use crate::wasm::{Kind, filters, versions};
use crate::workspace::root;

/// A crate of a story. The sidecar finds its module under the name of the crate, and functions in the folder it watches.
pub(super) struct Guest {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// Each makes a next version, which lies beside the first.
    pub(super) features: &'static [&'static str],
}

/// The folder functions are found in.
const FOLDER: &str = "functions";

/// Those the sidecar has to find before the story begins.
pub(super) fn functions(story: &Story) -> impl Iterator<Item = &'static str> {
    let crates = story.guests.iter().filter(|guest| guest.kind == Kind::Function).map(|guest| guest.name);
    story.function.map(|(_, name)| name).into_iter().chain(crates)
}

/// Puts all of them into the folder of the story's configuration.
pub(super) fn place(story: &Story, dir: &Path) -> Result<()> {
    let sources = root().join("demo").join(story.name);
    let folder = dir.join(FOLDER);
    std::fs::create_dir(&folder).context("creating a folder for functions")?;
    if let Some((language, name)) = story.function {
        let sources = sources.join(name);
        copy(&component(language, &sources.join(format!("{name}.{}", language.extension())))?, &folder)?;
        copy(&sources.join(format!("{name}.yaml")), &folder)?;
    }
    for guest in story.guests {
        let built = versions(guest.kind, &sources.join(guest.name), guest.features)?;
        for file in crate::wasm::entries(&built)? {
            copy(&file, dir)?;
        }
        if guest.kind == Kind::Function {
            copy(&dir.join(format!("{}.wasm", guest.name)), &folder)?;
        }
    }
    plant(story, dir)
}

fn plant(story: &Story, dir: &Path) -> Result<()> {
    let Some((kind, file)) = story.planted else { return Ok(()) };
    let built = match kind {
        Kind::Filter => filters(crate::wasm::Language::Rust)?,
        Kind::Function => functions::functions(functions::Language::Rust)?,
    };
    std::fs::copy(built.join("nothing.wasm"), dir.join(file)).map(drop).context("planting it")
}

fn copy(file: &Path, into: &Path) -> Result<()> {
    let to = into.join(file.file_name().unwrap_or_default());
    std::fs::copy(file, to).map(drop).with_context(|| format!("copying {}", file.display()))
}
