//! A connection's stream and read buffer, and the queue of what is to be written.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use outrigger_net::Stream;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::buffer;

/// The reading half, and the stream under both.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) stream: Stream,
    pub(crate) read: BytesMut,
    /// Consecutive reads that filled the buffer: a large body is coming.
    full_reads: u8,
}

impl Io {
    pub(crate) fn new(stream: Stream, prefix: Bytes) -> Self {
        Self { stream, read: prefix.into(), full_reads: 0 }
    }

    /// Reads once into the buffer; 0 is the end of the stream. While there is nothing, an empty buffer is given back.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() == 0 {
            self.read = buffer::take();
        } else if self.read.capacity() - self.read.len() < buffer::SIZE / 4 {
            self.read.reserve(if self.full_reads > 1 { buffer::LARGE } else { buffer::SIZE });
        }
        let room = self.read.capacity() - self.read.len();
        let read = pin!(self.stream.read_buf(&mut self.read)).poll(cx);
        match &read {
            Poll::Ready(Ok(count)) if *count == room => self.full_reads = self.full_reads.saturating_add(1),
            Poll::Ready(_) => self.full_reads = 0,
            Poll::Pending => self.rest(),
        }
        read
    }

    /// Gives an empty buffer back until there is something to read.
    pub(crate) fn rest(&mut self) {
        if self.read.is_empty() && self.read.capacity() > 0 {
            buffer::give(std::mem::take(&mut self.read));
        }
    }
}

/// Where a queue is written to.
pub(crate) trait Sink {
    /// Ready when everything queued has been written.
    fn poll_queue(&mut self, cx: &mut Context<'_>, queue: &mut Queue) -> Poll<io::Result<()>>;
}

impl Sink for Stream {
    fn poll_queue(&mut self, cx: &mut Context<'_>, queue: &mut Queue) -> Poll<io::Result<()>> {
        queue.poll_write(cx, self)
    }
}

/// Bytes waiting to be written: small pieces gathered in one buffer, at most one large piece after it, and what
/// closes that piece. One write takes all three.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) small: BytesMut,
    large: Bytes,
    tail: &'static [u8],
}

/// A piece this small is cheaper to copy than to list in a vectored write.
pub(crate) const COPY: usize = 2 * 1024;
/// As much is gathered before it is written although more is ready.
const HIGH: usize = 32 * 1024;

impl Queue {
    /// The buffer to serialise a head into.
    pub(crate) fn head(&mut self) -> &mut BytesMut {
        if self.small.capacity() == 0 {
            self.small = buffer::take();
        }
        &mut self.small
    }

    pub(crate) fn len(&self) -> usize {
        self.small.len() + self.large.len() + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Whether nothing more should be added before a write.
    pub(crate) fn is_full(&self) -> bool {
        !self.large.is_empty() || !self.tail.is_empty() || self.small.len() >= HIGH
    }

    /// Adds data; the queue must not be full.
    pub(crate) fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= COPY {
            let small = self.head();
            small.extend_from_slice(&data);
            small.extend_from_slice(tail);
        } else {
            self.large = data;
            self.tail = tail;
        }
    }

    /// Writes everything; afterwards the buffer is back in the pool.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            match ready!(self.poll_write_some(cx, stream))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.advance(written),
            }
        }
        buffer::give(std::mem::take(&mut self.small));
        // Only TLS holds bytes back.
        if stream.is_tls() { Pin::new(stream).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_write_some(&self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        if self.large.is_empty() && self.tail.is_empty() {
            return stream.poll_write(cx, &self.small);
        }
        let parts = [IoSlice::new(&self.small), IoSlice::new(&self.large), IoSlice::new(self.tail)];
        let filled = if self.small.is_empty() { 1 } else { 0 };
        stream.poll_write_vectored(cx, parts.get(filled..).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        let small = written.min(self.small.len());
        self.small.advance(small);
        written -= small;
        let large = written.min(self.large.len());
        self.large.advance(large);
        written -= large;
        self.tail = self.tail.get(written..).unwrap_or_default();
    }
}
