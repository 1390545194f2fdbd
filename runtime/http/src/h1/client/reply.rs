//! The body of an upstream's response, which owns the connection until its end.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Conn;
use crate::body::BodyError;
use crate::h1::chunk::{Decoder, Step};
use crate::h1::pump::PumpError;

/// Reads the response and, when the upstream answered early, goes on writing the request meanwhile.
#[derive(Debug)]
pub struct Reply {
    /// `None` once the connection has gone back, or has failed.
    conn: Option<Conn>,
    silent_until: Option<Instant>,
}

impl Reply {
    pub(super) fn new(conn: Conn) -> Self {
        Self { conn: Some(conn), silent_until: None }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.conn.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let remaining = self.conn.as_ref().map_or(Some(0), |conn| conn.0.decoder.remaining());
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(conn) = &mut self.conn else { return Poll::Ready(None) };
        let inner = &mut *conn.0;
        // A failed write is not the response's failure: the upstream may have heard enough.
        if let Poll::Ready(Err(PumpError::Body(error))) = inner.poll_pump(cx, false) {
            return self.fail(error);
        }
        loop {
            match inner.decoder.step(&mut inner.io.read) {
                Ok(Step::Data(data)) => {
                    self.silent_until = None;
                    // The last piece of a known length: the connection goes back now, not at one more poll.
                    if inner.decoder.is_done() {
                        self.give_back();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::Trailers(map)) => {
                    self.give_back();
                    return Poll::Ready(Some(Ok(Frame::trailers(map))));
                }
                Ok(Step::End) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Ok(Step::More) => {}
                Err(reason) => return self.fail(BodyError::Malformed(reason)),
            }
            match inner.io.poll_fill(cx) {
                Poll::Ready(Ok(0)) if matches!(inner.decoder, Decoder::UntilClose) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return self.fail(BodyError::Disconnected),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return self.fail(BodyError::Io(error)),
                Poll::Pending => {
                    let timeout = inner.config.body_idle_timeout;
                    if timeout.is_zero() {
                        return Poll::Pending;
                    }
                    let until = *self.silent_until.get_or_insert_with(|| Instant::now() + timeout);
                    return if inner.timer.poll(cx, until).is_ready() {
                        self.fail(BodyError::Idle)
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(conn) = self.conn.take() {
            conn.recycle();
        }
    }

    fn fail<T>(&mut self, error: BodyError) -> Poll<Option<Result<T, BodyError>>> {
        // Dropping it closes it, and tells the lender.
        self.conn = None;
        Poll::Ready(Some(Err(error)))
    }
}
