//! What the actuator asks of the process. The program implements it; gRPC here and JSON on the admin listener show it.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_blocks::{ComponentReport, Health};
use tonic::async_trait;

/// Which question a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Should this process be restarted?
    Liveness,
    /// Should calls be sent here?
    Readiness,
}

/// The answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The sum of the parts.
    pub health: Health,
    /// The parts by name.
    pub parts: BTreeMap<String, Health>,
}

impl HealthReport {
    /// Up when all parts are; starting when some start and the others are up.
    pub fn of(parts: BTreeMap<String, Health>) -> Self {
        let worst = |seen: Health, (name, part): (&String, &Health)| match (&seen, part) {
            (Health::Down { .. }, _) | (_, Health::Up) => seen,
            (_, Health::Starting) => Health::Starting,
            (_, Health::Down { reason }) => Health::Down { reason: format!("{name}: {reason}") },
        };
        let health = parts.iter().fold(Health::Up, worst);
        Self { health, parts }
    }

    pub fn is_up(&self) -> bool {
        self.health == Health::Up
    }
}

/// What is running here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub name: String,
    pub version: String,
    /// The application beside us; empty if it has no name.
    pub app_id: String,
    /// Since the process started.
    pub uptime: Duration,
}

/// The process as its operator sees it.
#[async_trait]
pub trait Actuator: Send + Sync + 'static {
    /// Found out now, by asking components and the application; not remembered.
    async fn health(&self, probe: Probe) -> HealthReport;
    /// Every component, asked now.
    async fn components(&self) -> Vec<ComponentReport>;
    fn info(&self) -> Info;
    /// What is logged at the moment.
    fn log_level(&self) -> String;
    /// Changes what is logged; the error says what is wrong with the level.
    fn set_log_level(&self, level: &str) -> Result<(), String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_decides() {
        let down = |reason: &str| Health::Down { reason: reason.to_owned() };
        let check = |parts: &[(&str, Health)], expected: Health| {
            let parts = parts.iter().map(|(name, health)| ((*name).to_owned(), health.clone())).collect();
            assert_eq!(HealthReport::of(parts).health, expected);
        };
        check(&[], Health::Up);
        check(&[("a", Health::Up), ("b", Health::Up)], Health::Up);
        check(&[("a", Health::Up), ("b", Health::Starting)], Health::Starting);
        check(&[("a", Health::Starting), ("b", down("gone")), ("c", Health::Up)], down("b: gone"));
        check(&[("a", down("first")), ("b", down("second"))], down("a: first"));
    }
}
