//! `/actuator/**` in the JSON shapes of Layotto, but live: what is asked is found out now, and what is down is 503.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use outrigger_api::actuator::{Actuator, HealthReport, Probe};
use outrigger_blocks::Health;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, problem};

pub(super) async fn readiness(State(admin): State<Admin>) -> Response {
    health(admin.operator().health(Probe::Readiness).await)
}

pub(super) async fn liveness(State(admin): State<Admin>) -> Response {
    health(admin.operator().health(Probe::Liveness).await)
}

/// `{"status": "UP", "components": {"name": {"status": "UP", "details": {"reason": ""}}}}`; details only where there
/// is something to say, except for the process itself, which always has its reason.
fn health(report: HealthReport) -> Response {
    let part = |(name, health): (&String, &Health)| {
        let (status, reason) = (word(health), reason(health));
        let part = match reason.is_empty() && name != "runtime_startup" {
            true => json!({"status": status}),
            false => json!({"status": status, "details": {"reason": reason}}),
        };
        (name.clone(), part)
    };
    let parts: serde_json::Map<_, _> = report.parts.iter().map(part).collect();
    let status = if report.is_up() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"status": word(&report.health), "components": parts}))).into_response()
}

fn word(health: &Health) -> &'static str {
    match health {
        Health::Up => "UP",
        Health::Starting => "INIT",
        Health::Down { .. } => "DOWN",
    }
}

fn reason(health: &Health) -> &str {
    match health {
        Health::Up => "",
        Health::Starting => "starting",
        Health::Down { reason } => reason,
    }
}

/// `{"app": {"name", "version", "compiled"}}` as Layotto has it, and ours beside.
pub(super) async fn info(State(admin): State<Admin>) -> Response {
    let info = admin.operator().info();
    Json(json!({
        "app": {"name": info.name, "version": info.version, "compiled": env!("OUTRIGGER_COMPILED")},
        "appId": info.app_id,
        "uptimeMs": u64::try_from(info.uptime.as_millis()).unwrap_or(u64::MAX),
    }))
    .into_response()
}

pub(super) async fn logger(State(admin): State<Admin>) -> Response {
    Json(json!({"level": admin.operator().log_level()})).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLogger {
    /// A module; all of them when absent or empty.
    #[serde(default)]
    component: String,
    level: String,
}

/// Takes `{"component", "level"}`, answers `{}`.
pub(super) async fn set_logger(State(admin): State<Admin>, body: Bytes) -> Response {
    let wish: SetLogger = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => {
            let message = format!("the body should be {{\"component\": \"…\", \"level\": \"…\"}}: {error}");
            return problem(StatusCode::BAD_REQUEST, message);
        }
    };
    let operator = admin.operator();
    let level = directive(&wish, &operator.log_level());
    match operator.set_log_level(&level) {
        Ok(()) => Json(json!({})).into_response(),
        Err(message) => problem(StatusCode::BAD_REQUEST, message),
    }
}

/// One module's level is laid over what is in force; a level alone replaces it all.
fn directive(wish: &SetLogger, now: &str) -> String {
    let level = wish.level.to_lowercase();
    if wish.component.is_empty() {
        return level;
    }
    let module = wish.component.replace('-', "_");
    let others = now.split(',').filter(|rule| rule.split('=').next() != Some(&module));
    others.map(str::to_owned).chain([format!("{module}={level}")]).collect::<Vec<_>>().join(",")
}

#[derive(Serialize)]
struct Component {
    name: String,
    block: &'static str,
    r#type: String,
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    capabilities: Vec<&'static str>,
}

pub(super) async fn components(State(admin): State<Admin>) -> Response {
    let reports = admin.operator().components().await.into_iter();
    let components: Vec<_> = reports
        .map(|report| Component {
            status: word(&report.health),
            reason: reason(&report.health).to_owned(),
            name: report.name,
            block: report.block,
            r#type: report.type_name,
            capabilities: report.capabilities,
        })
        .collect();
    Json(json!({"components": components})).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_level_is_laid_over_the_others() {
        let check = |component: &str, now: &str, expected: &str| {
            let wish = SetLogger { component: component.to_owned(), level: "DEBUG".to_owned() };
            assert_eq!(directive(&wish, now), expected);
        };
        check("", "info,outrigger_api=trace", "debug");
        check("outrigger-api", "info", "info,outrigger_api=debug");
        check("outrigger_api", "info,outrigger_api=trace,x=warn", "info,x=warn,outrigger_api=debug");
    }
}
