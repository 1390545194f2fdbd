//! Bodies of HTTP/2 streams, coming and going.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::{Body, BodyError};
use crate::record::{Outcome, Record, Sent};

/// A body being received. h2 itself holds the data to its `content-length`.
#[derive(Debug)]
pub(crate) struct Stream {
    incoming: Incoming,
}

impl Stream {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Other(Box::new(error)))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// One stream in flight; counts itself off when dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body being sent; finishes the record of its exchange when it ends or is dropped.
#[derive(Debug)]
pub(crate) struct Outbound {
    body: Body,
    sent: u64,
    status: StatusCode,
    record: Option<Box<Record>>,
    _in_flight: Option<InFlight>,
}

impl Outbound {
    pub(crate) fn request(body: Body) -> Self {
        Self { body, sent: 0, status: StatusCode::OK, record: None, _in_flight: None }
    }

    pub(crate) fn response(
        body: Body,
        status: StatusCode,
        record: Option<Box<Record>>,
        in_flight: InFlight,
    ) -> Self {
        Self { body, sent: 0, status, record, _in_flight: Some(in_flight) }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(record) = self.record.take() {
            record.finish(&Sent { status: self.status, body_bytes: self.sent, received_bytes: 0, outcome });
        }
    }
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => self.finish(Outcome::BodyFailed),
            None => self.finish(Outcome::Complete),
        }
        if self.body.is_end_stream() {
            self.finish(Outcome::Complete);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        let whole = self.body.is_end_stream();
        self.finish(if whole { Outcome::Complete } else { Outcome::ClientGone });
    }
}
