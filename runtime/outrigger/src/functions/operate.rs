//! Changes an operator makes while the process runs. What can be kept goes into the folder.

use std::{path::Path, sync::Arc, time::Duration};

use outrigger_api::functions::{Change, Changed, Deployment, FunctionAdmin};
use outrigger_blocks::{
    Error, ErrorKind, Result,
    function::{FunctionConfig, FunctionLog, FunctionReport, Module, Origin},
};
use outrigger_component_api::async_trait;
use tokio::{sync::MutexGuard, time::timeout};

use super::{Managed, files::Slot, folder::Folder, settings, turns::Turn};
use crate::{app::App, operator::Operator};

/// Versions brought in at once, each with its module in memory.
pub(super) const AT_ONCE: usize = 8;
/// How long one waits for another version of the same function to be brought in.
const TURN: Duration = Duration::from_secs(30);
/// And for others to read and write the files of the folder.
const FILES: Duration = Duration::from_secs(10);

impl Managed {
    /// Loads a version, keeps it where there is a folder, and puts it in force. What an operator changes while it is
    /// compiled is newer.
    pub async fn deploy(&self, deployment: Deployment) -> Result<Changed> {
        let _one = self.deploying.try_acquire().map_err(|_| {
            Error::new(ErrorKind::RateLimited, format!("{AT_ONCE} functions are being deployed already"))
        })?;
        let (functions, name) = (&self.blocks.functions, deployment.name.as_str());
        let _turn = self.turn(name).await?;
        self.refuse_configured(name)?;
        let standing = functions.standing(name);
        let config = self.settings(&deployment)?;
        let module = Module::from(deployment.module.clone());
        let prepared = functions.prepare(name, module.clone(), config.clone()).await;
        let prepared = prepared.inspect_err(|error| {
            if let Some(origin) = functions.origin(name) {
                functions.refuse(name, module.sha256(), error.message(), origin);
            }
        })?;
        let mut folder = self.folder().await?;
        self.refuse_configured(name)?;
        if !functions.stands(name, &standing) {
            let message = format!("'{name}' was changed while this version was compiled: deploy it again");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let candidate = config.weight < 100 && functions.has(name);
        let slot = if candidate { Slot::Candidate } else { Slot::Current };
        if let Some(folder) = folder.as_mut() {
            refuse_unseen(folder, name)?;
            folder.keep(name, slot, &module, &config).await.map_err(unkept)?;
        }
        let origin = if folder.is_some() { Origin::Folder } else { Origin::Operator };
        tracing::info!(function = name, version = %prepared.version(), weight = config.weight, "function deployed");
        functions.put(prepared, origin);
        Ok(Changed { function: functions.report(name)?, kept: folder.is_some() })
    }

    async fn turn(&self, name: &str) -> Result<Turn> {
        let message = || format!("another version of '{name}' is still being compiled: try again later");
        timeout(TURN, self.turns.take(name)).await.map_err(|_| Error::unavailable(message()))
    }

    async fn folder(&self) -> Result<MutexGuard<'_, Option<Folder>>> {
        let message = "the folder of functions is being read and written: try again later";
        timeout(FILES, self.folder.lock()).await.map_err(|_| Error::unavailable(message))
    }

    /// What it is told: what the operator says, or else what it has been told so far.
    fn settings(&self, deployment: &Deployment) -> Result<FunctionConfig> {
        let now = || self.blocks.functions.get(&deployment.name);
        let known = Arc::clone(&self.known.lock());
        let mut config = match &deployment.config {
            // The environment is ours, and not for whoever can deploy to read.
            Some(text) => closed(settings::read(Path::new("config"), text, &|_| None, &known)?)?,
            None => {
                let mut config = now().map(|now| FunctionConfig::clone(&now.config)).unwrap_or_default();
                settings::are_known(&config, &known)?;
                config.weight = FunctionConfig::default().weight;
                config
            }
        };
        (config.file, config.url) = (None, None);
        config.sha256.clone_from(&deployment.sha256);
        config.weight = deployment.weight.unwrap_or(config.weight);
        Ok(config)
    }

    /// Changes who gets which calls; what can be kept, the folder has from then on.
    pub async fn change(&self, name: &str, change: Change) -> Result<Changed> {
        let mut folder = self.folder().await?;
        let functions = &self.blocks.functions;
        let before = functions.report(name)?;
        let had_candidate = before.has_candidate();
        let promoted = matches!(change, Change::Promote | Change::Weight(100));
        let replaces = promoted || (change == Change::Rollback && !had_candidate);
        let is_kept = functions.origin(name) == Some(Origin::Folder);
        if let Some(folder) = folder.as_ref().filter(|_| replaces && is_kept) {
            refuse_unseen(folder, name)?;
        }
        let changed = match change {
            Change::Promote => functions.promote(name),
            Change::Weight(weight) => functions.set_weight(name, weight),
            Change::Rollback => functions.rollback(name),
        };
        changed.map_err(|error| if before.is_coming() { not_yet(name, error) } else { error })?;
        tracing::info!(function = name, ?change, "function changed");
        let kept = match (functions.origin(name), folder.as_mut()) {
            (Some(Origin::Config), _) => promoted,
            (Some(Origin::Folder), Some(folder)) => match change {
                _ if promoted => folder.promote(name).await.map_err(unkept)?,
                Change::Rollback if had_candidate => folder.withdraw(name).await.map_err(unkept)?,
                Change::Rollback => {
                    let now = functions.get(name).map(|now| now.sha256).unwrap_or_default();
                    folder.go_back(name, &now).await.map_err(unkept)?
                }
                Change::Weight(weight) => folder.weigh(name, weight).await.map_err(unkept)?,
                Change::Promote => false,
            },
            _ => false,
        };
        Ok(Changed { function: functions.report(name)?, kept })
    }

    /// Takes a function away, with its files.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let mut folder = self.folder().await?;
        self.refuse_configured(name)?;
        self.blocks.functions.report(name)?;
        if let Some(folder) = folder.as_mut() {
            folder.remove(name).await.map_err(unkept)?;
        }
        self.blocks.functions.remove(name)?;
        tracing::info!(function = name, "function removed");
        Ok(())
    }

    /// What the configuration says is changed there.
    fn refuse_configured(&self, name: &str) -> Result<()> {
        if self.blocks.functions.origin(name) != Some(Origin::Config) {
            return Ok(());
        }
        let message = format!("'{name}' is part of the configuration: change functions.{name} there");
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }
}

/// The version that is not there may be the one that is on its way.
fn not_yet(name: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::FailedPrecondition => {
            Error::unavailable(format!("a version of '{name}' is still being compiled: try again later"))
        }
        _ => error,
    }
}

/// A file that is new and has not been brought in yet is not written over.
fn refuse_unseen(folder: &Folder, name: &str) -> Result<()> {
    if folder.has_seen(name) {
        return Ok(());
    }
    let message = format!("the file of '{name}' has changed and is being brought in: try again later");
    Err(Error::new(ErrorKind::Conflict, message))
}

/// What is kept is read again, and filled in from the environment as what is in the folder may be. It must not ask for
/// that.
fn closed(config: FunctionConfig) -> Result<FunctionConfig> {
    let text = serde_json::to_string(&config).map_err(|error| Error::internal(error.to_string()))?;
    if text.contains("${env:") {
        return Err(Error::invalid("config: `${env:` is for the files of whoever runs the sidecar"));
    }
    Ok(config)
}

fn unkept(error: std::io::Error) -> Error {
    Error::unavailable(format!("the folder of functions cannot be written: {error}")).with_source(error)
}

/// On the control runtime: what is begun must not end with the worker the request came in on, nor with its client.
async fn on_control<R: Send + 'static, F: Future<Output = Result<R>> + Send + 'static>(
    operator: &Operator,
    work: impl FnOnce(Arc<Managed>) -> F,
) -> Result<R> {
    let app = running(operator)?;
    let work = app.control.spawn(work(Arc::clone(&app.functions)));
    work.await.map_err(|error| Error::internal("the change of a function failed").with_source(error))?
}

fn running(operator: &Operator) -> Result<Arc<App>> {
    operator.0.upgrade().ok_or_else(|| Error::unavailable("the process is ending"))
}

#[async_trait]
impl FunctionAdmin for Operator {
    async fn deploy(&self, deployment: Deployment) -> Result<Changed> {
        on_control(self, |functions| async move { functions.deploy(deployment).await }).await
    }

    async fn change(&self, name: &str, change: Change) -> Result<Changed> {
        let name = name.to_owned();
        on_control(self, |functions| async move { functions.change(&name, change).await }).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        on_control(self, |functions| async move { functions.remove(&name).await }).await
    }

    fn list(&self) -> Vec<FunctionReport> {
        self.0.upgrade().map(|app| app.blocks.functions.list()).unwrap_or_default()
    }

    fn logs(&self, name: &str) -> Result<Arc<FunctionLog>> {
        running(self)?.blocks.functions.logs(name)
    }
}
