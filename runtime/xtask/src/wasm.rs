//! Modules for the wasm host, built from the sources of `wasm/filters` and `wasm/functions`: the toolchains they need
//! (`cargo xtask wasm-toolchain`), and what they made, kept in `.tools/wasm` by a hash of what it was made from.

mod assemblyscript;
mod debian;
pub(crate) mod functions;
mod go;
mod javascript;
mod python;
mod rust;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cases::seconds;
use crate::workspace::{root, tools_dir};

/// What a filter is written in; each has a folder of its own in `wasm/filters`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    Rust,
    Go,
    AssemblyScript,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::Rust, Self::Go, Self::AssemblyScript];

    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::AssemblyScript => "assemblyscript",
        }
    }

    fn sources(self) -> PathBuf {
        root().join("wasm/filters").join(self.folder())
    }

    /// Finds the language's toolchain, or installs it.
    fn toolchain(self) -> Result<Toolchain> {
        match self {
            Self::Rust => rust::toolchain(),
            Self::Go => go::toolchain(),
            Self::AssemblyScript => assemblyscript::toolchain(),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Go => "Go",
            Self::AssemblyScript => "AssemblyScript",
        })
    }
}

/// What a crate of a demo makes: a filter or a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Filter,
    Function,
}

/// A compiler that is there.
pub(crate) struct Toolchain {
    /// What it says of itself: modules of another one are not taken for its own.
    version: String,
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Toolchain {
    /// Where its programs are, for others to find them: nothing where they are found anyway.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.program.parent().filter(|folder| folder.is_absolute()).map(Path::to_owned)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Sets every toolchain up and says what there is; builds filters and functions, if asked to, and says where they are.
pub(crate) fn run(build: bool) -> Result<()> {
    let mut missing = Vec::new();
    for (name, toolchain) in toolchains() {
        let start = Instant::now();
        match toolchain() {
            Ok(found) => println!("{name}: {} ({})", found.version, seconds(start.elapsed())),
            Err(error) => {
                println!("{name}: not to be had: {error:#}");
                missing.push(name);
            }
        }
    }
    if !missing.is_empty() {
        bail!("no toolchain for {}", missing.join(", "));
    }
    for language in Language::ALL.into_iter().filter(|_| build) {
        println!("{}", filters(language)?.display());
    }
    for language in functions::Language::ALL.into_iter().filter(|_| build) {
        println!("{}", functions::functions(language)?.display());
    }
    Ok(())
}

/// What finds, or installs, the tools of each language; Rust's make both filters and functions.
fn toolchains() -> impl Iterator<Item = (String, Box<dyn Fn() -> Result<Toolchain>>)> {
    let filters = Language::ALL.into_iter().map(|language| {
        (language.to_string(), Box::new(move || language.toolchain()) as Box<dyn Fn() -> Result<Toolchain>>)
    });
    let functions =
        functions::Language::ALL.into_iter().filter(|language| *language != functions::Language::Rust);
    let functions = functions.map(|language| {
        (language.to_string(), Box::new(move || language.toolchain()) as Box<dyn Fn() -> Result<Toolchain>>)
    });
    filters.chain(functions)
}

/// The same for the suites: the first that cannot be had is why they do not run.
pub(crate) fn install() -> Result<()> {
    for (name, toolchain) in toolchains() {
        toolchain().with_context(|| format!("guests in {name}"))?;
    }
    Ok(())
}

/// The folder with `NAME.wasm` of each filter in a language; built, unless it has been from the same sources.
pub(crate) fn filters(language: Language) -> Result<PathBuf> {
    let toolchain = language.toolchain()?;
    let sources = language.sources();
    let key = hash(&toolchain.version, std::slice::from_ref(&sources))?;
    built(language.folder(), key, &format!("the filters in {language}"), |into| match language {
        Language::Rust => rust::build(&toolchain, &sources, into),
        Language::Go => go::build(&toolchain, &sources, into),
        Language::AssemblyScript => assemblyscript::build(&toolchain, &sources, into),
    })
}

/// The folder with the module of a crate in Rust, `CRATE.wasm`, and beside it `CRATE-FEATURE.wasm` for each feature;
/// built, unless it has been from the same sources.
pub(crate) fn versions(kind: Kind, sources: &Path, features: &[&str]) -> Result<PathBuf> {
    let toolchain = rust::toolchain()?;
    let [filters, _, functions] = rust::TARGETS;
    let (target, shared) = match kind {
        Kind::Filter => (filters, vec![]),
        Kind::Function => (functions, vec![root().join("wasm/guest"), root().join("wasm/wit")]),
    };
    let all = [vec![sources.to_owned()], shared].concat();
    let key = hash(&format!("{} {}", toolchain.version, features.join(" ")), &all)?;
    let name = sources.file_name().unwrap_or_default().to_string_lossy();
    built(&format!("crate-{name}"), key, &sources.display().to_string(), |into| {
        rust::versions(&toolchain, sources, target, features, into)
    })
}

/// The folder of that name and hash, filled by `build` unless it has been.
fn built(name: &str, key: u64, what: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let dir = tools_dir("wasm")?.join(format!("{name}-{key:016x}"));
    if dir.is_dir() {
        return Ok(dir);
    }
    println!("  building {what}");
    let start = Instant::now();
    // Built beside and renamed, so that a folder with the name is whole.
    let fresh = tempfile::tempdir_in(tools_dir("wasm")?).context("creating a folder for the modules")?;
    build(fresh.path()).with_context(|| format!("building {what}"))?;
    std::fs::rename(fresh.keep(), &dir).with_context(|| format!("moving them to {}", dir.display()))?;
    println!("  {what}: built in {}", seconds(start.elapsed()));
    forget(name, &dir)?;
    Ok(dir)
}

/// Removes what older sources made, all but the last one: a branch and its base are often built in turns.
fn forget(folder: &str, newest: &Path) -> Result<()> {
    let prefix = format!("{folder}-");
    let is_older = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && path != newest
    };
    let mut older: Vec<PathBuf> = entries(&tools_dir("wasm")?)?.into_iter().filter(is_older).collect();
    older.sort_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok());
    older.pop();
    for dir in older {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// Of the compiler and of every file's name and content.
fn hash(version: &str, sources: &[PathBuf]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    for folder in sources {
        for file in files(folder)? {
            file.strip_prefix(folder).unwrap_or(&file).hash(&mut hasher);
            std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

/// Every file below a folder, but for what tools leave there.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in entries(dir)? {
        if entry.ends_with("target") || entry.ends_with("node_modules") {
            continue;
        }
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else {
            found.push(entry);
        }
    }
    Ok(found)
}

/// The names, without extension, of the files of a folder that end in `.extension`.
pub(crate) fn stems(dir: &Path, extension: &str) -> Result<Vec<String>> {
    let files = entries(dir)?.into_iter().filter(|file| file.extension().is_some_and(|e| e == extension));
    Ok(files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect())
}

/// What is in a folder, in the order of the names.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_source_or_compiler_makes_another_hash() {
        let dir = tempfile::tempdir().unwrap();
        let sources = [dir.path().to_owned()];
        let file = dir.path().join("a.rs");
        std::fs::write(&file, "one").unwrap();
        let first = hash("1.0", &sources).unwrap();
        assert_eq!(hash("1.0", &sources).unwrap(), first);
        assert_ne!(hash("1.1", &sources).unwrap(), first);
        std::fs::write(&file, "two").unwrap();
        assert_ne!(hash("1.0", &sources).unwrap(), first);
        std::fs::write(&file, "one").unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::rename(&file, dir.path().join("sub/a.rs")).unwrap();
        assert_ne!(hash("1.0", &sources).unwrap(), first);
    }
}
