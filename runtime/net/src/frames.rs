//! The frame accountant: enforces budgets on an HTTP/2 server connection from outside the HTTP/2 library.
//!
//! It wraps the stream the library reads and writes, follows the frames in both directions by their headers alone,
//! and ends the connection with GOAWAY (ENHANCE_YOUR_CALM) when the client overdoes something the library has no
//! budget for. A stream whose window stays shut is reset on its own, in the client's name towards the library and in
//! ours towards the client.

mod budget;
mod ledger;
mod limits;
mod scan;
mod streams;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::detect::HTTP2_PREFACE;
use ledger::{Ledger, Stalled};
pub use limits::{Flood, FloodCounters, FloodLimits};
use scan::{Scanner, Seen};

/// Requests taken in before other connections of the worker get their turn.
const STREAMS_PER_TURN: u32 = 32;

const CANCEL: u32 = 0x8;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// An HTTP/2 server connection under budget. The client's preface has not been read yet.
///
/// A violation shows as an [`io::Error`] of kind `ConnectionAborted` whose source is the [`Flood`]; of that, `h2` keeps
/// only the kind and the message.
#[derive(Debug)]
pub struct Accountant<S> {
    inner: S,
    incoming: Scanner,
    outgoing: Scanner,
    ledger: Ledger,
    write_stall: Duration,
    counters: Arc<FloodCounters>,
    /// Requests since the client last let us wait.
    taken: u32,
    /// Frames of ours to the client, and how much of them is written.
    outbox: Vec<u8>,
    /// Since when the client has not read what we have to write.
    unread: Option<Instant>,
    /// Runs while something is stuck.
    timer: Option<Pin<Box<Sleep>>>,
    ended: Option<Flood>,
}

impl<S> Accountant<S> {
    /// `write_stall` is how long a stream may wait for the client to open its window, and the connection for the
    /// client to read.
    pub fn new(inner: S, limits: FloodLimits, write_stall: Duration, counters: Arc<FloodCounters>) -> Self {
        Self {
            inner,
            incoming: Scanner::after_preface(HTTP2_PREFACE.len() as u8),
            outgoing: Scanner::after_preface(0),
            ledger: Ledger::new(limits, Instant::now()),
            write_stall,
            counters,
            taken: 0,
            outbox: Vec::new(),
            unread: None,
            timer: None,
            ended: None,
        }
    }

    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Why the connection was ended, if the accountant did.
    pub fn flood(&self) -> Option<Flood> {
        self.ended
    }

    fn check_ended(&self) -> io::Result<()> {
        self.ended.map_or(Ok(()), |flood| Err(io::Error::new(io::ErrorKind::ConnectionAborted, flood)))
    }

    fn account_received(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let now = Instant::now();
        let before = self.ledger.last_stream();
        let (incoming, ledger) = (&mut self.incoming, &mut self.ledger);
        let outcome = incoming.scan(bytes, |seen| ledger.received(seen, now));
        // Clients use odd numbers.
        self.taken += (self.ledger.last_stream() - before).div_ceil(2);
        outcome
    }

    fn account_sent(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let (ledger, counters) = (&mut self.ledger, &self.counters);
        self.outgoing.scan(bytes, |seen: Seen| match ledger.sent(seen, now) {
            // The library ends the connection itself; it is only counted here.
            Err(Flood::Codec) => {
                counters.count(Flood::Codec);
                Ok(())
            }
            outcome => outcome,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Accountant<S> {
    /// Ends the connection: a GOAWAY if one can be written at once, and errors from here on. Between two frames is
    /// where we are unless the client has stopped reading, and then it would not read the GOAWAY either.
    fn end(&mut self, cx: &mut Context<'_>, flood: Flood) -> io::Error {
        self.counters.count(flood);
        self.ended = Some(flood);
        tracing::debug!(kind = flood.as_str(), "http/2 connection ended for a flood");
        if self.outgoing.at_boundary() && self.outbox.is_empty() {
            let frame = goaway(self.ledger.last_stream(), flood);
            let mut inner = Pin::new(&mut self.inner);
            if let Poll::Ready(Ok(_)) = inner.as_mut().poll_write(cx, &frame) {
                let _ = inner.poll_flush(cx);
            }
        }
        io::Error::new(io::ErrorKind::ConnectionAborted, flood)
    }

    /// Writes frames of our own, where one may be put in.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() && self.outgoing.at_boundary() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.outbox))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes note of a write's outcome: `written` holds what went out.
    fn wrote<'a>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
        written: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(n)) => {
                self.unread = None;
                let (mut left, now) = (*n, Instant::now());
                for slice in written {
                    let part = slice.get(..left.min(slice.len())).unwrap_or_default();
                    left -= part.len();
                    if let Err(flood) = self.account_sent(part, now) {
                        return Poll::Ready(Err(self.end(cx, flood)));
                    }
                }
            }
            Poll::Pending => {
                self.unread.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Err(_)) => {}
        }
        if let Poll::Ready(Err(error)) = self.poll_stalls(cx, None) {
            return Poll::Ready(Err(error));
        }
        outcome
    }

    /// Looks after what is stuck; ready with `Ok` when it put a reset of a stream into `buf`.
    fn poll_stalls(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(timer) = &mut self.timer {
                // It was set for what was stuck then; what got stuck since can only be due later.
                ready!(timer.as_mut().poll(cx));
            }
            let unread = self.unread.map(|since| (Stalled::Connection, since));
            let stuck = self.ledger.stalled().into_iter().chain(unread).min_by_key(|(_, since)| *since);
            let Some((what, since)) = stuck else {
                self.timer = None;
                return Poll::Pending;
            };
            let (now, patience) = (Instant::now(), self.write_stall);
            if now < since + patience {
                self.wake_at(since + patience);
                continue;
            }
            let Stalled::Stream(id) = what else {
                return Poll::Ready(Err(self.end(cx, Flood::StalledConnection)));
            };
            if !self.incoming.at_boundary() {
                // The client is in the middle of a frame, where nothing can be put in; it has as long again to end it.
                if now >= since + patience * 2 {
                    return Poll::Ready(Err(self.end(cx, Flood::StalledConnection)));
                }
                self.wake_at(since + patience * 2);
                continue;
            }
            let frame = reset(id);
            let Some(buf) = buf.as_deref_mut().filter(|buf| buf.remaining() >= frame.len()) else {
                // This is a write; the read this wakes finds the timer fired.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.counters.count(Flood::StalledStream);
            self.ledger.forget(id);
            self.outbox.extend_from_slice(&frame);
            buf.put_slice(&frame);
            return Poll::Ready(Ok(()));
        }
    }

    fn wake_at(&mut self, deadline: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.timer = Some(Box::pin(sleep_until(deadline))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Accountant<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_ended()?;
        if self.taken >= STREAMS_PER_TURN {
            self.taken = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let this = &mut *self;
        if Pin::new(&mut this.inner).poll_read(cx, buf)?.is_pending() {
            this.taken = 0;
            return this.poll_stalls(cx, Some(buf));
        }
        let received = buf.filled().get(before..).unwrap_or_default();
        match this.account_received(received) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(flood) => Poll::Ready(Err(this.end(cx, flood))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Accountant<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_ended()?;
        ready!(self.poll_outbox(cx))?;
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, outcome, std::iter::once(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_ended()?;
        ready!(self.poll_outbox(cx))?;
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, outcome, bufs.iter().map(|buf| &**buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_ended()?;
        ready!(self.poll_outbox(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// GOAWAY, RFC 9113 section 6.8, with the flood's name as debug data.
fn goaway(last_stream: u32, flood: Flood) -> Vec<u8> {
    let debug = flood.as_str().as_bytes();
    let mut frame = vec![0, 0, 8 + debug.len() as u8, scan::kind::GOAWAY, 0, 0, 0, 0, 0];
    frame.extend(last_stream.to_be_bytes());
    frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
    frame.extend(debug);
    frame
}

/// RST_STREAM (CANCEL), RFC 9113 section 6.4.
fn reset(stream: u32) -> [u8; 13] {
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    let [c0, c1, c2, c3] = CANCEL.to_be_bytes();
    [0, 0, 4, scan::kind::RST_STREAM, 0, s0, s1, s2, s3, c0, c1, c2, c3]
}

#[cfg(test)]
mod tests;
