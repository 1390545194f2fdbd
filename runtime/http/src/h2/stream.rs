//! Bodies of HTTP/2 streams, coming and going.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::h1::timer::Timer;
use crate::record::{Outcome, Record, Sent};

/// A body being received. h2 itself holds the data to its `content-length`.
#[derive(Debug)]
pub(crate) struct Stream {
    incoming: Incoming,
    /// Boxed: responses have none of it.
    upload: Option<Box<Upload>>,
}

/// What only the body of a request has.
#[derive(Debug)]
struct Upload {
    progress: Arc<Progress>,
    /// Longest silence; none where silence is part of the protocol.
    idle_timeout: Option<Duration>,
    silent_since: Option<Instant>,
    timer: Timer,
}

/// How far a request's body has come, whoever reads it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    received: AtomicU64,
    answered: AtomicBool,
}

impl Progress {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The answer has begun. From now on the client may wait for more of it before it goes on.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// A response's body.
    pub(crate) fn response(incoming: Incoming) -> Self {
        Self { incoming, upload: None }
    }

    /// A request's body, which fails with [`BodyError::Idle`] when the client is silent for so long while an answer
    /// waits for it.
    pub(crate) fn request(
        incoming: Incoming,
        progress: Arc<Progress>,
        idle_timeout: Option<Duration>,
    ) -> Self {
        let upload = Upload { progress, idle_timeout, silent_since: None, timer: Timer::default() };
        Self { incoming, upload: Some(Box::new(upload)) }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let Some(upload) = &mut self.upload else { return Poll::Pending };
            return upload.poll_silence(cx).map(|()| Some(Err(BodyError::Idle)));
        };
        if let (Some(upload), Some(Ok(frame))) = (&mut self.upload, &frame) {
            upload.came(frame);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Other(Box::new(error)))))
    }

    pub(crate) fn progress(&self) -> Option<&Arc<Progress>> {
        self.upload.as_ref().map(|upload| &upload.progress)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Upload {
    fn came(&mut self, frame: &Frame<Bytes>) {
        self.silent_since = None;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.progress.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Ready when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timeout) = self.idle_timeout else { return Poll::Pending };
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        ready!(self.timer.poll(cx, since + timeout));
        // An answer that began meanwhile makes it a conversation, in which either side may be silent.
        if self.progress.answered.load(Ordering::Relaxed) {
            self.idle_timeout = None;
            return Poll::Pending;
        }
        Poll::Ready(())
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
    /// Of the request this answers.
    progress: Option<Arc<Progress>>,
    _in_flight: Option<InFlight>,
}

impl Outbound {
    pub(crate) fn request(body: Body) -> Self {
        Self { body, sent: 0, status: StatusCode::OK, record: None, progress: None, _in_flight: None }
    }

    pub(crate) fn response(
        body: Body,
        status: StatusCode,
        record: Option<Box<Record>>,
        progress: Option<Arc<Progress>>,
        in_flight: InFlight,
    ) -> Self {
        Self { body, sent: 0, status, record, progress, _in_flight: Some(in_flight) }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(record) = self.record.take() {
            let received_bytes = self.progress.as_ref().map_or(0, |progress| progress.received());
            record.finish(&Sent { status: self.status, body_bytes: self.sent, received_bytes, outcome });
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
