//! How the sidecar is doing.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_proto::outrigger::{self as proto, health_request::Probe};

use crate::{Client, Result};

/// Asks the sidecar about itself.
#[derive(Clone, Debug)]
pub struct Actuator {
    client: Client,
}

/// Where the sidecar, or a part of it, stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Starting,
    /// Why it cannot serve.
    Down(String),
}

/// The answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether all parts are up.
    pub up: bool,
    pub parts: BTreeMap<String, Health>,
}

/// What is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub name: String,
    pub version: String,
    /// The application the sidecar stands beside; empty if it has no name.
    pub app_id: String,
    pub uptime: Duration,
}

/// One configured component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The name calls use.
    pub name: String,
    /// The block it serves: `state`.
    pub block: String,
    /// The component type: `state.sqlite`.
    pub type_name: String,
    pub health: Health,
    /// What it can do beyond the basics: `ETAG`, `TRANSACTIONAL`, `TTL`.
    pub capabilities: Vec<String>,
}

impl Actuator {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether the sidecar and what stands behind it can serve. Asked now, so it takes as long as the slowest part.
    pub async fn readiness(&self) -> Result<Report> {
        self.health(Probe::Readiness).await
    }

    /// Whether the sidecar itself works.
    pub async fn liveness(&self) -> Result<Report> {
        self.health(Probe::Liveness).await
    }

    async fn health(&self, probe: Probe) -> Result<Report> {
        let request = self.client.request(proto::HealthRequest { probe: probe.into() });
        let response = self.client.actuator_client().health(request).await?.into_inner();
        let parts =
            response.components.into_iter().map(|(name, part)| (name, health(part.status, part.reason)));
        Ok(Report { up: response.status == i32::from(proto::Status::Up), parts: parts.collect() })
    }

    /// What is running.
    pub async fn info(&self) -> Result<Info> {
        let request = self.client.request(proto::InfoRequest {});
        let proto::InfoResponse { name, version, app_id, uptime_ms } =
            self.client.actuator_client().info(request).await?.into_inner();
        Ok(Info { name, version, app_id, uptime: Duration::from_millis(uptime_ms) })
    }

    /// Every configured component and how it is doing.
    pub async fn components(&self) -> Result<Vec<Component>> {
        let request = self.client.request(proto::ComponentsRequest {});
        let response = self.client.actuator_client().components(request).await?.into_inner();
        let components = response.components.into_iter().map(|component| Component {
            name: component.name,
            block: component.block,
            type_name: component.r#type,
            health: health(component.status, component.reason),
            capabilities: component.capabilities,
        });
        Ok(components.collect())
    }

    /// What the sidecar logs at the moment.
    pub async fn log_level(&self) -> Result<String> {
        let request = self.client.request(proto::GetLogLevelRequest {});
        Ok(self.client.actuator_client().get_log_level(request).await?.into_inner().level)
    }

    /// Changes what the sidecar logs and returns what it logged before.
    pub async fn set_log_level(&self, level: impl Into<String>) -> Result<String> {
        let request = self.client.request(proto::SetLogLevelRequest { level: level.into() });
        Ok(self.client.actuator_client().set_log_level(request).await?.into_inner().previous)
    }
}

fn health(status: i32, reason: String) -> Health {
    match proto::Status::try_from(status) {
        Ok(proto::Status::Up) => Health::Up,
        Ok(proto::Status::Init) => Health::Starting,
        Ok(proto::Status::Down | proto::Status::Unspecified) | Err(_) => Health::Down(reason),
    }
}
