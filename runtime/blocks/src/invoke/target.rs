//! Where an application is, what it understands, and who may call it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue};
use outrigger_cluster::Cluster;
use outrigger_component_api::{Error, ErrorKind, Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_grpc;
use crate::guard::{Guard, Meter, Op, Policy};

/// An application that can be called.
pub struct Target {
    pub(super) cluster: Arc<Cluster>,
    pub(super) place: Place,
    pub(super) guard: Guard,
    pub(super) op: Op,
}

/// What answers at the other end of a target's cluster.
pub enum Place {
    /// The application itself.
    App {
        /// What it understands.
        speaks: Speaks,
        /// Who may call it.
        callers: Callers,
    },
    /// The sidecar beside it, which decides who may call it.
    Sidecar {
        /// What it asks of its callers.
        token: SharedToken,
    },
}

/// What sidecars ask of each other. Shared, so that it may change, or come to be known, while the targets stay.
pub type SharedToken = Arc<ArcSwapOption<Secret>>;

/// What an application understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http,
    Grpc,
}

impl Target {
    /// `app` is its name in metrics, so it must be one of few.
    pub fn new(app: &str, cluster: Arc<Cluster>, place: Place, meter: &Meter) -> Self {
        Self { cluster, place, guard: Guard::new(Policy::default()), op: meter.op("invoke", app, "call") }
    }

    /// Where its requests go.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}

impl Speaks {
    pub(super) fn check(self, app: &str, headers: &HeaderMap) -> Result<()> {
        let message = match (self, is_grpc(headers)) {
            (Self::Http, false) | (Self::Grpc, true) => return Ok(()),
            (Self::Http, true) => format!("app '{app}' speaks HTTP, and this is a gRPC call"),
            (Self::Grpc, false) => {
                format!("app '{app}' speaks gRPC: call its own service, with the metadata dapr-app-id: {app}")
            }
        };
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

/// The applications that may call one, each with the paths it may call. None at all is everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Callers(BTreeMap<String, Vec<String>>);

impl Callers {
    /// Everybody may call anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// [`PermissionDenied`](ErrorKind::PermissionDenied) unless this caller may call this path. A path that could be
    /// read two ways (`//`, `..`, encoded slashes and dots) is nobody's to call where paths are listed.
    pub(super) fn check(&self, from: &HeaderValue, app: &str, path: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let from = from.to_str().unwrap_or_default();
        let allowed = self.0.get(from).is_some_and(|paths| {
            paths.is_empty() || !is_ambiguous(path) && paths.iter().any(|pattern| matches(pattern, path))
        });
        if allowed {
            return Ok(());
        }
        let message = match from {
            "" => format!("app '{app}' is open to some apps only, and this one has no id: set app.id"),
            from => format!("app '{app}' is not open to app '{from}' at {path}: see its app.callers"),
        };
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }
}

/// A path, or with a star at its end everything that begins like it.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => path == pattern,
    }
}

/// Whether it could be read two ways: `//`, `..`, encoded slashes and dots.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("//")
        || path.contains("%2f")
        || path.contains("%2e")
        || path.contains("%5c")
        || path.contains('\\')
        || path.split('/').any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_may_what_is_listed_for_them() {
        let callers: Callers =
            serde_json::from_str(r#"{"shop": [], "billing": ["/orders/*", "/health"]}"#).expect("reads");
        let check = |from: &str, path: &str, expected: bool| {
            let from_header = HeaderValue::from_str(from).expect("a header");
            assert_eq!(callers.check(&from_header, "orders", path).is_ok(), expected, "{from} {path}");
        };
        check("shop", "/anything", true);
        check("shop", "/orders/../admin", true);
        check("billing", "/orders/7", true);
        check("billing", "/health", true);
        check("billing", "/healthz", false);
        check("billing", "/admin", false);
        for path in ["/orders/../admin", "/orders/%2e%2e/admin", "/orders//admin", "/orders/..%2Fadmin"] {
            check("billing", path, false);
        }
        check("stranger", "/health", false);
        check("", "/health", false);
        assert!(Callers::default().check(&HeaderValue::from_static(""), "orders", "/x").is_ok());
    }
}
