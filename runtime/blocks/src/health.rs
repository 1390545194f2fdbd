//! How the components are doing, found out by asking them.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::Component;

use crate::slot::{Readiness, Slot};

/// Where a component stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered.
    Up,
    /// It is being built for the first time.
    Starting,
    /// It cannot serve.
    Down {
        /// What it, or the attempt to build it, said.
        reason: String,
    },
}

/// One component as the actuator shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentReport {
    /// The block it serves: `state`.
    pub block: &'static str,
    /// The name calls use.
    pub name: String,
    /// The component type: `state.sqlite`.
    pub type_name: String,
    /// Where it stands.
    pub health: Health,
    /// What it can do beyond the basics; empty while it is not ready.
    pub capabilities: Vec<&'static str>,
}

/// Longer than a healthy backend ever needs, shorter than a probe's patience.
const PING: Duration = Duration::from_secs(1);

impl<T: Component + ?Sized> Slot<T> {
    /// Asks the backend, if there is one.
    pub async fn health(&self) -> Health {
        let backend = match &*self.readiness() {
            Readiness::Starting => return Health::Starting,
            Readiness::NotReady { reason } => return Health::Down { reason: reason.clone() },
            Readiness::Ready(backend) => Arc::clone(backend),
        };
        match tokio::time::timeout(PING, backend.ping()).await {
            Ok(Ok(())) => Health::Up,
            Ok(Err(error)) => Health::Down { reason: error.to_string() },
            Err(_) => Health::Down { reason: format!("no answer to a ping within {PING:?}") },
        }
    }
}
