//! Functions: components made of `wasm/functions` in Rust, JavaScript and Python, with the tools their authors use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Toolchain, built, hash, javascript, python, rust};
use crate::cases::seconds;
use crate::workspace::{root, tools_dir};

/// What a function is written in; each has a folder of its own in `wasm/functions`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    Rust,
    JavaScript,
    Python,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::Rust, Self::JavaScript, Self::Python];

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::Python => "python",
        }
    }

    /// Of its source files.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Rust => "rs",
            Self::JavaScript => "js",
            Self::Python => "py",
        }
    }

    /// Finds the language's toolchain, or installs it.
    pub(crate) fn toolchain(self) -> Result<Toolchain> {
        match self {
            Self::Rust => rust::toolchain(),
            Self::JavaScript => javascript::toolchain(),
            Self::Python => python::toolchain(),
        }
    }

    fn sources(self) -> PathBuf {
        root().join("wasm/functions").join(self.folder())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
        })
    }
}

/// The folder with `NAME.wasm` of each function in a language; built, unless it has been from the same sources.
pub(crate) fn functions(language: Language) -> Result<PathBuf> {
    let toolchain = language.toolchain()?;
    let sources = [language.sources(), shared("wit"), shared("guest"), root().join("wasm/wit")];
    let folder = format!("functions-{}", language.folder());
    let key = hash(&toolchain.version, &sources)?;
    built(&folder, key, &format!("the functions in {language}"), |into| {
        let sources = language.sources();
        match language {
            Language::Rust => rust::functions(&toolchain, &sources, into),
            Language::JavaScript => javascript::build(&toolchain, &sources, into),
            Language::Python => python::build(&toolchain, &sources, into),
        }
    })
}

/// What the functions of more than one language are made of.
fn shared(name: &str) -> PathBuf {
    match name {
        "guest" => root().join("wasm/guest"),
        _ => root().join("wasm/functions").join(name),
    }
}

/// The component of a function in JavaScript or Python: its source, with the world `NAME.wit` beside it.
pub(crate) fn component(language: Language, source: &Path) -> Result<PathBuf> {
    let toolchain = language.toolchain()?;
    let folder = source.parent().context("a source in a folder")?;
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let key = hash(&toolchain.version, &[folder.to_owned(), shared("guest"), root().join("wasm/wit")])?;
    let world = source.with_extension("wit");
    let dir =
        built(&format!("function-{name}"), key, &source.display().to_string(), |into| match language {
            Language::Rust => bail!("a function in Rust is a crate"),
            Language::JavaScript => javascript::component(&toolchain, source, &world, into),
            Language::Python => python::component(&toolchain, source, &world, into),
        })?;
    Ok(dir.join(format!("{name}.wasm")))
}

/// The world of one of `wasm/functions`.
pub(super) fn world(name: &str) -> PathBuf {
    shared("wit").join(format!("{name}.wit"))
}

/// A folder to build in: a source, its world and, where the tools look for it, the package the world names.
pub(super) fn workshop(source: &Path, world: &Path) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir_in(tools_dir("wasm")?).context("creating a folder to build in")?;
    let package = dir.path().join("wit/deps/outrigger-functions");
    std::fs::create_dir_all(&package)?;
    copy(source, &dir.path().join(source.file_name().unwrap_or_default()))?;
    copy(world, &dir.path().join("wit/world.wit"))?;
    for file in super::entries(&root().join("wasm/wit"))? {
        copy(&file, &package.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(dir)
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).with_context(|| format!("copying {}", from.display()))
}

/// Installs a tool into a folder of `.tools/wasm` that is named by what is installed, once. Beside and renamed: whoever
/// finds the folder finds all of it, and of two that install at once the first has its way.
pub(super) fn installed(
    name: &str,
    content: &str,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tools = tools_dir("wasm")?;
    let dir = tools.join(format!("{name}-{:016x}", hash(content, &[])?));
    if dir.is_dir() {
        return Ok(dir);
    }
    let start = Instant::now();
    let fresh = tempfile::tempdir_in(&tools)?;
    install(fresh.path())?;
    match std::fs::rename(fresh.path(), &dir) {
        Err(error) if !dir.is_dir() => return Err(error).context("putting it in its place"),
        _ => println!("installed {name} in {}", seconds(start.elapsed())),
    }
    Ok(dir)
}
