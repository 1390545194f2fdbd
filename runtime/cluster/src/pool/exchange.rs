//! One attempt: a connection, the request on it, and what came of that.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::Method;
use outrigger_http::h1::client::{Answer, ClientError, ClientErrorKind, Conn, SendOptions};
use outrigger_http::{RequestExt, RequestHead, Response, Upstream};
use outrigger_resilience::Deadline;
use outrigger_telemetry::span::Span;

use super::Pool;
use super::h1::{Idle, Lease};
use super::via::Via;
use crate::cluster::{Cluster, now};
use crate::config::Location;
use crate::endpoint::Endpoint;
use crate::error::{SendError, SendErrorKind};
use crate::replay::Replay;
use crate::usage::{InFlight, Load};
use crate::waiting::Place;

/// What an attempt works with.
pub(crate) struct Exchange<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) endpoint: &'a Arc<Endpoint>,
    pub(crate) head: &'a RequestHead,
    pub(crate) ext: &'a RequestExt,
    /// The attempt's own, when the request is being traced.
    pub(crate) span: Option<&'a Span>,
    pub(crate) started: Instant,
    /// Until when this attempt must have brought a response head.
    pub(crate) attempt: Deadline,
    /// Until when any attempt must have.
    pub(crate) total: Deadline,
}

impl Exchange<'_> {
    /// Runs the attempt. Dropping the future closes the connection, or resets the HTTP/2 stream.
    pub(crate) async fn run(&self, replay: &mut Replay) -> Result<Response, SendError> {
        let pool = self.endpoint.pools.here();
        let mut timer = pool.timer();
        let exchange = pin!(async {
            match self.endpoint.location() {
                Location::Function(name) => self.locally(name, replay).await,
                Location::Address(_) if self.endpoint.identity().http2 => self.over_h2(pool, replay).await,
                Location::Address(_) => self.over_h1(pool, replay).await,
            }
        });
        let deadline = self.attempt.earlier(self.total).instant().map(tokio::time::Instant::from_std);
        let result = timer.within(deadline, exchange).await;
        pool.keep_timer(timer);
        result
            .unwrap_or_else(|| Err(SendError::new(self.lateness(now()))))
            .map_err(|error| error.at(self.endpoint.location()))
    }

    fn lateness(&self, now: Instant) -> SendErrorKind {
        if self.total.is_past(now) { SendErrorKind::Timeout } else { SendErrorKind::TryTimeout }
    }

    async fn over_h1(&self, pool: &Arc<Pool>, replay: &mut Replay) -> Result<Response, SendError> {
        let mut body = replay.next().ok_or_else(body_spent)?;
        let mut may_reuse = true;
        loop {
            let request = self.in_flight()?;
            let Idle { conn, lease } = self.check_out(pool, may_reuse).await?;
            lease.lend(request);
            let via = lease.via;
            let options = SendOptions { recycle: lease, informational: self.ext.informational.as_ref() };
            let error = match conn.send(self.head, &mut body, options).await {
                Ok(answer) => return Ok(self.told(response(answer), via)),
                Err(error) => error,
            };
            match stale(&error, &self.head.method) {
                Stale::No => return Err(from_h1(error)),
                Stale::Unsent => {}
                // The upstream may close many idle connections at once: do not try them one by one.
                Stale::Sent => may_reuse = false,
            }
            if error.body_taken {
                body = replay.next().ok_or_else(|| from_h1(error))?;
            }
        }
    }

    /// With who answered, where a filter may ask.
    pub(super) fn told(&self, mut response: Response, Via { local, tls_version }: Via) -> Response {
        if self.ext.is_watched {
            let (cluster, endpoint) = (Arc::clone(&self.cluster.name), Arc::clone(self.endpoint.text()));
            response.upstream = Some(Arc::new(Upstream { cluster, endpoint, local, tls_version }));
        }
        response
    }

    pub(super) fn in_flight(&self) -> Result<InFlight, SendError> {
        Ok(InFlight::new(self.cluster.enter()?, Load::on(self.endpoint)))
    }

    /// A pooled connection, or a new one, or whichever comes first once others are given back.
    async fn check_out(&self, pool: &Arc<Pool>, may_reuse: bool) -> Result<Idle, SendError> {
        let settings = &self.cluster.config.pool;
        let mut waiter = None;
        loop {
            if may_reuse && let Some(idle) = pool.take(settings.idle_timeout, self.started.into()) {
                self.cluster.metrics.reused.inc();
                return Ok(idle);
            }
            if let Some(place) = self.cluster.waiting.place().or_else(|| self.evicted_place()) {
                drop(waiter);
                // Boxed: rare, and large enough to make the future of every request twice as large.
                let stream = Box::pin(self.cluster.dial(self.endpoint, Deadline::NEVER)).await?;
                let via = Via::of(&stream);
                let conn = Conn::new(stream, Arc::clone(&self.cluster.client));
                let lease = Lease::new(pool, &self.cluster.waiting, *settings, (place, via));
                return Ok(Idle { conn, lease });
            }
            match &waiter {
                None => waiter = Some(self.cluster.waiting.wait().ok_or_else(|| self.cluster.overflow())?),
                Some(waiter) => waiter.woken().await,
            }
        }
    }

    /// The place of an idle connection to another endpoint of the cluster, which is closed for it.
    pub(super) fn evicted_place(&self) -> Option<Place> {
        let set = self.cluster.set();
        let evicted = set.all.iter().any(|member| member.endpoint.pools.here().evict());
        if evicted { self.cluster.waiting.place() } else { None }
    }
}

pub(super) fn response(answer: Answer) -> Response {
    let mut response = Response::new(answer.head, answer.body);
    response.tunnel = answer.tunnel;
    response
}

/// Whether a pooled connection turned out to be closed, and what may be done about it.
enum Stale {
    No,
    /// No byte has left: any request may go out on another connection.
    Unsent,
    /// The request was written into a connection the upstream had closed. Almost certainly it was not read, and
    /// a request that may be repeated by its method is (RFC 9110 §9.2.2).
    Sent,
}

fn stale(error: &ClientError, method: &Method) -> Stale {
    match error.kind {
        ClientErrorKind::ReusedClosed if !error.request_sent => Stale::Unsent,
        ClientErrorKind::ReusedClosed if method.is_idempotent() => Stale::Sent,
        _ => Stale::No,
    }
}

fn from_h1(error: ClientError) -> SendError {
    let kind = match error.kind {
        ClientErrorKind::RequestBody(_) => SendErrorKind::RequestBody,
        ClientErrorKind::Protocol(_) => SendErrorKind::Protocol,
        ClientErrorKind::ReusedClosed | ClientErrorKind::Closed | ClientErrorKind::Io(_)
            if error.request_sent =>
        {
            SendErrorKind::Reset
        }
        ClientErrorKind::ReusedClosed | ClientErrorKind::Closed | ClientErrorKind::Io(_) => {
            SendErrorKind::ResetBeforeRequest
        }
    };
    SendError::with_source(kind, error)
}

/// A streamed body has gone out with an earlier attempt.
pub(super) fn body_spent() -> SendError {
    SendError::with_source(SendErrorKind::Reset, "the request body has been sent already and is not kept")
}
