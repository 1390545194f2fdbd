//! Configuration from a file people edit; watched, and written only where the settings say so.

use std::fs;
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use outrigger_component_api::{
    Backend, BuildContext, Component, ConfigurationCapabilities, ConfigurationChange as Change,
    ConfigurationEvent as Event, ConfigurationItem as Item, ConfigurationStore, Error, ErrorKind, Result,
    Revision, Selector, Watch, async_trait,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use super::format::{Format, Items};
use super::{item, select, without_levels};

/// Registers [`FileConfiguration`] as `configuration.local.file`.
pub struct FileConfigurationBackend;

/// Settings of `configuration.local.file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FileConfigurationConfig {
    /// The file; its ending says whether it is JSON (`.json`), YAML (`.yaml`, `.yml`) or properties (`.properties`).
    /// Relative to the directory the sidecar was started in. Names that are nested are joined by dots.
    pub file: PathBuf,
    /// Whether items may be saved and deleted. The file is then written anew, without its comments. Default: false.
    #[serde(default)]
    pub writable: bool,
}

#[async_trait]
impl Backend for FileConfigurationBackend {
    const TYPE: &'static str = "configuration.local.file";
    const ABOUT: &'static str = "Configuration from a YAML, JSON or properties file, watched for changes.";
    const EXAMPLE: &'static [(&'static str, &'static str)] =
        &[("file", "settings.yaml"), ("writable", "true")];
    type Config = FileConfigurationConfig;
    type Block = dyn ConfigurationStore;

    async fn build(config: FileConfigurationConfig, _: &BuildContext) -> Result<Arc<dyn ConfigurationStore>> {
        Ok(Arc::new(FileConfiguration::open(config)?))
    }
}

/// A file of configuration.
pub struct FileConfiguration {
    file: Arc<File>,
    writable: bool,
    /// Held from reading to writing.
    writing: Mutex<()>,
}

/// The file and those who wait for it to change.
struct File {
    path: PathBuf,
    format: Format,
    /// Started with the first watch.
    watcher: Mutex<Option<Watching>>,
}

struct Watching {
    touched: watch::Receiver<()>,
    /// Held to be dropped: it ends the watching thread.
    _watcher: RecommendedWatcher,
}

impl FileConfiguration {
    /// Reads the file for the first time. One that is missing is empty if it may be written, and else a mistake.
    pub fn open(config: FileConfigurationConfig) -> Result<Self> {
        let format = Format::of(&config.file).map_err(|error| error.with("file", config.file.display()))?;
        let file = Arc::new(File { path: config.file, format, watcher: Mutex::new(None) });
        if !config.writable && !file.path.exists() {
            return Err(Error::invalid("file does not exist").with("file", file.path.display()));
        }
        file.read()?;
        Ok(Self { file, writable: config.writable, writing: Mutex::new(()) })
    }

    /// Reads, changes and writes, alone.
    fn change(&self, change: impl FnOnce(&mut Items)) -> Result<()> {
        let _writing = self.writing.lock();
        let mut items = self.file.read()?;
        let before = items.clone();
        change(&mut items);
        if items == before && self.file.path.exists() { Ok(()) } else { self.file.write(&items) }
    }
}

impl File {
    /// What it says now: small, so reading it is not worth a hop to another thread.
    fn read(&self) -> Result<Items> {
        match fs::read_to_string(&self.path) {
            Ok(text) => self.format.read(&text),
            Err(error) if error.kind() == IoKind::NotFound => Ok(Items::new()),
            Err(error) => Err(self.failed("the configuration file cannot be read", error)),
        }
    }

    /// In one step: nobody reads half a file.
    fn write(&self, items: &Items) -> Result<()> {
        let write = || {
            let mut next = self.path.as_os_str().to_owned();
            next.push(".next");
            let mut file = fs::File::create(&next)?;
            file.write_all(self.format.write(items).as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, &self.path)
        };
        write().map_err(|error| self.failed("the configuration file cannot be written", error))
    }

    fn failed(&self, message: &'static str, error: std::io::Error) -> Error {
        Error::unavailable(message).with_source(format!("{}: {error}", self.path.display())).permanent()
    }

    /// Hears of every touch of the file after this returns.
    fn touched(&self) -> Result<watch::Receiver<()>> {
        let mut watcher = self.watcher.lock();
        let watching = match watcher.take() {
            Some(watching) => watching,
            None => self.watch().map_err(|error| {
                let message = "the configuration file cannot be watched";
                Error::new(ErrorKind::Unavailable, message).with_source(error)
            })?,
        };
        Ok(watcher.insert(watching).touched.clone())
    }

    /// Folders are watched, not the file: editors replace it, and mounted files are swapped by a link.
    fn watch(&self) -> notify::Result<Watching> {
        let (tell, touched) = watch::channel(());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                tell.send_replace(());
            }
        })?;
        watcher.watch(folder(&self.path), RecursiveMode::NonRecursive)?;
        if let Ok(real) = self.path.canonicalize()
            && folder(&real) != folder(&self.path)
        {
            watcher.watch(folder(&real), RecursiveMode::NonRecursive)?;
        }
        Ok(Watching { touched, _watcher: watcher })
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[async_trait]
impl Component for FileConfiguration {
    async fn ping(&self) -> Result<()> {
        self.file.read().map(drop)
    }
}

#[async_trait]
impl ConfigurationStore for FileConfiguration {
    fn capabilities(&self) -> ConfigurationCapabilities {
        ConfigurationCapabilities {
            writable: self.writable,
            watchable: true,
            ..ConfigurationCapabilities::default()
        }
    }

    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        select(&self.file.read()?, selector)
    }

    async fn save(&self, _: &str, new: Vec<Item>) -> Result<()> {
        if !self.writable {
            return Err(Error::unsupported("writing configuration: its file is read only"));
        }
        for item in &new {
            without_levels(&item.group, &item.label)?;
            if !item.tags.is_empty() {
                return Err(Error::unsupported("tags of configuration items"));
            }
        }
        self.change(|items| items.extend(new.into_iter().map(|item| (item.key, item.content))))
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        if !self.writable {
            return Err(Error::unsupported("deleting configuration: its file is read only"));
        }
        without_levels(&selector.group, &selector.label)?;
        if selector.keys.is_empty() {
            return Ok(());
        }
        self.change(|items| items.retain(|key, _| !selector.keys.contains(key)))
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        without_levels(&selector.group, &selector.label)?;
        if from.is_some() {
            return Err(Error::invalid("revision: a file has no history to go on from"));
        }
        // Before looking: what is touched after that is heard.
        let touched = self.file.touched()?;
        let known = self.file.read()?;
        Ok(Box::new(FileWatch { file: Arc::clone(&self.file), selector: selector.clone(), known, touched }))
    }
}

/// What somebody knows of the file, and how they learn more.
struct FileWatch {
    file: Arc<File>,
    selector: Selector,
    known: Items,
    touched: watch::Receiver<()>,
}

impl FileWatch {
    /// What changed since the last look.
    fn look(&mut self) -> Vec<Change> {
        let now = match self.file.read() {
            Ok(now) => now,
            // Half written or mistyped: what was known stays until it is right again.
            Err(error) => {
                tracing::warn!(file = %self.file.path.display(), %error, "configuration file is left as it was");
                return Vec::new();
            }
        };
        let before = std::mem::replace(&mut self.known, now);
        let set = self.known.iter().filter(|(key, content)| before.get(*key) != Some(*content));
        let set = set.map(|(key, content)| Change::Set(item(key, content)));
        let gone = before.keys().filter(|key| !self.known.contains_key(*key));
        let gone = gone.map(|key| Change::Deleted(item(key, "")));
        set.chain(gone).filter(|change| self.selector.selects(&change.item().key)).collect()
    }
}

#[async_trait]
impl Watch for FileWatch {
    async fn next(&mut self) -> Result<Event> {
        loop {
            // Seen before looking, and nothing waits between finding changes and returning them.
            self.touched.mark_unchanged();
            let changes = self.look();
            if !changes.is_empty() {
                return Ok(Event::Changed { changes, revision: None });
            }
            let touched = self.touched.changed().await;
            touched
                .map_err(|_| Error::unavailable("the configuration file is watched no more").permanent())?;
        }
    }
}
