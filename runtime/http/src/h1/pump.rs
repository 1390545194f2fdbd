//! Writes a head and the body behind it, pulling the body as fast as the peer takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::frame::Outgoing;
use super::io::{Queue, Sink};
use super::write;
use crate::body::{Body, BodyError};

/// One message on its way out.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) queue: Queue,
    body: Body,
    framing: Outgoing,
    ended: bool,
    /// Body bytes handed to the queue.
    pub(crate) sent: u64,
    /// Whether any byte has gone to the socket.
    pub(crate) started: bool,
}

#[derive(Debug)]
pub(crate) enum PumpError {
    /// The connection being written to failed.
    Io(io::Error),
    /// The body could not be had to its end; the message is cut short.
    Body(BodyError),
}

impl Pump {
    /// `queue` holds the head already.
    pub(crate) fn new(queue: Queue, body: Body, framing: Outgoing) -> Self {
        let mut pump = Self { queue, body, framing, ended: false, sent: 0, started: false };
        if matches!(framing, Outgoing::None | Outgoing::Described) {
            pump.body = Body::empty();
            pump.ended = true;
        } else if framing != Outgoing::Chunked
            && let Some(whole) = pump.body.as_full().cloned()
        {
            pump.body = Body::empty();
            pump.ended = true;
            pump.push(whole);
        }
        pump
    }

    /// Ready when all of it has been written.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<Result<(), PumpError>> {
        loop {
            if self.ended || self.queue.is_full() {
                ready!(self.poll_queue(cx, sink))?;
                if self.ended {
                    return Poll::Ready(Ok(()));
                }
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.add(frame)?,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(PumpError::Body(error))),
                Poll::Ready(None) => self.finish(None)?,
                Poll::Pending => {
                    ready!(self.poll_queue(cx, sink))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes what is queued, which at first is the head, and pulls nothing from the body.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), PumpError>> {
        self.poll_queue(cx, sink)
    }

    /// Whether something is ready to be written and the peer is not taking it.
    pub(crate) fn is_stalled(&self) -> bool {
        !self.queue.is_empty()
    }

    fn poll_queue(&mut self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<Result<(), PumpError>> {
        let queued = self.queue.len();
        let done = sink.poll_queue(cx, &mut self.queue).map_err(PumpError::Io);
        self.started |= self.queue.len() < queued;
        done
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), PumpError> {
        match frame.into_data() {
            Ok(data) => {
                if let Outgoing::Length(length) = self.framing
                    && self.sent + data.len() as u64 > length
                {
                    return Err(PumpError::Body(BodyError::Malformed("longer than its length")));
                }
                self.push(data);
                Ok(())
            }
            Err(frame) => self.finish(frame.into_trailers().ok().as_ref()),
        }
    }

    fn push(&mut self, data: Bytes) {
        // An empty chunk would end the body.
        if data.is_empty() {
            return;
        }
        self.sent += data.len() as u64;
        if self.framing == Outgoing::Chunked {
            write::chunk_size(self.queue.head(), data.len());
            self.queue.push(data, b"\r\n");
        } else {
            self.queue.push(data, b"");
        }
    }

    fn finish(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), PumpError> {
        match self.framing {
            Outgoing::Chunked => {
                // Room for it is certain: the queue was not full before this frame.
                write::last_chunk(self.queue.head(), trailers);
            }
            Outgoing::Length(length) if self.sent != length => {
                return Err(PumpError::Body(BodyError::Malformed("shorter than its length")));
            }
            _ => {}
        }
        self.body = Body::empty();
        self.ended = true;
        Ok(())
    }
}
