//! The folder of functions: `NAME.wasm`, `NAME.yaml` with its settings. What comes, changes or goes there is deployed,
//! replaced or removed; what an operator deploys is kept there.
//!
//! Beside a function lie, out of sight, its candidate and the version before where an operator brought them in.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use outrigger_blocks::{
    Error, Result,
    function::{FunctionConfig, Functions, Origin, check_name, sha256},
};

use super::{fetch, settings};
use crate::config::show;

/// A folder, and what was seen of it.
pub(super) struct Folder {
    path: PathBuf,
    seen: BTreeMap<String, Stamps>,
}

/// What tells one content of a file from the next.
type Stamp = Option<(u64, SystemTime, u64)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps {
    module: Stamp,
    settings: Stamp,
}

/// Which of a function's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Current,
    Candidate,
    Previous,
}

const MODULE: &str = "wasm";
const SETTINGS: &str = "yaml";

impl Folder {
    /// Makes it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned(), seen: BTreeMap::new() })
    }

    /// Brings functions in line with the files. One that cannot be brought in leaves its version before; when its file
    /// changes again it is tried again.
    pub(super) async fn scan(&mut self, functions: &Functions) {
        let found = match self.list() {
            Ok(found) => found,
            Err(error) => {
                return tracing::error!(folder = %self.path.display(), %error, "the folder of functions cannot be read");
            }
        };
        self.seen.retain(|name, _| {
            let stays = found.contains_key(name);
            if !stays && functions.origin(name) == Some(Origin::Folder) && functions.remove(name).is_ok() {
                tracing::info!(function = name, "function removed: its file is gone");
            }
            stays
        });
        for (name, stamps) in found {
            // Not remembered: it is its turn when the configuration has it no more.
            let free = functions.origin(&name) != Some(Origin::Config);
            if free && self.seen.get(&name) != Some(&stamps) {
                self.bring(&name, functions).await;
                self.seen.insert(name, stamps);
            }
        }
    }

    async fn bring(&self, name: &str, functions: &Functions) {
        let module = fetch::read(&self.file(name, Slot::Current, MODULE)).await;
        let refused = |module: &[u8], error: &Error| {
            tracing::error!(function = name, error = error.message(), "function refused");
            functions.refuse(name, module, error.message(), Origin::Folder);
        };
        let (module, config) = match (module, self.settings(name)) {
            (Ok(module), Ok(config)) => (module, config),
            (Ok(module), Err(error)) => return refused(&module, &error),
            (Err(error), _) => return refused(&[], &error),
        };
        let same = functions
            .get(name)
            .is_some_and(|now| now.sha256 == sha256(&module) && now.config.is_same(&config));
        if same {
            return functions.settle(name);
        }
        match functions.prepare(name, module.clone(), config).await {
            Ok(prepared) => {
                tracing::info!(function = name, version = %prepared.version(), "function deployed");
                functions.put(prepared, Origin::Folder);
            }
            Err(error) => refused(&module, &error),
        }
    }

    fn settings(&self, name: &str) -> Result<FunctionConfig> {
        let file = self.file(name, Slot::Current, SETTINGS);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::invalid(format!("cannot read {}: {error}", file.display()))),
        };
        settings::read(&file, &text, &|name| std::env::var(name).ok())
    }

    /// Every function in it.
    fn list(&self) -> io::Result<BTreeMap<String, Stamps>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let (Some(name), Some(MODULE)) = (stem(&path), extension(&path)) else { continue };
            // What is out of sight is ours.
            if name.starts_with('.') {
                continue;
            }
            match check_name(name) {
                Ok(()) => drop(found.insert(name.to_owned(), self.stamps(name))),
                Err(error) => tracing::warn!(file = %path.display(), "{}", error.message()),
            }
        }
        Ok(found)
    }

    fn stamps(&self, name: &str) -> Stamps {
        let stamp = |extension| {
            let metadata = fs::metadata(self.file(name, Slot::Current, extension)).ok()?;
            Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
        };
        Stamps { module: stamp(MODULE), settings: stamp(SETTINGS) }
    }

    /// Writes a version down. The current one it replaces becomes the one before.
    pub(super) async fn keep(
        &mut self,
        name: &str,
        slot: Slot,
        module: Bytes,
        config: &FunctionConfig,
    ) -> io::Result<()> {
        let usual = FunctionConfig::default();
        // What it was when it came does not matter to the one who finds it.
        let config = FunctionConfig { sha256: None, weight: usual.weight, ..config.clone() };
        let text = show::yaml(&serde_json::to_value(config).map_err(io::Error::other)?);
        let (module_to, settings_to) = (self.file(name, slot, MODULE), self.file(name, slot, SETTINGS));
        if slot == Slot::Current {
            self.copy(name, Slot::Current, Slot::Previous).await?;
            self.delete(name, Slot::Candidate).await?;
        }
        blocking(move || {
            write(&settings_to, text.as_bytes())?;
            write(&module_to, &module)
        })
        .await?;
        self.saw(name);
        Ok(())
    }

    /// The candidate takes the place of the current one; whether its files were here.
    pub(super) async fn promote(&mut self, name: &str) -> io::Result<bool> {
        if !self.has(name, Slot::Candidate) {
            return Ok(false);
        }
        self.copy(name, Slot::Current, Slot::Previous).await?;
        self.copy(name, Slot::Candidate, Slot::Current).await?;
        self.delete(name, Slot::Candidate).await?;
        self.saw(name);
        Ok(true)
    }

    /// The candidate is no more; whether what is current is what its file holds.
    pub(super) async fn withdraw(&mut self, name: &str) -> io::Result<bool> {
        self.delete(name, Slot::Candidate).await?;
        Ok(self.has(name, Slot::Current))
    }

    /// The version before takes the place of the current one, and the other way round; whether its files were here.
    pub(super) async fn go_back(&mut self, name: &str, wanted: &str) -> io::Result<bool> {
        let previous = self.file(name, Slot::Previous, MODULE);
        let held = blocking(move || fs::read(previous)).await.map(|module| sha256(&module));
        if !held.is_ok_and(|held| *held == *wanted) {
            return Ok(false);
        }
        self.copy(name, Slot::Current, Slot::Candidate).await?;
        self.copy(name, Slot::Previous, Slot::Current).await?;
        self.copy(name, Slot::Candidate, Slot::Previous).await?;
        self.delete(name, Slot::Candidate).await?;
        self.saw(name);
        Ok(true)
    }

    /// Takes a function's files away.
    pub(super) async fn remove(&mut self, name: &str) -> io::Result<()> {
        for slot in [Slot::Current, Slot::Candidate, Slot::Previous] {
            self.delete(name, slot).await?;
        }
        self.seen.remove(name);
        Ok(())
    }

    /// What we wrote ourselves is no news.
    fn saw(&mut self, name: &str) {
        self.seen.insert(name.to_owned(), self.stamps(name));
    }

    fn has(&self, name: &str, slot: Slot) -> bool {
        self.file(name, slot, MODULE).exists()
    }

    /// Copies the files there are; those there are not are not there afterwards either.
    async fn copy(&self, name: &str, from: Slot, to: Slot) -> io::Result<()> {
        for extension in [SETTINGS, MODULE] {
            let (from, to) = (self.file(name, from, extension), self.file(name, to, extension));
            blocking(move || match fs::read(from) {
                Ok(content) => write(&to, &content),
                Err(error) if error.kind() == io::ErrorKind::NotFound => delete(&to),
                Err(error) => Err(error),
            })
            .await?;
        }
        Ok(())
    }

    async fn delete(&self, name: &str, slot: Slot) -> io::Result<()> {
        for extension in [MODULE, SETTINGS] {
            let file = self.file(name, slot, extension);
            blocking(move || delete(&file)).await?;
        }
        Ok(())
    }

    fn file(&self, name: &str, slot: Slot, extension: &str) -> PathBuf {
        self.path.join(match slot {
            Slot::Current => format!("{name}.{extension}"),
            Slot::Candidate => format!(".{name}.candidate.{extension}"),
            Slot::Previous => format!(".{name}.previous.{extension}"),
        })
    }
}

fn stem(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

/// In one step, and on the disk before that.
fn write(to: &Path, content: &[u8]) -> io::Result<()> {
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let part = to.with_file_name(format!(".{name}.part"));
    let mut file = fs::File::create(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, to)
}

fn delete(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
