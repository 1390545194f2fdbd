//! A request on its way to a backend, and the response on its way back.

use http::StatusCode;
use outrigger_cluster::{Cluster, Report, SendOptions};
use outrigger_http::{Request, RequestHead, Response, forward as fields};
use outrigger_resilience::RetryPolicy;
use tokio::time::Instant;

use super::Arrived;
use super::admit::Hops;
use super::record::{self, Log};
use super::timeout::Limit;
use super::websocket;
use crate::action::Forward;
use crate::error::ProxyError;
use crate::serving::Route;

impl Route {
    /// Picks the cluster, prepares the request, sends it, prepares the response.
    pub(super) async fn forward(
        &self,
        forward: &Forward,
        arrived: Arrived<'_>,
        request: Request,
        log: &mut Log,
    ) -> Result<Response, ProxyError> {
        let cluster = forward.backends.pick().ok_or(ProxyError::NoRoute)?;
        let limit = Limit::of(&request.head, forward.timeout);
        let mut request = self.prepare(forward, &arrived, request)?;
        let websocket = websocket::translate(&mut request.head, cluster.config().protocol);
        let mut report = Report::default();
        let sent = send(cluster, request, limit, arrived.started, forward.retry.as_ref(), &mut report).await;
        record::sent(log, cluster, &report);
        let mut response = sent?;
        let switching = response.head.status == StatusCode::SWITCHING_PROTOCOLS;
        fields::strip_hop_by_hop(&mut response.head.headers, switching);
        let response = websocket.undo(response).ok_or(ProxyError::WebSocket)?;
        Ok(limit.expire(response, arrived.started))
    }

    /// Takes off what was for us only, adds what we know of the client, and applies the route's changes.
    fn prepare(
        &self,
        forward: &Forward,
        arrived: &Arrived<'_>,
        mut request: Request,
    ) -> Result<Request, ProxyError> {
        let Request { head, conn, .. } = &mut request;
        let hops = Hops::of(head)?;
        let keep_upgrade = is_forwardable_upgrade(head);
        fields::strip_hop_by_hop(&mut head.headers, keep_upgrade);
        fields::forwarded(head, conn, arrived.listener.trusted.contains(&conn.peer));
        hops.write_next(head);
        forward.rewrite.apply(head, arrived.choice).map_err(|_| ProxyError::Rewrite)?;
        self.request_edits.apply(&mut head.headers);
        Ok(request)
    }
}

/// Sends within the limit.
async fn send(
    cluster: &Cluster,
    mut request: Request,
    limit: Limit,
    started: Instant,
    retry: Option<&RetryPolicy>,
    report: &mut Report,
) -> Result<Response, ProxyError> {
    let how = SendOptions { deadline: limit.deadline(&request.body, started), retry };
    let upload = limit.watch(&mut request.body);
    let sending = cluster.send_reporting(request, &how, report);
    match upload {
        None => Ok(sending.await?),
        Some(upload) => Ok(upload.limit(sending).await.ok_or(ProxyError::Timeout)??),
    }
}

/// `Upgrade: h2c` would let a client speak HTTP/2 past every rule of ours, so it goes no further.
fn is_forwardable_upgrade(head: &RequestHead) -> bool {
    head.upgrade()
        .is_some_and(|protocols| !protocols.split(',').any(|one| one.trim().eq_ignore_ascii_case("h2c")))
}
