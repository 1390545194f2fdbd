//! One endpoint and everything about it that outlives a reload.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use outrigger_telemetry::shard::Sharded;

use crate::config::Location;
use crate::gate::{Gate, Standing};
use crate::pool::Pool;

/// What makes two endpoints the same across configurations: runtime state is kept exactly as long as this
/// stays equal. `tls` covers the settings and the contents of the files they name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) location: Location,
    pub(crate) http2: bool,
    pub(crate) tls: Option<u64>,
}

/// A place with its state: requests in progress, standing, health and pooled connections.
#[derive(Debug)]
pub struct Endpoint {
    identity: Identity,
    /// Its location in text: logs and filters ask for it with each request.
    text: Arc<str>,
    active: CachePadded<AtomicUsize>,
    checked: AtomicU8,
    pub(crate) gate: Gate,
    pub(crate) pools: Sharded<Arc<Pool>>,
}

/// What active checks have found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// Not checked, or not yet: counts as healthy.
    Unknown,
    /// Passes its checks.
    Healthy,
    /// Fails its checks.
    Unhealthy,
}

impl Endpoint {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            text: identity.location.to_string().into(),
            identity,
            active: CachePadded::new(AtomicUsize::new(0)),
            checked: AtomicU8::new(Checked::Unknown as u8),
            gate: Gate::new(),
            pools: Sharded::default(),
        }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.identity.location
    }

    /// The same, as the configuration writes it.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Requests and L4 connections in progress, over all workers.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Where it stands by its answers.
    pub fn standing(&self) -> Standing {
        self.gate.standing()
    }

    /// What active checks say.
    pub fn checked(&self) -> Checked {
        match self.checked.load(Ordering::Relaxed) {
            0 => Checked::Unknown,
            1 => Checked::Healthy,
            _ => Checked::Unhealthy,
        }
    }

    /// Notes the result of an active check; says whether it changed.
    pub(crate) fn set_checked(&self, checked: Checked) -> bool {
        self.checked.swap(checked as u8, Ordering::Relaxed) != checked as u8
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn enter(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Identity {
    /// A fingerprint of TLS settings and of the files they name, so that a renewed certificate is a new
    /// identity and never shares a connection with the old one.
    pub(crate) fn tls_fingerprint(tls: &outrigger_net::tls::ClientTls) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        tls.hash(&mut hasher);
        for path in [Some(&tls.ca), tls.certificate.as_ref(), tls.key.as_ref()].into_iter().flatten() {
            // A file that cannot be read is reported when the TLS settings are built.
            std::fs::read(path).ok().hash(&mut hasher);
        }
        hasher.finish()
    }
}
