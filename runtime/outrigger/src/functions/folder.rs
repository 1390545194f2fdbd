//! The folder of functions: what has been seen of it, and what an operator deploys, which is kept there, a candidate with
//! its weight and the version before as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use outrigger_blocks::{
    Error, ErrorKind,
    function::{FunctionConfig, Functions, Known, Module, Origin},
};

use super::files::{Files, Slot, Stamps};

/// A folder, and what was seen of it.
pub(super) struct Folder {
    pub(super) files: Arc<Files>,
    /// None of those to be looked at again.
    seen: BTreeMap<String, Option<Stamps>>,
    /// Those that could not be brought in.
    refused: BTreeSet<String>,
    /// What they could be granted then.
    known: Arc<Known>,
}

impl Folder {
    /// Makes it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (seen, refused) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { files: Arc::new(Files::open(path)?), seen, refused, known: Arc::default() })
    }

    /// What came or changed since the last look; what is gone goes. One that could not be brought in is news again when
    /// its file changes, and when there is something else to be granted.
    pub(super) async fn news(&mut self, functions: &Functions, known: &Arc<Known>) -> Vec<(String, Stamps)> {
        let found = match self.files.list() {
            Ok(found) => found,
            Err(error) => {
                let folder = self.files.path().display();
                tracing::error!(%folder, %error, "the folder of functions cannot be read");
                return Vec::new();
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
            functions.origin(name) != Some(Origin::Config) && self.seen.get(name) != Some(&Some(*stamps))
        };
        found.into_iter().filter(is_news).collect()
    }

    /// What lies there was looked at, and is no news any more, unless there was no room to bring it in.
    pub(super) fn looked_at(&mut self, name: &str, stamps: Stamps, refusal: Option<&Error>) {
        let is_over = refusal.is_none_or(|error| error.kind() != ErrorKind::Unavailable);
        self.seen.insert(name.to_owned(), is_over.then_some(stamps));
        match refusal {
            Some(_) => self.refused.insert(name.to_owned()),
            None => self.refused.remove(name),
        };
    }

    /// Whether there is one to be looked at again although nothing changes.
    pub(super) fn is_unfinished(&self) -> bool {
        self.seen.values().any(Option::is_none)
    }

    /// Whether what lies there was looked at, so that it may be written over.
    pub(super) fn has_seen(&self, name: &str) -> bool {
        match self.seen.get(name) {
            Some(seen) => *seen == Some(self.files.stamps(name)),
            None => !self.files.has(name, Slot::Current),
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
    pub(super) async fn clear(&self, name: &str) {
        if let Err(error) = self.files.delete_others(name).await {
            tracing::warn!(function = name, %error, "what was kept beside the function cannot be deleted");
        }
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
        self.seen.insert(name.to_owned(), Some(self.files.stamps(name)));
        Ok(())
    }
}
