//! The functions of this process: those of the configuration, those of the folder, and those an operator brings in. What
//! a function is and which version answers is the blocks' matter; here is where modules come from and where they stay.

mod configured;
mod fetch;
mod folder;
mod operate;
mod settings;
mod watching;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use outrigger_blocks::{
    Blocks,
    function::{FunctionConfig, Origin},
};
use outrigger_cluster::Context;
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify},
    task::JoinHandle,
};

use crate::{
    config::{Config, Loaded, Problems},
    outbound::Outbound,
    wasm,
};
use folder::Folder;

pub use configured::Configured;
pub use fetch::server;
pub use settings::check;

/// Where functions come from, as long as the process lives.
pub struct Managed {
    blocks: Arc<Blocks>,
    control: Handle,
    outbound: Outbound,
    /// The folder in force. Whoever changes functions by it, or while the process runs, holds it: one at a time.
    folder: Mutex<Option<Folder>>,
    /// The folder the configuration in force names.
    wanted: parking_lot::Mutex<Option<PathBuf>>,
    watching: parking_lot::Mutex<Option<JoinHandle<()>>>,
    nudge: Arc<Notify>,
}

impl Managed {
    pub fn new(blocks: Arc<Blocks>, control: Handle, context: Context) -> Self {
        Self {
            blocks,
            control,
            outbound: Outbound::new(context),
            folder: Mutex::default(),
            wanted: parking_lot::Mutex::default(),
            watching: parking_lot::Mutex::default(),
            nudge: Arc::default(),
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
    pub async fn follow(self: &Arc<Self>, config: &Config, next: &Configured, previous: &Configured) {
        next.install(&self.blocks.functions, previous);
        self.follow_folder(wasm::folder(&config.wasm)).await;
    }

    async fn follow_folder(self: &Arc<Self>, wanted: Option<&Path>) {
        if self.wanted.lock().as_deref() == wanted {
            // A name may be free by now. Whoever follows the folder looks: that may take its time.
            return self.nudge.notify_one();
        }
        *self.wanted.lock() = wanted.map(Path::to_owned);
        let mut folder = self.folder.lock().await;
        self.leave_folder();
        *folder = wanted.and_then(|path| watching::open(self, path));
        if let Some(folder) = folder.as_mut() {
            folder.scan(&self.blocks.functions).await;
        }
    }

    /// The folder in force is another one, or none any more.
    fn leave_folder(&self) {
        if let Some(task) = self.watching.lock().take() {
            task.abort();
        }
        for function in self.blocks.functions.list() {
            if function.origin == Origin::Folder {
                self.blocks.functions.remove(&function.name).ok();
            }
        }
    }

    /// Nothing is brought in any more; calls under way finish, at most this long. How many are left.
    pub async fn drain(&self, limit: Duration) -> u64 {
        if let Some(task) = self.watching.lock().take() {
            task.abort();
        }
        self.blocks.functions.drain(limit).await
    }
}

/// The files of the section: another content is another version.
pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> + '_ {
    config.functions.values().filter_map(|function| function.file.clone())
}

#[cfg(test)]
mod tests;
