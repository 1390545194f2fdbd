//! The folder of functions: what comes, changes or goes there is deployed, replaced or removed; what an operator deploys
//! is kept there, a candidate with its weight and the version before as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use outrigger_blocks::{
    Error, Result,
    function::{Deployed, FunctionConfig, Functions, Known, Module, Origin, Prepared},
};

use super::files::{Files, Slot, Stamps};

/// Functions brought in at once: while one is compiled the next one is read.
const AT_ONCE: usize = 4;

/// A folder, and what was seen of it.
pub(super) struct Folder {
    files: Files,
    seen: BTreeMap<String, Stamps>,
    /// Those that could not be brought in.
    refused: BTreeSet<String>,
    /// What they could be granted then.
    known: Arc<Known>,
}

impl Folder {
    /// Makes it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (seen, refused) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { files: Files::open(path)?, seen, refused, known: Arc::default() })
    }

    /// Brings functions in line with the files. One that cannot be brought in leaves its version before; when its file
    /// changes again it is tried again, and when there is something else to be granted.
    pub(super) async fn scan(&mut self, functions: &Functions, known: &Arc<Known>) {
        let found = match self.files.list() {
            Ok(found) => found,
            Err(error) => {
                let folder = self.files.path().display();
                return tracing::error!(%folder, %error, "the folder of functions cannot be read");
            }
        };
        self.forget(&found, functions).await;
        if self.known != *known {
            self.known = Arc::clone(known);
            let refused = std::mem::take(&mut self.refused);
            self.seen.retain(|name, _| !refused.contains(name));
        }
        // What the configuration has is not remembered: it is its turn when that has it no more.
        let is_news = |(name, stamps): &(String, Stamps)| {
            functions.origin(name) != Some(Origin::Config) && self.seen.get(name) != Some(stamps)
        };
        let news: Vec<_> = found.into_iter().filter(is_news).collect();
        news.iter().for_each(|(name, _)| functions.expect(name, Origin::Folder));
        let folder = &*self;
        let bring = |(name, stamps): (String, Stamps)| async move {
            let brought = folder.bring(&name, functions).await;
            (name, stamps, brought)
        };
        let brought: Vec<_> = stream::iter(news).map(bring).buffer_unordered(AT_ONCE).collect().await;
        for (name, stamps, brought) in brought {
            if brought.is_ok() {
                self.refused.remove(&name)
            } else {
                self.refused.insert(name.clone())
            };
            self.seen.insert(name, stamps);
        }
    }

    async fn forget(&mut self, found: &BTreeMap<String, Stamps>, functions: &Functions) {
        let gone: Vec<_> = self.seen.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in gone {
            self.seen.remove(&name);
            self.clear(&name).await;
            if functions.origin(&name) == Some(Origin::Folder) && functions.remove(&name).is_ok() {
                tracing::info!(function = name, "function removed: its file is gone");
            }
        }
    }

    /// Files beside one that is not what they were brought in beside go, so that they never come back beside another.
    async fn clear(&self, name: &str) {
        if let Err(error) = self.files.delete_others(name).await {
            tracing::warn!(function = name, %error, "what was kept beside the function cannot be deleted");
        }
    }

    async fn bring(&self, name: &str, functions: &Functions) -> Result<()> {
        let is_new = !functions.has(name);
        let (module, config) = self.read(name, Slot::Current, functions).await?;
        let same = |now: Deployed| now.sha256 == *module.sha256() && now.config.is_same(&config);
        if functions.get(name).is_some_and(same) {
            functions.settle(name);
            return Ok(());
        }
        let sha256 = Arc::clone(module.sha256());
        let prepared = prepare(name, module, config, functions).await?;
        tracing::info!(function = name, version = %prepared.version(), "function deployed");
        functions.put(prepared, Origin::Folder);
        if is_new && self.files.is_pinned(name, &sha256) {
            self.restore(name, functions).await;
        } else {
            self.clear(name).await;
        }
        Ok(())
    }

    /// What an operator had deployed beside it goes on where it was; what of it cannot is refused, and that is all.
    async fn restore(&self, name: &str, functions: &Functions) {
        if let Ok(Some(previous)) = self.beside(name, Slot::Previous, functions).await {
            functions.put_behind(previous);
        }
        if let Ok(Some(candidate)) = self.beside(name, Slot::Candidate, functions).await {
            tracing::info!(function = name, version = %candidate.version(), "the candidate is back");
            functions.put(candidate, Origin::Folder);
        }
    }

    /// A version beside the current one, if there is one that differs.
    async fn beside(&self, name: &str, slot: Slot, functions: &Functions) -> Result<Option<Prepared>> {
        if !self.files.has(name, slot) {
            return Ok(None);
        }
        let (module, config) = self.read(name, slot, functions).await?;
        // A change that was not finished leaves such a candidate behind: one that would get all calls is none.
        let is_left_over = slot == Slot::Candidate && config.weight >= FunctionConfig::default().weight;
        let same = |now: Deployed| now.sha256 == *module.sha256() && now.config.is_same(&config);
        let is_current = functions.get(name).is_some_and(same);
        if is_left_over || is_current {
            return Ok(None);
        }
        prepare(name, module, config, functions).await.map(Some)
    }

    /// What is in a slot. What cannot be read is refused.
    async fn read(&self, name: &str, slot: Slot, functions: &Functions) -> Result<(Module, FunctionConfig)> {
        let module = self.files.module(name, slot).await.inspect_err(|error| {
            refused(name, &Arc::default(), error, functions);
        })?;
        let config = self.files.settings(name, slot, &self.known).inspect_err(|error| {
            refused(name, module.sha256(), error, functions);
        })?;
        Ok((module, config))
    }

    /// Writes a version down. The current one it replaces becomes the one before.
    pub(super) async fn keep(
        &mut self,
        name: &str,
        slot: Slot,
        module: &Module,
        config: &FunctionConfig,
    ) -> io::Result<()> {
        if slot == Slot::Current {
            self.files.copy(name, Slot::Current, Slot::Previous).await?;
            self.files.delete(name, Slot::Candidate).await?;
        }
        self.files.write(name, slot, module, config).await?;
        self.saw(name).await
    }

    /// The candidate takes the place of the current one; whether its files were here.
    pub(super) async fn promote(&mut self, name: &str) -> io::Result<bool> {
        if !self.files.has(name, Slot::Candidate) {
            return Ok(false);
        }
        let module = self.files.module(name, Slot::Candidate).await.map_err(io::Error::other)?;
        let config = self.candidate(name)?;
        self.files.copy(name, Slot::Current, Slot::Previous).await?;
        self.files.write(name, Slot::Current, &module, &config).await?;
        self.files.delete(name, Slot::Candidate).await?;
        self.saw(name).await?;
        Ok(true)
    }

    /// The candidate gets another percentage of calls; whether its files are here.
    pub(super) async fn weigh(&mut self, name: &str, weight: u8) -> io::Result<bool> {
        if !self.files.has(name, Slot::Candidate) {
            return Ok(false);
        }
        let config = FunctionConfig { weight, ..self.candidate(name)? };
        self.files.write_settings(name, Slot::Candidate, config).await?;
        Ok(true)
    }

    /// What it is granted was checked when it came.
    fn candidate(&self, name: &str) -> io::Result<FunctionConfig> {
        self.files.settings(name, Slot::Candidate, &Known::default()).map_err(io::Error::other)
    }

    /// The candidate is no more; whether what is current is what its file holds.
    pub(super) async fn withdraw(&mut self, name: &str) -> io::Result<bool> {
        self.files.delete(name, Slot::Candidate).await?;
        Ok(self.files.has(name, Slot::Current))
    }

    /// The version before takes the place of the current one, and the other way round; whether its files were here.
    pub(super) async fn go_back(&mut self, name: &str, wanted: &str) -> io::Result<bool> {
        let held = self.files.module(name, Slot::Previous).await;
        if !held.is_ok_and(|held| held.is(wanted)) {
            return Ok(false);
        }
        self.files.copy(name, Slot::Current, Slot::Candidate).await?;
        self.files.copy(name, Slot::Previous, Slot::Current).await?;
        self.files.copy(name, Slot::Candidate, Slot::Previous).await?;
        self.files.delete(name, Slot::Candidate).await?;
        self.saw(name).await?;
        Ok(true)
    }

    /// Takes a function's files away.
    pub(super) async fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files.delete(name, Slot::Current).await?;
        self.files.delete_others(name).await?;
        self.seen.remove(name);
        Ok(())
    }

    /// What we wrote ourselves is no news, and what is beside it is beside this one.
    async fn saw(&mut self, name: &str) -> io::Result<()> {
        self.files.pin(name).await?;
        self.seen.insert(name.to_owned(), self.files.stamps(name));
        Ok(())
    }
}

async fn prepare(
    name: &str,
    module: Module,
    config: FunctionConfig,
    functions: &Functions,
) -> Result<Prepared> {
    let sha256 = Arc::clone(module.sha256());
    let prepared = functions.prepare(name, module, config).await;
    prepared.inspect_err(|error| refused(name, &sha256, error, functions))
}

fn refused(name: &str, sha256: &Arc<str>, error: &Error, functions: &Functions) {
    tracing::error!(function = name, error = error.message(), "function refused");
    functions.refuse(name, sha256, error.message(), Origin::Folder);
}
