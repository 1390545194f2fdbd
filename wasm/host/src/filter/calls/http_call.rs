//! HTTP calls: one answer, or none.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use outrigger_cluster::{Body, BodyError, Cluster, SendOptions};
use outrigger_resilience::Deadline;

use super::super::abi::Status;
use super::super::map;
use super::super::memory::{Answer, Guest, Span, bytes, put_u32, text};
use super::{Arrived, append, fields, of, request, timeout, trace_of};

/// What `http_call` is given.
pub(crate) struct HttpCall {
    pub(crate) upstream: Span,
    pub(crate) headers: Span,
    pub(crate) body: Span,
    pub(crate) trailers: Span,
    pub(crate) timeout: u32,
}

pub(crate) fn http_call(guest: &mut Guest<'_>, call: HttpCall, token: u32) -> Answer {
    let (upstream, headers) = (text(guest, call.upstream)?, bytes(guest, call.headers)?);
    let (body, trailers) = (bytes(guest, call.body)?, bytes(guest, call.trailers)?);
    let body = guest.data().sendable(body)?;
    let mut asked = request(&map::decode(&headers)?, of_parts(body.into(), &trailers)?)?;
    let state = guest.data_mut();
    state.trace(&mut asked);
    let (limit, time) = (state.plan.max_buffer, timeout(call.timeout));
    let cluster = state.cluster(&upstream, Status::BadArgument)?;
    let number = state.begin(None, |token, home| async move {
        let Some(cluster) = cluster else { return };
        let exchange = tokio::time::timeout(
            time,
            exchange(&cluster, asked, Deadline::after(Instant::now(), time), limit),
        );
        let arrived = exchange.await.ok().flatten();
        if let Some(cell) = home.cell.upgrade() {
            // A callback that fails has been told of by the cell.
            let _ = cell.with(|vm| vm.http_call_ended(token, arrived));
        }
    })?;
    Ok(put_u32(guest, token, number)?)
}

/// Data and trailers, which are few and ready.
fn of_parts(data: Bytes, trailers: &[u8]) -> Result<Body, Status> {
    let pairs = map::decode(trailers)?;
    if pairs.is_empty() {
        return Ok(Body::full(data));
    }
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        append(&mut map, name, value)?;
    }
    let (sender, body) = Body::channel(2);
    let room = |_| Status::InternalFailure;
    sender.try_send(Ok(Frame::data(data))).map_err(room)?;
    sender.try_send(Ok(Frame::trailers(map))).map_err(room)?;
    Ok(body)
}

/// `None` when there is no answer, or none that can be kept.
async fn exchange(
    cluster: &Arc<Cluster>,
    asked: Request<Body>,
    deadline: Deadline,
    limit: usize,
) -> Option<Arrived> {
    let trace = trace_of(&asked);
    let answer = cluster.call(asked, trace.as_ref(), &SendOptions { deadline, retry: None }).await;
    let answer = answer.map_err(|error| tracing::debug!(%error, "a filter's call brought no answer")).ok()?;
    let (head, body) = answer.into_parts();
    let (body, trailers) = collect(body, limit)
        .await
        .map_err(|error| tracing::debug!(%error, "the answer to a filter's call broke off"))
        .ok()?;
    let mut headers = vec![(of(b":status"), of(head.status.as_str().as_bytes()))];
    headers.extend(fields(&head.headers));
    Some(Arrived { headers, body, trailers: fields(&trailers), ..Arrived::default() })
}

/// A body and its trailers, whole.
pub(crate) async fn collect(mut body: Body, limit: usize) -> Result<(Bytes, HeaderMap), BodyError> {
    let (mut all, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if all.len() + data.len() > limit => return Err(BodyError::TooLarge),
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((all.into(), trailers))
}
