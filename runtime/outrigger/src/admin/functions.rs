//! `/functions`: what is deployed, and changing it. The same as `outrigger.v1.Functions`, which is served here too.
//!
//! `PUT /functions/NAME` takes the module as its body (`application/wasm`); the query says the rest: `config` (an entry of
//! the section `functions` without file and url, as YAML or JSON; absent: as it is configured now), `sha256`, `weight`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use outrigger_api::{
    functions::{Change, Changed, Deployment, FunctionAdmin, MAX_MODULE},
    functions_service,
};
use outrigger_blocks::{
    Error, ErrorKind,
    function::{FunctionReport, LogLine, VersionReport, VersionState},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, problem};

/// The longest a request for lines waits for the first.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) fn routes(admin: &Admin) -> Router<Admin> {
    Router::new()
        .route("/functions", get(list))
        .route(
            "/functions/{name}",
            get(show).put(deploy).delete(remove).layer(DefaultBodyLimit::max(MAX_MODULE)),
        )
        .route("/functions/{name}/logs", get(logs))
        .route("/functions/{name}/promote", post(promote))
        .route("/functions/{name}/weight", post(weight))
        .route("/functions/{name}/rollback", post(rollback))
        .route_service("/outrigger.v1.Functions/{method}", functions_service(Arc::new(admin.operator())))
}

async fn list(State(admin): State<Admin>) -> Response {
    let functions: Vec<_> = admin.operator().list().into_iter().map(Function::from).collect();
    Json(json!({"functions": functions})).into_response()
}

async fn show(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    match admin.operator().list().into_iter().find(|function| *function.name == *name) {
        Some(function) => Json(Function::from(function)).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("there is no function '{name}'")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    config: Option<String>,
    sha256: Option<String>,
    weight: Option<u8>,
}

/// 201 for a new function, 200 for a new version of one, 422 for one that is refused.
async fn deploy(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(Asked { config, sha256, weight }): Query<Asked>,
    headers: HeaderMap,
    module: Result<Bytes, BytesRejection>,
) -> Response {
    if headers.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/wasm") {
        let message = "the body should be the module: application/wasm";
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    let module = match module {
        Ok(module) => module,
        Err(rejected) if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "the module is larger than 32 MiB");
        }
        Err(rejected) => return problem(rejected.status(), rejected.body_text()),
    };
    match admin.operator().deploy(Deployment { name, module, config, sha256, weight }).await {
        Ok(changed) => {
            let new = changed.function.versions.len() == 1;
            let status = if new { StatusCode::CREATED } else { StatusCode::OK };
            (status, Json(What::from(changed))).into_response()
        }
        Err(error) => {
            // Not that the caller may not, but that the module may not.
            let refused = matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidArgument);
            let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { status(error.kind()) };
            problem(status, error.message())
        }
    }
}

async fn remove(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    match admin.operator().remove(&name).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failed(&error),
    }
}

async fn promote(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    change(&admin, &name, Change::Promote).await
}

async fn rollback(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    change(&admin, &name, Change::Rollback).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    weight: u8,
}

/// Takes `{"weight": 50}`.
async fn weight(State(admin): State<Admin>, Path(name): Path<String>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Weight { weight }) => change(&admin, &name, Change::Weight(weight)).await,
        Err(error) => {
            problem(StatusCode::BAD_REQUEST, format!("the body should be {{\"weight\": 1 to 100}}: {error}"))
        }
    }
}

async fn change(admin: &Admin, name: &str, change: Change) -> Response {
    match admin.operator().change(name, change).await {
        Ok(changed) => Json(What::from(changed)).into_response(),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Since {
    after: u64,
    #[serde(with = "humantime_serde")]
    wait: Duration,
}

impl Default for Since {
    fn default() -> Self {
        Self { after: 0, wait: Duration::ZERO }
    }
}

/// The lines after a number, waiting for the first of them as long as is asked.
async fn logs(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(Since { after, wait }): Query<Since>,
) -> Response {
    let log = match admin.operator().logs(&name) {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    let lines = match tokio::time::timeout(wait.min(MAX_WAIT), log.next(after)).await {
        Ok(lines) => lines,
        Err(_) => log.after(after),
    };
    let lines: Vec<_> = lines.into_iter().map(Line::from).collect();
    Json(json!({"lines": lines})).into_response()
}

fn failed(error: &Error) -> Response {
    problem(status(error.kind()), error.message())
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotConfigured | ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::FailedPrecondition | ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[derive(Serialize)]
struct What {
    function: Function,
    /// Whether it is so after a restart.
    kept: bool,
}

#[derive(Serialize)]
struct Function {
    name: Arc<str>,
    origin: &'static str,
    triggers: Vec<&'static str>,
    versions: Vec<Version>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: Arc<str>,
    sha256: Arc<str>,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    weight: u8,
    calls: u64,
    errors: u64,
    in_flight: u64,
    since: String,
}

#[derive(Serialize)]
struct Line {
    number: u64,
    at: String,
    version: Arc<str>,
    level: &'static str,
    text: String,
}

impl From<Changed> for What {
    fn from(changed: Changed) -> Self {
        Self { function: changed.function.into(), kept: changed.kept }
    }
}

impl From<FunctionReport> for Function {
    fn from(report: FunctionReport) -> Self {
        Self {
            name: report.name,
            origin: report.origin.as_str(),
            triggers: report.triggers.names(),
            versions: report.versions.into_iter().map(Version::from).collect(),
        }
    }
}

impl From<VersionReport> for Version {
    fn from(report: VersionReport) -> Self {
        let state = report.state.as_str();
        let reason = match report.state {
            VersionState::Refused { reason } => reason,
            _ => String::new(),
        };
        Self {
            version: report.version,
            sha256: report.sha256,
            state,
            reason,
            weight: report.weight,
            calls: report.calls,
            errors: report.errors,
            in_flight: report.in_flight,
            since: humantime::format_rfc3339_millis(report.since).to_string(),
        }
    }
}

impl From<LogLine> for Line {
    fn from(line: LogLine) -> Self {
        Self {
            number: line.number,
            at: humantime::format_rfc3339_millis(line.at).to_string(),
            version: line.version,
            level: line.level,
            text: line.text,
        }
    }
}
