//! Functions as an operator sees them.

use std::sync::Arc;
use std::time::SystemTime;

use super::Triggers;
use super::version::Version;

/// Who brought a function in, and so who may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The section `functions` of the configuration.
    Config,
    /// The folder of functions.
    Folder,
    /// Somebody who manages this process while it runs.
    Operator,
}

impl Origin {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Folder => "folder",
            Self::Operator => "operator",
        }
    }
}

/// One function.
#[derive(Clone, Debug)]
pub struct FunctionReport {
    pub name: Arc<str>,
    pub origin: Origin,
    /// What the current version can be called for.
    pub triggers: Triggers,
    /// The current one, the candidate, the previous one, those that drain, the last that was refused, and whether another
    /// is on its way.
    pub versions: Vec<VersionReport>,
}

/// One version.
#[derive(Clone, Debug)]
pub struct VersionReport {
    /// The beginning of the digest.
    pub version: Arc<str>,
    pub sha256: Arc<str>,
    pub state: VersionState,
    /// The percentage of calls it gets.
    pub weight: u8,
    pub calls: u64,
    /// Calls that failed, answers of 5xx among them.
    pub errors: u64,
    pub in_flight: u64,
    /// When it was brought in, or refused.
    pub since: SystemTime,
}

/// Where a version stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    Current,
    Candidate,
    /// What a rollback returns to.
    Previous,
    /// It finishes its last calls.
    Draining,
    /// It never answered a call.
    Refused {
        reason: String,
    },
    /// It is on its way; which one it is shows when it is there.
    Compiling,
}

impl FunctionReport {
    /// Whether one is on its way.
    pub fn is_coming(&self) -> bool {
        self.versions.iter().any(|version| version.state == VersionState::Compiling)
    }

    /// Whether a version waits to be promoted.
    pub fn has_candidate(&self) -> bool {
        self.versions.iter().any(|version| version.state == VersionState::Candidate)
    }
}

impl VersionState {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Candidate => "candidate",
            Self::Previous => "previous",
            Self::Draining => "draining",
            Self::Refused { .. } => "refused",
            Self::Compiling => "compiling",
        }
    }
}

impl VersionReport {
    pub(super) fn of(version: &Version, state: VersionState, weight: u8) -> Self {
        let counts = version.counts();
        Self {
            version: Arc::clone(&version.id),
            sha256: Arc::clone(&version.sha256),
            state,
            weight,
            calls: counts.calls,
            errors: counts.errors,
            in_flight: counts.in_flight,
            since: version.since,
        }
    }

    /// One that answers no calls.
    pub(super) fn uncalled(
        version: Arc<str>,
        sha256: Arc<str>,
        state: VersionState,
        since: SystemTime,
    ) -> Self {
        Self { version, sha256, state, weight: 0, calls: 0, errors: 0, in_flight: 0, since }
    }
}
