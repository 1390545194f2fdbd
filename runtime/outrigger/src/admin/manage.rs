//! Dumps, metrics and management.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Admin, Ending, problem};
use crate::{config::show, listeners::Status};

/// What is in force, defaults included and secrets masked.
pub(super) async fn config(State(admin): State<Admin>) -> Result<Response, Ending> {
    let app = admin.app()?;
    Ok(Json(show::effective(&app.snapshot().loaded, &app.registry)).into_response())
}

pub(super) async fn listeners(State(admin): State<Admin>) -> Result<Response, Ending> {
    let app = admin.app()?;
    let mut all = app.listeners.all();
    if let Some(proxy) = &*app.proxy.lock().await {
        all.extend(proxy.status().map(Status::from));
    }
    Ok(Json(json!({"listeners": all})).into_response())
}

/// Endpoints, their health and what is going on there.
pub(super) async fn clusters(State(admin): State<Admin>) -> Result<Response, Ending> {
    let snapshot = admin.app()?.snapshot();
    let clusters: Vec<_> = snapshot.traffic.clusters.iter().map(|cluster| cluster.snapshot()).collect();
    Ok(Json(json!({"clusters": clusters})).into_response())
}

/// The routes in force, as configured.
pub(super) async fn routes(State(admin): State<Admin>) -> Result<Response, Ending> {
    let app = admin.app()?;
    let mut config = show::effective(&app.snapshot().loaded, &app.registry);
    let routes = config.get_mut("routes").map(serde_json::Value::take).unwrap_or_else(|| json!({}));
    Ok(Json(json!({"routes": routes})).into_response())
}

/// Reads the configuration again; 422 and the problems when it is refused.
pub(super) async fn reload(State(admin): State<Admin>) -> Result<Response, Ending> {
    let app = admin.app()?;
    // On the control runtime: what a reload starts must not end with the worker this request came in on.
    let reload = app.control.spawn({
        let app = app.clone();
        async move { app.reload("admin").await }
    });
    Ok(match reload.await {
        Ok(outcome) if outcome.applied => Json(outcome).into_response(),
        Ok(outcome) => (StatusCode::UNPROCESSABLE_ENTITY, Json(outcome)).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the reload failed: {error}")),
    })
}

/// How the last reload went; `null` when there was none.
pub(super) async fn last_reload(State(admin): State<Admin>) -> Result<Response, Ending> {
    Ok(Json(admin.app()?.reloads.last()).into_response())
}

pub(super) async fn metrics(State(admin): State<Admin>) -> Result<Response, Ending> {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((content_type, admin.app()?.metrics.render()).into_response())
}
