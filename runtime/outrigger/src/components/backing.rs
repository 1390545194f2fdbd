//! One backend being built, in the background, until it works.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use outrigger_component_api::{Built, ComponentSpec, Error, ErrorKind, Registry, Result, Settings};
use outrigger_resilience::Backoff;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};

use crate::secrets;

/// What a backend is made from.
pub struct Source {
    /// Without the settings that belong to the block.
    pub spec: ComponentSpec,
    pub app_id: String,
    /// The secret stores references may name.
    pub stores: BTreeMap<String, Arc<Backing>>,
}

/// Where it stands.
#[derive(Clone)]
pub enum State {
    Starting,
    Ready(Built),
    NotReady(String),
}

/// A backend, or the attempt to have one.
pub struct Backing {
    /// What decides whether another configuration means this very backend. Scopes are the block's business.
    r#type: String,
    settings: Settings,
    app_id: String,
    used: BTreeMap<String, Arc<Backing>>,
    /// Of the settings with the secrets they were built with, once those were had.
    resolved: Arc<Mutex<Option<u64>>>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long secret stores may take to say whether anything has changed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts. A backend that comes up is found within a second.
const RETRY: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };

impl Backing {
    pub fn start(source: Source, registry: Arc<Registry>) -> Self {
        let (tell, state) = watch::channel(State::Starting);
        let (r#type, settings) = (source.spec.r#type.clone(), source.spec.settings.clone());
        let (app_id, used) = (source.app_id.clone(), used(&source));
        let resolved = Arc::new(Mutex::new(None));
        let task = tokio::spawn(keep_building(source, registry, tell, Arc::clone(&resolved)));
        Self { r#type, settings, app_id, used, resolved, state, task }
    }

    /// Whether its secrets are others by now than those it was built with. Stores that do not answer in time have
    /// not changed their mind.
    pub async fn is_outdated(&self) -> bool {
        if self.used.is_empty() || matches!(*self.state.borrow(), State::Starting) {
            return false;
        }
        let now = tokio::time::timeout(PATIENCE, resolve(&self.settings, &self.used)).await;
        now.is_ok_and(|now| now.is_ok_and(|now| *self.resolved.lock() != Some(fingerprint(&now))))
    }

    /// Whether `source` would make the same.
    pub fn is_of(&self, source: &Source) -> bool {
        let same_stores = |(name, backing): (&String, &Arc<Backing>)| {
            source.stores.get(name).is_some_and(|now| Arc::ptr_eq(now, backing))
        };
        self.r#type == source.spec.r#type
            && self.settings == source.spec.settings
            && self.app_id == source.app_id
            && self.used.iter().all(same_stores)
    }

    /// The secret stores its settings refer to.
    pub fn stores(&self) -> Vec<String> {
        self.used.keys().cloned().collect()
    }

    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    async fn ready(&self) -> Option<Built> {
        let mut state = self.watch();
        let state = state.wait_for(|state| matches!(state, State::Ready(_))).await.ok()?;
        if let State::Ready(built) = &*state { Some(built.clone()) } else { None }
    }
}

impl Backing {
    /// A secret of this store, once it is ready.
    pub async fn secret(&self, reference: &secrets::SecretRef) -> Result<String> {
        let Some(Built::Secrets(store)) = self.ready().await else {
            let message = format!("no secret store '{}'", reference.store);
            return Err(Error::new(ErrorKind::NotConfigured, message));
        };
        secrets::get(reference, &*store).await
    }
}

fn used(source: &Source) -> BTreeMap<String, Arc<Backing>> {
    let references = secrets::references(&source.spec.settings).into_iter();
    let names = references.filter_map(|(_, reference)| Some(reference.ok()?.store));
    names.filter_map(|name| Some((name.clone(), Arc::clone(source.stores.get(&name)?)))).collect()
}

/// Builds until it works, or until trying again cannot help: then the reason stays visible.
async fn keep_building(
    source: Source,
    registry: Arc<Registry>,
    tell: watch::Sender<State>,
    resolved: Arc<Mutex<Option<u64>>>,
) {
    let (name, r#type) = (&source.spec.name, &source.spec.r#type);
    let mut attempt = 0;
    loop {
        let error = match build(&source, &registry, &resolved).await {
            Ok(built) => {
                tracing::info!(component = %name, r#type = %r#type, attempts = attempt + 1, "component ready");
                let _nobody_waits = tell.send(State::Ready(built));
                return;
            }
            Err(error) => error,
        };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let final_answer = matches!(
            error.kind(),
            ErrorKind::InvalidArgument | ErrorKind::NotConfigured | ErrorKind::Unsupported
        );
        if final_answer || attempt == 0 {
            tracing::warn!(component = %name, r#type = %r#type, %error, cause, retried = !final_answer, "component not ready");
        }
        let _nobody_waits = tell.send(State::NotReady(error.to_string()));
        if final_answer {
            return;
        }
        attempt += 1;
        tokio::time::sleep(RETRY.delay(attempt, &mut fastrand::Rng::new())).await;
    }
}

async fn build(source: &Source, registry: &Registry, resolved: &Mutex<Option<u64>>) -> Result<Built> {
    let settings = resolve(&source.spec.settings, &source.stores).await?;
    *resolved.lock() = Some(fingerprint(&settings));
    registry.build(&ComponentSpec { settings, ..source.spec.clone() }, &source.app_id).await
}

/// The settings with the secrets they refer to.
async fn resolve(settings: &Settings, stores: &BTreeMap<String, Arc<Backing>>) -> Result<Settings> {
    let mut resolved = settings.clone();
    for (path, reference) in secrets::references(settings) {
        let reference = reference.map_err(Error::invalid)?;
        let missing =
            || Error::new(ErrorKind::NotConfigured, format!("no secret store '{}'", reference.store));
        let store = stores.get(&reference.store).ok_or_else(missing)?;
        let Some(Built::Secrets(store)) = store.ready().await else { return Err(missing()) };
        secrets::resolve(&mut resolved, &path, &reference, &*store).await?;
    }
    Ok(resolved)
}

/// Enough to see that something is different, and nothing that could be read.
fn fingerprint(settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    Value::Object(settings.clone()).to_string().hash(&mut hasher);
    hasher.finish()
}
