//! HTTP: the life of a request.

mod admit;
mod forward;
mod record;
mod timeout;
mod websocket;

use std::sync::Arc;

use arc_swap::ArcSwap;
use outrigger_http::chain::Passage;
use outrigger_http::{Handler, Request, Response, reply, server};
use outrigger_net::{Accepted, BoxFuture, Service};
use tokio::time::Instant;
use tracing::debug;

use record::{Log, Open};

use crate::action::Action;
use crate::error::ProxyError;
use crate::route::{Choice, pick};
use crate::serving::{HttpListener, Route};

/// Serves the requests of one listener for as long as it listens. Reloads change what new requests are decided by.
pub(crate) struct L7 {
    listener: ArcSwap<HttpListener>,
}

impl L7 {
    pub(crate) fn new(listener: Arc<HttpListener>) -> Self {
        Self { listener: ArcSwap::new(listener) }
    }

    pub(crate) fn replace(&self, listener: Arc<HttpListener>) {
        self.listener.store(listener);
    }
}

impl Service for L7 {
    fn serve(self: Arc<Self>, conn: Accepted) -> BoxFuture<'static, ()> {
        let config = Arc::clone(&self.listener.load().server);
        Box::pin(server::serve(conn, self, config))
    }
}

impl Handler for L7 {
    /// Admit the request, match its route, do what the route says, record what came of it.
    async fn handle(&self, mut request: Request) -> Response {
        let started = Instant::now();
        let listener = self.listener.load_full();
        let is_grpc = request.head.is_grpc();
        let mut open = Open::new(&listener, &request, started);
        let result = match route(&listener, &mut request) {
            Err(error) => Err(error),
            Ok((route, choice)) => {
                open.metrics = &route.metrics;
                let arrived = Arrived { listener: &listener, choice, started, is_grpc };
                route.answer(arrived, &mut request, &mut open.log).await
            }
        };
        let mut response = result.unwrap_or_else(|error| refuse(&error, is_grpc, &mut open.log));
        open.answered(&mut response);
        response
    }
}

/// Admits the request and finds its route.
fn route<'l>(listener: &'l HttpListener, request: &mut Request) -> Result<(&'l Route, Choice), ProxyError> {
    let head = &mut request.head;
    let path = admit::path(listener, head)?;
    let choice = pick(&listener.table, head, &path.matched).ok_or(ProxyError::NoRoute)?;
    if let Some(resolved) = path.rewritten {
        head.set_path(&resolved).map_err(|_| ProxyError::Rewrite)?;
    }
    let route = listener.routes.get(choice.route).ok_or(ProxyError::NoRoute)?;
    Ok((route, choice))
}

/// What is known of a request once it has a route.
struct Arrived<'l> {
    listener: &'l HttpListener,
    choice: Choice,
    started: Instant,
    is_grpc: bool,
}

impl Route {
    async fn answer(
        &self,
        arrived: Arrived<'_>,
        request: &mut Request,
        log: &mut Log,
    ) -> Result<Response, ProxyError> {
        record::routed(log, &self.name);
        request.ext.trace = record::trace(log);
        let mut passage = Passage::default();
        if let Action::Forward(_) = self.action {
            forward::sanitise(request, arrived.listener)?;
        }
        let answer = self.filters.request(request, &mut passage).await;
        record::filtered(log, request);
        let mut response = match answer {
            Some(response) => response,
            None => {
                let is_grpc = arrived.is_grpc;
                request.ext.is_watched = passage.has_visits();
                self.act(arrived, request, log).await.unwrap_or_else(|error| refuse(&error, is_grpc, log))
            }
        };
        self.filters.response(&mut passage, &mut response).await;
        Ok(response)
    }

    async fn act(
        &self,
        arrived: Arrived<'_>,
        request: &mut Request,
        log: &mut Log,
    ) -> Result<Response, ProxyError> {
        match &self.action {
            Action::Forward(to) => forward::forward(to, arrived, request, log).await,
            Action::Redirect(redirect) => Ok(redirect.response(&request.head, arrived.choice)),
            Action::Respond(respond) => Ok(respond.response()),
        }
    }
}

/// The proxy's own answer, in gRPC when the request was.
fn refuse(error: &ProxyError, is_grpc: bool, log: &mut Log) -> Response {
    debug!(reason = error.reason(), fault = ?error.fault(), %error, "request not answered by a backend");
    record::refused(log, error.reason());
    reply::local_for(is_grpc, error.status(), error.reason(), &error.to_string())
}
