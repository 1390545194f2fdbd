//! The functions of this process: those of the configuration, those of the folder, and those an operator brings in. What
//! a function is and which version answers is the blocks' matter; here is where modules come from and where they stay.

mod configured;
mod fetch;
mod files;
mod folder;
mod operate;
mod scan;
mod settings;
mod turns;
mod watching;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use outrigger_blocks::{
    Blocks,
    function::{FunctionConfig, Known, Origin},
};
use outrigger_cluster::Context;
use outrigger_component_api::Registry;
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, Semaphore},
    task::JoinHandle,
};

use crate::{
    config::{Config, Loaded, Problems, check::grants},
    outbound::Outbound,
    wasm,
};
use folder::Folder;
use turns::Turns;

pub use configured::Configured;
pub use fetch::server;
pub use settings::check;

/// How long the process waits for the functions of a folder before it listens. Longer, and whoever looks after it might
/// take it for dead; those that are not there by then come when they are compiled.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where functions come from, as long as the process lives.
pub struct Managed {
    blocks: Arc<Blocks>,
    control: Handle,
    outbound: Outbound,
    /// The folder in force. Whoever changes functions by it, or while the process runs, holds it: one at a time. Nobody
    /// compiles meanwhile.
    folder: Mutex<Option<Folder>>,
    turns: Turns,
    /// Operators that bring a version in.
    deploying: Semaphore,
    /// The folder the configuration in force names.
    wanted: parking_lot::Mutex<Option<PathBuf>>,
    watching: parking_lot::Mutex<Option<JoinHandle<()>>>,
    nudge: Arc<Notify>,
    /// What functions can be granted, and called by, in the configuration in force.
    known: parking_lot::Mutex<Arc<Known>>,
    /// The folder has not been looked through yet.
    is_arriving: AtomicBool,
    /// A configuration was in force: requests come in.
    is_known: AtomicBool,
}

impl Managed {
    pub fn new(blocks: Arc<Blocks>, control: Handle, context: Context) -> Self {
        Self {
            blocks,
            control,
            outbound: Outbound::new(context),
            folder: Mutex::default(),
            turns: Turns::default(),
            deploying: Semaphore::new(operate::AT_ONCE),
            wanted: parking_lot::Mutex::default(),
            watching: parking_lot::Mutex::default(),
            nudge: Arc::default(),
            known: parking_lot::Mutex::default(),
            is_arriving: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
        }
    }

    /// Loads what the section `functions` asks for and `previous` does not have yet. Nothing is in force.
    pub async fn compile(&self, loaded: &Loaded, previous: &Configured) -> Result<Configured, Problems> {
        configured::compile(self, loaded, previous, |_| true).await
    }

    /// Loads what the section asks for and lies here, as if it were to be put in force. No server is asked.
    pub async fn check(&self, loaded: &Loaded) -> Result<(), Problems> {
        let here = |function: &FunctionConfig| function.file.is_some();
        configured::compile(self, loaded, &Configured::default(), here).await.map(drop)
    }

    /// Puts what was compiled in force, and follows the folder.
    pub async fn follow(
        self: &Arc<Self>,
        loaded: &Loaded,
        registry: &Registry,
        next: &Configured,
        previous: &Configured,
    ) {
        *self.known.lock() = Arc::new(grants::known(&loaded.config, &loaded.tree, registry));
        next.install(&self.blocks.functions, previous);
        self.follow_folder(wasm::folder(&loaded.config.wasm), PATIENCE).await;
    }

    /// The first time, returns when the folder was looked through once, or after so long. Later nobody is kept waiting:
    /// half a configuration would be in force as long.
    async fn follow_folder(self: &Arc<Self>, wanted: Option<&Path>, patience: Duration) {
        let is_start = !self.is_known.swap(true, Relaxed);
        if self.wanted.lock().as_deref() == wanted {
            // A name may be free by now. Whoever follows the folder looks: that may take its time.
            return self.nudge.notify_one();
        }
        *self.wanted.lock() = wanted.map(Path::to_owned);
        self.stop_watching().await;
        let looked = {
            let mut folder = self.folder.lock().await;
            self.leave_folder();
            let opened = wanted.and_then(|path| watching::open(self, path));
            self.is_arriving.store(opened.is_some(), Relaxed);
            let (opened, looked) = opened.unzip();
            *folder = opened;
            looked
        };
        let Some(looked) = looked.filter(|_| is_start) else { return };
        if tokio::time::timeout(patience, looked).await.is_err() {
            let functions = self.arriving().join(", ");
            tracing::warn!(functions, "functions of the folder are still being compiled");
        }
    }

    /// The functions that lay in the folder when it was first looked into and are still being compiled.
    pub fn arriving(&self) -> Vec<Arc<str>> {
        if !self.is_arriving.load(Relaxed) {
            return Vec::new();
        }
        let listed = self.blocks.functions.list().into_iter();
        listed.filter(|function| function.is_coming()).map(|function| function.name).collect()
    }

    /// Nothing of it is on its way afterwards.
    async fn stop_watching(&self) {
        let task = self.watching.lock().take();
        if let Some(task) = task {
            task.abort();
            task.await.ok();
        }
    }

    /// The folder in force is another one, or none any more.
    fn leave_folder(&self) {
        for function in self.blocks.functions.list() {
            if function.origin == Origin::Folder {
                self.blocks.functions.remove(&function.name).ok();
            }
        }
    }

    /// Nothing is brought in any more; calls under way finish, at most this long. How many are left.
    pub async fn drain(&self, limit: Duration) -> u64 {
        self.stop_watching().await;
        self.blocks.functions.drain(limit).await
    }
}

/// The files of the section: another content is another version.
pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> + '_ {
    config.functions.values().filter_map(|function| function.file.clone())
}

#[cfg(test)]
mod tests;
