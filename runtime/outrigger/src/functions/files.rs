//! The files of a folder of functions: `NAME.wasm` and `NAME.yaml`, and out of sight beside them the candidate and the
//! version before, where an operator brought them in.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use outrigger_blocks::{
    Error, Result,
    function::{FunctionConfig, Known, Module, check_name},
};

use super::{fetch, settings};
use crate::config::show;

/// A folder that is there.
pub(super) struct Files(PathBuf);

/// Which of a function's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Current,
    Candidate,
    Previous,
}

/// What tells one content of a file from the next.
type Stamp = Option<(u64, SystemTime, u64)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    module: Stamp,
    settings: Stamp,
}

const MODULE: &str = "wasm";
const SETTINGS: &str = "yaml";

impl Files {
    /// Makes the folder if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Every function in it.
    pub(super) fn list(&self) -> io::Result<BTreeMap<String, Stamps>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.0)? {
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

    pub(super) fn stamps(&self, name: &str) -> Stamps {
        let stamp = |extension| {
            let metadata = fs::metadata(self.file(name, Slot::Current, extension)).ok()?;
            Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
        };
        Stamps { module: stamp(MODULE), settings: stamp(SETTINGS) }
    }

    pub(super) fn has(&self, name: &str, slot: Slot) -> bool {
        self.file(name, slot, MODULE).exists()
    }

    pub(super) async fn module(&self, name: &str, slot: Slot) -> Result<Module> {
        fetch::read(&self.file(name, slot, MODULE)).await
    }

    pub(super) fn settings(&self, name: &str, slot: Slot, known: &Known) -> Result<FunctionConfig> {
        let file = self.file(name, slot, SETTINGS);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::invalid(format!("cannot read {}: {error}", file.display()))),
        };
        settings::read(&file, &text, &|name| std::env::var(name).ok(), known)
    }

    /// Writes a version down.
    pub(super) async fn write(
        &self,
        name: &str,
        slot: Slot,
        module: &Module,
        config: &FunctionConfig,
    ) -> io::Result<()> {
        let (sha256, weight) = match slot {
            // Whoever finds it goes on with it, if it is whole.
            Slot::Candidate => (Some(module.sha256().to_string()), config.weight),
            // What it was when it came does not matter any more.
            Slot::Current | Slot::Previous => (None, FunctionConfig::default().weight),
        };
        self.write_settings(name, slot, FunctionConfig { sha256, weight, ..config.clone() }).await?;
        let (to, bytes) = (self.file(name, slot, MODULE), module.bytes().clone());
        blocking(move || write(&to, &bytes)).await
    }

    pub(super) async fn write_settings(
        &self,
        name: &str,
        slot: Slot,
        config: FunctionConfig,
    ) -> io::Result<()> {
        let text = show::yaml(&serde_json::to_value(config).map_err(io::Error::other)?);
        let to = self.file(name, slot, SETTINGS);
        blocking(move || write(&to, text.as_bytes())).await
    }

    /// Copies the files there are; those there are not are not there afterwards either.
    pub(super) async fn copy(&self, name: &str, from: Slot, to: Slot) -> io::Result<()> {
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

    /// Writes down which current version the others are beside.
    pub(super) async fn pin(&self, name: &str) -> io::Result<()> {
        let pin = self.pinned(name);
        if !self.has(name, Slot::Current) {
            return blocking(move || delete(&pin)).await;
        }
        let current = self.module(name, Slot::Current).await.map_err(io::Error::other)?;
        blocking(move || write(&pin, current.sha256().as_bytes())).await
    }

    /// Whether the others are beside this one. Whoever exchanges a file by hand knows nothing of them.
    pub(super) fn is_pinned(&self, name: &str, sha256: &str) -> bool {
        fs::read_to_string(self.pinned(name)).is_ok_and(|pinned| pinned == sha256)
    }

    /// Deletes what is beside the current one.
    pub(super) async fn delete_others(&self, name: &str) -> io::Result<()> {
        let pin = self.pinned(name);
        blocking(move || delete(&pin)).await?;
        self.delete(name, Slot::Candidate).await?;
        self.delete(name, Slot::Previous).await
    }

    fn pinned(&self, name: &str) -> PathBuf {
        self.0.join(format!(".{name}.beside"))
    }

    pub(super) async fn delete(&self, name: &str, slot: Slot) -> io::Result<()> {
        for extension in [MODULE, SETTINGS] {
            let file = self.file(name, slot, extension);
            blocking(move || delete(&file)).await?;
        }
        Ok(())
    }

    fn file(&self, name: &str, slot: Slot, extension: &str) -> PathBuf {
        self.0.join(match slot {
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

/// In one step, and on the disk before that. For this user only: settings may hold what others are not to know.
fn write(to: &Path, content: &[u8]) -> io::Result<()> {
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let part = to.with_file_name(format!(".{name}.part"));
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
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
