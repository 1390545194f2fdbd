//! The admin listener: actuator, metrics, dumps and management, as axum routes.

mod actuator;
mod functions;
#[cfg(feature = "wasm")]
mod layotto;
mod manage;

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use outrigger_api::access::{Access, Denied, Exposure};
use serde_json::json;

use crate::{app::App, operator::Operator};

/// What every handler can reach.
#[derive(Clone)]
struct Admin {
    app: Weak<App>,
    access: Arc<ArcSwap<Access>>,
    exposure: Exposure,
}

impl Admin {
    fn operator(&self) -> Operator {
        Operator(Weak::clone(&self.app))
    }

    /// The process, unless it is ending.
    fn app(&self) -> Result<Arc<App>, Ending> {
        self.app.upgrade().ok_or(Ending)
    }
}

/// The process ends, and what was asked for is gone already.
struct Ending;

impl IntoResponse for Ending {
    fn into_response(self) -> Response {
        problem(StatusCode::SERVICE_UNAVAILABLE, "the process is ending")
    }
}

/// The probes of orchestrators: open without a token, as they cannot send one.
const PROBES: [&str; 3] = ["/actuator/health", "/actuator/health/liveness", "/actuator/health/readiness"];

/// All routes of the admin listener.
pub fn router(app: Weak<App>, access: Arc<ArcSwap<Access>>, exposure: Exposure) -> Router {
    let admin = Admin { app, access, exposure };
    let router = Router::new();
    #[cfg(feature = "wasm")]
    let router = router.merge(layotto::routes());
    router
        .merge(functions::routes(&admin))
        .route("/", get(index))
        .route("/actuator/health", get(actuator::readiness))
        .route("/actuator/health/readiness", get(actuator::readiness))
        .route("/actuator/health/liveness", get(actuator::liveness))
        .route("/actuator/info", get(actuator::info))
        .route("/actuator/logger", get(actuator::logger).post(actuator::set_logger))
        .route("/actuator/components", get(actuator::components))
        .route("/config", get(manage::config))
        .route("/listeners", get(manage::listeners))
        .route("/clusters", get(manage::clusters))
        .route("/routes", get(manage::routes))
        .route("/reload", post(manage::reload).get(manage::last_reload))
        .route("/metrics", get(manage::metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(admin.clone(), admit))
        .with_state(admin)
}

/// Nobody passes without the token, and no web page does at all.
async fn admit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let access = admin.access.load();
    let open = PROBES.contains(&request.uri().path());
    let allowed = match open {
        true => access.check_origin(admin.exposure, authority, request.headers()),
        false => access.check(admin.exposure, authority, request.headers()),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(denied) => refusal(denied),
    }
}

fn refusal(denied: Denied) -> Response {
    match denied {
        Denied::Origin => problem(StatusCode::FORBIDDEN, "requests from web pages are refused"),
        Denied::Host => problem(
            StatusCode::FORBIDDEN,
            "the request names a host that is not this sidecar: use its address, or add admin.hosts",
        ),
        Denied::Token => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            let answer = problem(StatusCode::UNAUTHORIZED, "the admin token is required, as a bearer token");
            (challenge, answer).into_response()
        }
    }
}

fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

const POST: &[&str] = &[
    "/actuator/logger",
    "/reload",
    "/functions/{name}/promote",
    "/functions/{name}/weight",
    "/functions/{name}/rollback",
];
#[cfg(not(feature = "wasm"))]
const POST_LAYOTTO: &[&str] = &[];
#[cfg(feature = "wasm")]
const POST_LAYOTTO: &[&str] = &["/wasm/install", "/wasm/uninstall", "/wasm/update"];

async fn index() -> Response {
    let post = [POST, POST_LAYOTTO].concat();
    Json(json!({
        "get": [
            "/actuator/health/liveness", "/actuator/health/readiness", "/actuator/info", "/actuator/logger",
            "/actuator/components", "/config", "/listeners", "/clusters", "/routes", "/reload", "/metrics",
            "/functions", "/functions/{name}", "/functions/{name}/logs",
        ],
        "post": post,
        "put": ["/functions/{name}"],
        "delete": ["/functions/{name}"],
    }))
    .into_response()
}

/// Layotto's answer: 404 and no body.
async fn nothing_here() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], StatusCode::NOT_FOUND).into_response()
}

async fn wrong_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer that method")
}
