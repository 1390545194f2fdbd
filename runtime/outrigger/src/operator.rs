//! The process as its operator sees it: what the actuator shows as gRPC on the API and as JSON on the admin listener.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use outrigger_api::actuator::{Actuator, HealthReport, Info, Probe};
use outrigger_blocks::{ComponentReport, Health};
use outrigger_component_api::async_trait;

use crate::{
    app::{App, Phase},
    config::native::AppConfig,
};

/// Layotto's name for the process itself among the parts of its health.
const PROCESS: &str = "runtime_startup";
/// The application's name there.
const APP: &str = "app";
/// The name of those functions there that are still being compiled.
const FUNCTIONS: &str = "functions";
/// How long the application may take to accept a connection.
const APP_PROBE: Duration = Duration::from_millis(500);

/// Answers for the app it points to, as long as that runs.
pub struct Operator(pub Weak<App>);

impl Operator {
    fn app(&self) -> Option<Arc<App>> {
        self.0.upgrade()
    }
}

#[async_trait]
impl Actuator for Operator {
    /// Liveness is about this process alone: restarting it does not bring a database back.
    async fn health(&self, probe: Probe) -> HealthReport {
        let Some(app) = self.app() else {
            let gone = Health::Down { reason: "shutdown".to_owned() };
            return HealthReport::of(BTreeMap::from([(PROCESS.to_owned(), gone)]));
        };
        let mut parts = BTreeMap::from([(PROCESS.to_owned(), process(app.phase(), probe))]);
        if probe == Probe::Readiness {
            let beside = app.snapshot().loaded.config.app.clone();
            let (components, beside) = tokio::join!(reports(&app), probe_app(&beside));
            parts.extend(by_name(components));
            parts.extend(beside.map(|health| (APP.to_owned(), health)));
            parts.extend(functions(&app).map(|health| (FUNCTIONS.to_owned(), health)));
        }
        HealthReport::of(parts)
    }

    async fn components(&self) -> Vec<ComponentReport> {
        match self.app() {
            Some(app) => reports(&app).await,
            None => Vec::new(),
        }
    }

    fn info(&self) -> Info {
        let app = self.app();
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            app_id: app.as_ref().map(|app| app.blocks.app_id().to_owned()).unwrap_or_default(),
            uptime: app.map(|app| app.started.elapsed()).unwrap_or_default(),
        }
    }

    fn log_level(&self) -> String {
        self.app().map(|app| app.logs.level()).unwrap_or_default()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        let Some(app) = self.app() else { return Err("the process is ending".to_owned()) };
        app.logs.set_level(level).map_err(|error| error.to_string())
    }
}

fn process(phase: Phase, probe: Probe) -> Health {
    match (phase, probe) {
        (Phase::Starting, _) => Health::Starting,
        (Phase::Stopping, Probe::Readiness) => Health::Down { reason: "shutdown".to_owned() },
        (Phase::Running | Phase::Stopping, _) => Health::Up,
    }
}

/// Whoever sends requests here wants the functions that lay in the folder at the start; those that come later are no
/// reason to stop.
fn functions(app: &App) -> Option<Health> {
    let arriving = app.functions.arriving();
    let reason = || format!("being compiled: {}", arriving.join(", "));
    (!arriving.is_empty()).then(|| Health::Down { reason: reason() })
}

/// All components, asked at the same time.
async fn reports(app: &App) -> Vec<ComponentReport> {
    app.blocks.report().await
}

/// Health by name; where two blocks have a component of one name, by block and name.
fn by_name(reports: Vec<ComponentReport>) -> BTreeMap<String, Health> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for report in &reports {
        *times.entry(report.name.clone()).or_default() += 1;
    }
    let name = |report: &ComponentReport| match times.get(&report.name) {
        Some(1) => report.name.clone(),
        _ => format!("{}.{}", report.block, report.name),
    };
    reports.iter().map(|report| (name(report), report.health.clone())).collect()
}

/// Whether the application accepts connections on its port.
async fn probe_app(app: &AppConfig) -> Option<Health> {
    let port = app.port.filter(|_| app.probe)?;
    let connect = tokio::net::TcpStream::connect((app.host.as_str(), port));
    Some(match tokio::time::timeout(APP_PROBE, connect).await {
        Ok(Ok(_)) => Health::Up,
        Ok(Err(error)) => Health::Down { reason: format!("nothing answers on port {port}: {error}") },
        Err(_) => Health::Down { reason: format!("no answer on port {port} within {APP_PROBE:?}") },
    })
}
