//! One function: its versions, its log, and what there is to say of them.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use outrigger_component_api::Error;
use outrigger_telemetry::logs::one_line;
use parking_lot::Mutex;

use super::FunctionLog;
use super::functions::Deployed;
use super::line::{Line, Next};
use super::report::{FunctionReport, Origin, VersionReport, VersionState};
use super::version::{Version, version_of};

/// One function.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) log: Arc<FunctionLog>,
    pub(super) line: ArcSwap<Line<Version>>,
    pub(super) rest: Mutex<Rest>,
}

/// What calls do not look at.
pub(super) struct Rest {
    pub(super) origin: Origin,
    /// They finish their last calls.
    pub(super) leaving: Vec<Weak<Version>>,
    /// The last that was refused, unless one came in since.
    pub(super) refused: Option<VersionReport>,
    /// Since when a version is on its way.
    pub(super) coming: Option<SystemTime>,
}

impl Entry {
    pub(super) fn new(name: Arc<str>, log: Arc<FunctionLog>, origin: Origin) -> Self {
        let rest = Rest { origin, leaving: Vec::new(), refused: None, coming: None };
        Self { name, log, line: ArcSwap::default(), rest: Mutex::new(rest) }
    }

    /// Only under `changing`.
    pub(super) fn advance(&self, (line, leaving): Next<Version>) {
        self.line.store(Arc::new(line));
        let mut rest = self.rest.lock();
        rest.leaving.retain(|version| version.strong_count() > 0);
        rest.leaving.extend(leaving.iter().map(Arc::downgrade));
    }

    pub(super) fn refuse(&self, sha256: Arc<str>, reason: &str) {
        // A module may have put something of its own in there.
        let reason = one_line(reason).into_owned();
        let version = version_of(&sha256);
        self.log.write(&version, "error", format!("refused: {reason}"));
        let state = VersionState::Refused { reason };
        let mut rest = self.rest.lock();
        rest.refused = Some(VersionReport::uncalled(version, sha256, state, SystemTime::now()));
        rest.coming = None;
    }

    /// Whether there neither is nor was anything to call, not even something refused.
    pub(super) fn is_empty(&self) -> bool {
        let nothing_refused = self.rest.lock().refused.is_none();
        nothing_refused && self.versions().is_empty()
    }

    pub(super) fn deployed(&self) -> Option<Deployed> {
        let line = self.line.load();
        let current = line.current.as_ref()?;
        Some(Deployed {
            name: Arc::clone(&self.name),
            sha256: Arc::clone(&current.sha256),
            config: Arc::clone(&current.config),
            triggers: current.function.triggers(),
        })
    }

    /// Those of the line, and those that leave.
    pub(super) fn versions(&self) -> Vec<Arc<Version>> {
        let line = self.line.load();
        let leaving: Vec<_> = self.rest.lock().leaving.iter().filter_map(Weak::upgrade).collect();
        line.all().cloned().chain(leaving).collect()
    }

    pub(super) fn report(&self) -> FunctionReport {
        let line = self.line.load_full();
        let triggers = line.current.as_ref().map(|version| version.function.triggers()).unwrap_or_default();
        let weight = line.candidate.as_ref().map_or(0, |(_, weight)| *weight);
        let state = |version: &Arc<Version>, state, weight| VersionReport::of(version, state, weight);
        let current = line.current.iter().map(|it| state(it, VersionState::Current, 100 - weight));
        let candidate = line.candidate.iter().map(|(it, weight)| state(it, VersionState::Candidate, *weight));
        let previous = line.previous.iter().map(|it| state(it, VersionState::Previous, 0));
        let rest = self.rest.lock();
        let leaving = rest.leaving.iter().filter_map(Weak::upgrade);
        let leaving = leaving.map(|it| state(&it, VersionState::Draining, 0));
        let nothing = Arc::<str>::default;
        let compiling = |since| VersionReport::uncalled(nothing(), nothing(), VersionState::Compiling, since);
        let others = rest.refused.clone().into_iter().chain(rest.coming.map(compiling));
        let versions = current.chain(candidate).chain(previous).chain(leaving).chain(others);
        FunctionReport {
            name: Arc::clone(&self.name),
            origin: rest.origin,
            triggers,
            versions: versions.collect(),
        }
    }

    /// Why there is nothing to call.
    pub(super) fn unusable(&self) -> Error {
        let name = &self.name;
        let rest = self.rest.lock();
        let reason = match rest.refused.as_ref().map(|refused| &refused.state) {
            _ if rest.coming.is_some() => ": it is being compiled".to_owned(),
            Some(VersionState::Refused { reason }) => format!(": {reason}"),
            _ => String::new(),
        };
        Error::unavailable(format!("the function '{name}' has no version that runs{reason}"))
    }
}
