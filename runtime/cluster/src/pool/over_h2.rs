//! An attempt over HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use outrigger_http::h2::client::{self, ClientError};
use outrigger_http::{Body, BodyError, Response};
use outrigger_resilience::Deadline;
use tracing::debug;

use super::Pool;
use super::exchange::{Exchange, body_spent, response};
use super::h2::{Next, Opening, Stream};
use super::via::Via;
use crate::error::{SendError, SendErrorKind};
use crate::replay::Replay;
use crate::usage::InFlight;
use crate::waiting::Place;

/// How often a request moves on from connections that turn out to be closing, or full.
const MOVES: u32 = 3;

impl Exchange<'_> {
    pub(super) async fn over_h2(&self, pool: &Arc<Pool>, replay: &mut Replay) -> Result<Response, SendError> {
        let mut body = replay.next().ok_or_else(body_spent)?;
        for move_on in 0.. {
            let request = self.in_flight()?;
            let stream = self.stream(pool).await?;
            let in_memory = body.as_full().is_some();
            let error = match stream.sender().send(self.head, &mut body).await {
                Ok(answer) => {
                    stream.answered();
                    let response = self.told(response(answer), stream.via());
                    return Ok(guarded(response, Guard { _request: request, _stream: stream }));
                }
                Err(error) => error,
            };
            let unsent =
                matches!(&error, ClientError::Refused(cause) if cause.is_canceled() || stream.is_early());
            if !unsent || move_on == MOVES {
                return Err(from_h2(error));
            }
            if !in_memory {
                body = replay.next().ok_or_else(|| from_h2(error))?;
            }
        }
        Err(body_spent())
    }

    /// A stream on an open connection, or on a new one.
    async fn stream(&self, pool: &Arc<Pool>) -> Result<Stream, SendError> {
        let (settings, waiting) = (&self.cluster.config.pool, &self.cluster.waiting);
        let mut waiter = None;
        loop {
            match pool.h2.next(pool, waiting, settings.idle_timeout, settings.max_streams) {
                Next::Stream(stream) => {
                    self.cluster.metrics.reused.inc();
                    return Ok(stream);
                }
                Next::Wait(opened) => opened.await,
                Next::Open(opening) => {
                    if let Some(place) = waiting.place().or_else(|| self.evicted_place()) {
                        drop(waiter);
                        // Boxed for the same reason as the dialling of HTTP/1.1.
                        return Box::pin(self.open(pool, opening, place)).await;
                    }
                    drop(opening);
                    match &waiter {
                        None => waiter = Some(waiting.wait().ok_or_else(|| self.cluster.overflow())?),
                        Some(waiter) => waiter.woken().await,
                    }
                }
            }
        }
    }

    async fn open(&self, pool: &Arc<Pool>, opening: Opening<'_>, place: Place) -> Result<Stream, SendError> {
        let stream = self.cluster.dial(self.endpoint, Deadline::NEVER).await?;
        if stream.is_tls() && stream.alpn() != Some(b"h2") {
            return Err(SendError::with_source(
                SendErrorKind::Tls,
                "the endpoint does not agree to HTTP/2 (ALPN)",
            ));
        }
        let via = Via::of(&stream);
        let opened = client::handshake(stream, &self.cluster.h2_client).await;
        let (sender, driver) =
            opened.map_err(|error| SendError::with_source(SendErrorKind::ConnectFailed, error))?;
        let (cluster, address) = (Arc::clone(&self.cluster.name), self.endpoint.location().clone());
        // The connection's owner is its senders: the driver ends when the last of them and of its streams has.
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                debug!(cluster = &*cluster, %address, %error, "upstream connection ended");
            }
            drop(place);
        });
        let idle_timeout = self.cluster.config.pool.idle_timeout;
        Ok(opening.done((sender, via), pool, &self.cluster.waiting, idle_timeout))
    }
}

/// What is counted until the response body ends.
struct Guard {
    _request: InFlight,
    _stream: Stream,
}

fn guarded(mut response: Response, guard: Guard) -> Response {
    if let Some(tunnel) = response.tunnel.take() {
        response.tunnel = Some(crate::pool::tunnel::guarded(tunnel, guard));
    } else if !response.body.is_empty() {
        let body = std::mem::take(&mut response.body);
        response.body = Body::wrap(Guarded { body, guard: Some(guard) });
    }
    response
}

/// A response body that counts as a request in progress until its end.
struct Guarded {
    body: Body,
    guard: Option<Guard>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(&frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.guard = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn from_h2(error: ClientError) -> SendError {
    let kind = match &error {
        ClientError::Refused(_) => SendErrorKind::Refused,
        ClientError::Reset(cause) if has_source::<BodyError>(cause) => SendErrorKind::RequestBody,
        ClientError::Reset(_) => SendErrorKind::Reset,
        ClientError::Request(_) => SendErrorKind::Protocol,
    };
    SendError::with_source(kind, error)
}

/// Whether an error of type `E` is among the causes.
fn has_source<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<E>())
}
