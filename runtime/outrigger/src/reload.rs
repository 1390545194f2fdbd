//! Reading the configuration again: on a change of its files, on SIGHUP, and when admin asks. A configuration with a
//! problem is refused whole, and the one in force stays.

pub mod watch;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use outrigger_telemetry::{Counter, Gauge, Metrics};
use parking_lot::Mutex;
use serde::Serialize;

use crate::{app::App, components::Changes, config, snapshot};

pub use watch::{Watch, digest};

/// How reloads went.
pub struct Reloads {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Outcome>>,
    applied: Counter,
    refused: Counter,
    last_good: Gauge,
}

/// How one reload went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Seconds since 1970.
    pub at: u64,
    pub applied: bool,
    /// What asked for it: `files`, `signal`, `admin`.
    pub because: &'static str,
    /// Empty when applied.
    pub problems: Vec<String>,
    pub components: Changes,
    /// Settings that changed but are read at start only.
    pub needs_restart: Vec<&'static str>,
}

impl Reloads {
    pub fn new(metrics: &Metrics) -> Self {
        let total = metrics.counter("outrigger_reloads_total", "Configurations read again.", &["result"]);
        let last_good = metrics.gauge(
            "outrigger_config_last_reload_successful",
            "1 when the files are what is in force, 0 when their last change was refused.",
            &[],
        );
        let last_good = last_good.with(&[]);
        last_good.set(1);
        let (applied, refused) = (total.with(&["applied"]), total.with(&["refused"]));
        Self { turn: tokio::sync::Mutex::default(), last: Mutex::default(), applied, refused, last_good }
    }

    /// The last one, if there was any.
    pub fn last(&self) -> Option<Outcome> {
        self.last.lock().clone()
    }

    fn record(&self, outcome: &Outcome) {
        if outcome.applied { &self.applied } else { &self.refused }.inc();
        self.last_good.set(outcome.applied.into());
        *self.last.lock() = Some(outcome.clone());
    }
}

impl App {
    /// Reads the configuration again and puts it in force if it has no problem.
    pub async fn reload(self: &Arc<Self>, because: &'static str) -> Outcome {
        let _turn = self.reloads.turn.lock().await;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let outcome = match self.read_again().await {
            Ok((components, needs_restart)) => {
                Outcome { at, applied: true, because, problems: Vec::new(), components, needs_restart }
            }
            Err(error) => {
                let problems = format!("{error:#}").lines().map(str::to_owned).collect();
                let (components, needs_restart) = Default::default();
                Outcome { at, applied: false, because, problems, components, needs_restart }
            }
        };
        self.reloads.record(&outcome);
        match outcome.applied {
            true => tracing::info!(
                because,
                added = ?outcome.components.added, changed = ?outcome.components.changed,
                removed = ?outcome.components.removed, kept = outcome.components.kept,
                needs_restart = ?outcome.needs_restart,
                "configuration reloaded"
            ),
            false => {
                tracing::error!(because, problems = ?outcome.problems, "configuration refused; the last good one stays")
            }
        }
        outcome
    }

    async fn read_again(self: &Arc<Self>) -> anyhow::Result<(Changes, Vec<&'static str>)> {
        let loaded = config::load(&self.sources, &self.registry)?;
        let now = self.snapshot();
        let needs_restart = snapshot::needs_restart(&now.loaded.config, &loaded.config);
        let plan = self.listeners.plan(&loaded)?;
        let (next, changes) = self.compile(loaded).await?;
        if now.loaded.config.log.level != next.loaded.config.log.level {
            let level = &next.loaded.config.log.level;
            self.logs.set_level(level).map_err(|error| {
                config::Problems(vec![next.loaded.problem("log.level", error.to_string())])
            })?;
        }
        self.install(next, plan).await?;
        Ok((changes, needs_restart))
    }
}
