//! The section `functions`: compiled before anything changes, like everything else in the configuration.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use outrigger_blocks::{
    Error, ErrorKind, Result,
    function::{FunctionConfig, Functions, Module, Origin, Prepared},
};
use parking_lot::Mutex;

use super::{Managed, fetch, settings::within};
use crate::config::{Loaded, Problem, Problems};

/// The functions of one configuration.
#[derive(Default)]
pub struct Configured(BTreeMap<String, Wanted>);

struct Wanted {
    config: FunctionConfig,
    sha256: Arc<str>,
    /// A version that is not in force yet. None where it is already, whatever became of it since.
    prepared: Mutex<Option<Prepared>>,
}

/// What is wrong, and at which setting of the function.
type Wrong = (&'static str, Error);

pub(super) async fn compile(
    managed: &Managed,
    loaded: &Loaded,
    previous: &Configured,
    asked: impl Fn(&FunctionConfig) -> bool,
) -> Result<Configured, Problems> {
    let wanted = loaded
        .config
        .functions
        .iter()
        .filter(|(_, config)| asked(config))
        .map(async |(name, config)| (name, wanted(managed, name, config, previous.0.get(name)).await));
    let (mut functions, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, wanted) in join_all(wanted).await {
        match wanted {
            Ok(wanted) => drop(functions.insert(name.clone(), wanted)),
            Err((setting, error)) => problems.push(told(loaded, name, setting, &error)),
        }
    }
    if problems.is_empty() { Ok(Configured(functions)) } else { Err(Problems::sorted(problems)) }
}

fn told(loaded: &Loaded, name: &str, setting: &str, error: &Error) -> Problem {
    loaded.problem(&within(name, setting), error.message())
}

async fn wanted(
    managed: &Managed,
    name: &str,
    config: &FunctionConfig,
    previous: Option<&Wanted>,
) -> Result<Wanted, Wrong> {
    let kept = |sha256: Arc<str>| Wanted { config: config.clone(), sha256, prepared: Mutex::default() };
    let same = |previous: &&Wanted| previous.config.is_same(config);
    let previous = previous.filter(same);
    // What is pinned and fetched already is not fetched again.
    let pinned = previous.filter(|it| config.url.is_some() && it.config.url == config.url);
    if let Some(pinned) = pinned
        .filter(|it| config.sha256.as_deref().is_some_and(|wanted| wanted.eq_ignore_ascii_case(&it.sha256)))
    {
        return Ok(kept(Arc::clone(&pinned.sha256)));
    }
    let module = module(managed, name, config).await?;
    let sha256 = Arc::clone(module.sha256());
    if previous.is_some_and(|previous| previous.sha256 == sha256) {
        return Ok(kept(sha256));
    }
    let functions = &managed.blocks.functions;
    let prepared = functions.prepare(name, module, config.clone()).await.map_err(|error| {
        if functions.origin(name).is_some() {
            functions.refuse(name, &sha256, error.message(), Origin::Config);
        }
        (at_fault(config, &error), error)
    })?;
    Ok(Wanted { prepared: Mutex::new(Some(prepared)), ..kept(sha256) })
}

async fn module(managed: &Managed, name: &str, config: &FunctionConfig) -> Result<Module, Wrong> {
    match (&config.file, &config.url) {
        (Some(file), _) => fetch::read(file).await.map_err(|error| ("file", error)),
        (None, Some(url)) => fetch::fetch(&managed.outbound, name, url).await.map_err(|error| ("url", error)),
        (None, None) => Err(("", Error::invalid("give one of file and url: where its module is"))),
    }
}

/// The setting to look at.
fn at_fault(config: &FunctionConfig, error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "grants",
        _ if error.message().starts_with("sha256: ") => "sha256",
        _ if config.file.is_some() => "file",
        _ => "url",
    }
}

impl Configured {
    /// Puts them in force, and takes those of `previous` away that are no longer there.
    pub(super) fn install(&self, functions: &Functions, previous: &Self) {
        for (name, wanted) in &self.0 {
            if let Some(prepared) = wanted.prepared.lock().take() {
                tracing::info!(function = name, version = %prepared.version(), "function deployed");
                functions.put(prepared, Origin::Config);
            } else {
                functions.settle(name);
                let before = previous.0.get(name).map(|previous| previous.config.weight);
                if before.is_some_and(|before| before != wanted.config.weight) {
                    // Without a candidate there is nothing to weigh.
                    functions.set_weight(name, wanted.config.weight).ok();
                }
            }
        }
        for name in previous.0.keys().filter(|name| !self.0.contains_key(*name)) {
            if functions.origin(name) == Some(Origin::Config) && functions.remove(name).is_ok() {
                tracing::info!(function = name, "function removed");
            }
        }
    }
}
