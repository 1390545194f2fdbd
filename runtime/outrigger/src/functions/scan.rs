//! One look through the folder: what came or changed there is brought in, what is gone is removed. Nobody who changes
//! functions waits while one is read and compiled; whether it still is what lies there is seen afterwards.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use outrigger_blocks::{
    Error,
    function::{Coming, Deployed, FunctionConfig, Functions, Known, Module, Origin, Prepared, Standing},
};

use super::{
    Managed,
    files::{Files, Slot, Stamps},
    folder::Folder,
};

/// Functions brought in at once. More are compiled at once: an operator does not wait for the folder.
const AT_ONCE: usize = 2;

/// Brings functions in line with the files. One that cannot be brought in leaves its version before. Whether there are
/// some for which there was no room.
pub(super) async fn scan(managed: &Managed) -> bool {
    let known = Arc::clone(&managed.known.lock());
    let functions = &managed.blocks.functions;
    let (files, news) = match managed.folder.lock().await.as_mut() {
        Some(folder) => (Arc::clone(&folder.files), folder.news(functions, &known).await),
        None => return false,
    };
    let news = news.into_iter().map(|(name, stamps)| News {
        _coming: functions.expect(&name, Origin::Folder),
        bringing: Bringing { managed, files: &files, known: &known, name },
        stamps,
    });
    let news: Vec<_> = news.collect();
    stream::iter(news).for_each_concurrent(AT_ONCE, News::bring).await;
    managed.folder.lock().await.as_ref().is_some_and(Folder::is_unfinished)
}

/// A function whose files were not seen before as they are now.
struct News<'m> {
    bringing: Bringing<'m>,
    stamps: Stamps,
    _coming: Coming<'m>,
}

struct Bringing<'m> {
    managed: &'m Managed,
    files: &'m Files,
    known: &'m Known,
    name: String,
}

/// What lies in a slot.
enum Found {
    /// It is in force.
    Same,
    New(Prepared),
}

/// Why not, and the digest of what was read.
type Refusal = (Arc<str>, Error);

impl News<'_> {
    async fn bring(self) {
        let Self { bringing, stamps, _coming } = self;
        let (name, functions) = (bringing.name.as_str(), bringing.functions());
        let _turn = bringing.managed.turns.take(name).await;
        if bringing.files.stamps(name) != stamps {
            return;
        }
        let found = bringing.look(Slot::Current).await;
        let beside = {
            let mut folder = bringing.managed.folder.lock().await;
            let Some(folder) = folder.as_mut() else { return };
            // Another file is news of its own, and what the configuration has by now is not the folder's.
            if bringing.files.stamps(name) != stamps || functions.origin(name) == Some(Origin::Config) {
                return;
            }
            folder.looked_at(name, stamps, found.as_ref().err().map(|(_, error)| error));
            match found {
                Ok(Found::Same) => return functions.settle(name),
                Ok(Found::New(prepared)) => bringing.put(prepared, folder).await,
                Err(refusal) => return bringing.refuse(&refusal),
            }
        };
        if let Some(standing) = beside {
            bringing.restore(standing).await;
        }
    }
}

impl<'m> Bringing<'m> {
    fn functions(&self) -> &'m Functions {
        &self.managed.blocks.functions
    }

    /// What it is now, if that may have others beside it.
    async fn put(&self, prepared: Prepared, folder: &Folder) -> Option<Standing> {
        let (name, functions) = (self.name.as_str(), self.functions());
        let is_new = !functions.has(name);
        let is_pinned = self.files.is_pinned(name, prepared.sha256());
        tracing::info!(function = name, version = %prepared.version(), "function deployed");
        functions.put(prepared, Origin::Folder);
        if is_new && is_pinned {
            return Some(functions.standing(name));
        }
        folder.clear(name).await;
        None
    }

    /// What an operator had deployed beside it goes on where it was, unless something changes meanwhile; what of it
    /// cannot is refused, and that is all.
    async fn restore(&self, mut standing: Standing) {
        let (name, functions) = (self.name.as_str(), self.functions());
        for slot in [Slot::Previous, Slot::Candidate] {
            if !self.files.has(name, slot) {
                continue;
            }
            let _coming = functions.expect(name, Origin::Folder);
            let Some(found) = self.beside(slot).await else { continue };
            let _folder = self.managed.folder.lock().await;
            if !functions.stands(name, &standing) {
                return;
            }
            match (found, slot) {
                (Ok(previous), Slot::Previous) => functions.put_behind(previous),
                (Ok(candidate), _) => {
                    tracing::info!(function = name, version = %candidate.version(), "the candidate is back");
                    functions.put(candidate, Origin::Folder);
                }
                (Err(refusal), _) => self.refuse(&refusal),
            }
            standing = functions.standing(name);
        }
    }

    /// A version beside the current one, if there is one that differs.
    async fn beside(&self, slot: Slot) -> Option<Result<Prepared, Refusal>> {
        let (module, config) = match self.read(slot).await {
            Ok(read) => read,
            Err(refusal) => return Some(Err(refusal)),
        };
        // A change that was not finished leaves such a candidate behind: one that would get all calls is none.
        let is_left_over = slot == Slot::Candidate && config.weight >= FunctionConfig::default().weight;
        if is_left_over || self.is_current(&module, &config) {
            return None;
        }
        Some(self.prepare(module, config).await)
    }

    async fn look(&self, slot: Slot) -> Result<Found, Refusal> {
        let (module, config) = self.read(slot).await?;
        if self.is_current(&module, &config) {
            return Ok(Found::Same);
        }
        self.prepare(module, config).await.map(Found::New)
    }

    async fn read(&self, slot: Slot) -> Result<(Module, FunctionConfig), Refusal> {
        let module = self.files.module(&self.name, slot).await.map_err(|error| (Arc::default(), error))?;
        let config = self.files.settings(&self.name, slot, self.known);
        let config = config.map_err(|error| (Arc::clone(module.sha256()), error))?;
        Ok((module, config))
    }

    fn is_current(&self, module: &Module, config: &FunctionConfig) -> bool {
        let same = |now: Deployed| now.sha256 == *module.sha256() && now.config.is_same(config);
        self.functions().get(&self.name).is_some_and(same)
    }

    async fn prepare(&self, module: Module, config: FunctionConfig) -> Result<Prepared, Refusal> {
        let sha256 = Arc::clone(module.sha256());
        let prepared = self.functions().prepare(&self.name, module, config).await;
        prepared.map_err(|error| (sha256, error))
    }

    fn refuse(&self, (sha256, error): &Refusal) {
        tracing::error!(function = self.name, error = error.message(), "function refused");
        self.functions().refuse(&self.name, sha256, error.message(), Origin::Folder);
    }
}
