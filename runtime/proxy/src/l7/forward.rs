//! A request on its way to a backend, and the response on its way back.

use std::pin::pin;

use http::StatusCode;
use outrigger_cluster::{Report, SendOptions};
use outrigger_http::{Request, RequestHead, Response, forward as fields};

use super::Arrived;
use super::admit::Hops;
use super::record::{self, Log};
use super::timeout::Limit;
use super::websocket;
use crate::action::Forward;
use crate::error::ProxyError;
use crate::serving::HttpListener;

/// Takes off what was for us only and adds what we know of the client.
pub(super) fn sanitise(request: &mut Request, listener: &HttpListener) -> Result<(), ProxyError> {
    let Request { head, conn, .. } = request;
    let hops = Hops::of(head)?;
    let keep_upgrade = is_forwardable_upgrade(head);
    fields::strip_hop_by_hop(&mut head.headers, keep_upgrade);
    fields::forwarded(head, conn, listener.trusted.contains(&conn.peer));
    hops.write_next(head);
    Ok(())
}

/// Picks the cluster, rewrites the request, sends it, prepares the response.
pub(super) async fn forward(
    forward: &Forward,
    arrived: Arrived<'_>,
    request: &mut Request,
    log: &mut Log,
) -> Result<Response, ProxyError> {
    let cluster = forward.backends.pick().ok_or(ProxyError::NoRoute)?;
    let limit = Limit::of(&request.head, forward.timeout);
    forward.rewrite.apply(&mut request.head, arrived.choice).map_err(|_| ProxyError::Rewrite)?;
    let websocket = websocket::translate(&mut request.head, cluster.config().protocol);
    let how = SendOptions {
        deadline: limit.deadline(&request.body, arrived.started),
        retry: forward.retry.as_ref(),
    };
    let upload = limit.watch(&mut request.body);
    let mut report = Report::default();
    // Pinned here and not in `limit`, which would move the whole future once more.
    let sent = {
        let mut sending = pin!(cluster.send_reporting(request, &how, &mut report));
        match upload {
            None => sending.as_mut().await.map_err(ProxyError::Send),
            Some(upload) => match upload.limit(sending.as_mut()).await {
                Some(sent) => sent.map_err(ProxyError::Send),
                None => Err(ProxyError::Timeout),
            },
        }
    };
    record::sent(log, cluster, &report);
    let mut response = sent?;
    let switching = response.head.status == StatusCode::SWITCHING_PROTOCOLS;
    fields::strip_hop_by_hop(&mut response.head.headers, switching);
    websocket.undo(&mut response)?;
    limit.expire(&mut response, arrived.started);
    Ok(response)
}

/// `Upgrade: h2c` would let a client speak HTTP/2 past every rule of ours, so it goes no further.
fn is_forwardable_upgrade(head: &RequestHead) -> bool {
    head.upgrade()
        .is_some_and(|protocols| !protocols.split(',').any(|one| one.trim().eq_ignore_ascii_case("h2c")))
}
