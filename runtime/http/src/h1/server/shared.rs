//! What a connection's loop and the request body it lends out both touch.
//!
//! The lock is uncontended unless a handler reads its body on another task, is held for one poll at a time, and is
//! never held while a body is polled (a response body may read from the request body of the same connection).

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::READ_AHEAD;
use crate::body::BodyError;
use crate::h1::chunk::{Decoder, Step};
use crate::h1::frame::{Incoming, Outgoing};
use crate::h1::io::{Io, Queue, Sink};
use crate::h1::write::{self, Persistence};
use crate::head::ResponseHead;

/// As much of an unread request body is read over for the sake of the connection.
const DRAIN_BYTES: u64 = 64 * 1024;

/// The part of a connection that outlives a borrow of its loop.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) io: Io,
    decoder: Decoder,
    /// Counts requests with a body, so that a body kept beyond its exchange cannot read the next one's.
    generation: u64,
    /// A body is lent out and has not been dropped.
    lent: bool,
    /// The client waits for `100 Continue` before it sends the body.
    continue_wanted: bool,
    /// 1xx responses waiting to be written.
    interim: Queue,
    /// The final response has begun: no more 1xx.
    responding: bool,
    failure: Option<BodyError>,
    /// When the body has been silent for too long; set while it is being waited for.
    deadline: Option<Instant>,
    idle_timeout: Duration,
    body_waker: Option<Waker>,
    loop_waker: Option<Waker>,
    received: u64,
    written: u64,
}

impl Shared {
    pub(crate) fn new(io: Io) -> Self {
        let state = State {
            io,
            decoder: Decoder::Done,
            generation: 0,
            lent: false,
            continue_wanted: false,
            interim: Queue::default(),
            responding: false,
            failure: None,
            deadline: None,
            idle_timeout: Duration::ZERO,
            body_waker: None,
            loop_waker: None,
            received: 0,
            written: 0,
        };
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Queues a 1xx and has the loop write it.
    pub(crate) fn send_informational(&self, head: &ResponseHead) {
        let mut state = self.lock();
        if state.responding
            || !head.status.is_informational()
            || head.status == http::StatusCode::SWITCHING_PROTOCOLS
        {
            return;
        }
        if head.status == http::StatusCode::CONTINUE {
            state.continue_wanted = false;
        }
        write::response(state.interim.head(), head, Outgoing::None, Persistence::Implied);
        if let Some(waker) = &state.loop_waker {
            waker.wake_by_ref();
        }
    }

    /// The final response begins: the interim queue, for its head to be added to, and whether the next request can be
    /// reached afterwards.
    pub(crate) fn begin_response(&self, expects_continue: bool) -> (Queue, bool) {
        let mut state = self.lock();
        state.responding = true;
        (std::mem::take(&mut state.interim), state.can_reach_next_request(expects_continue))
    }

    /// See `Connection::poll_aside`. Ready when the client has gone; until then, the deadline of the body is put into
    /// `deadline`.
    pub(crate) fn poll_aside(&self, cx: &mut Context<'_>, deadline: &mut Option<Instant>) -> Poll<()> {
        let state = &mut *self.lock();
        remember(&mut state.loop_waker, cx);
        if let Poll::Ready(Err(_)) = state.poll_interim(cx) {
            return Poll::Ready(());
        }
        *deadline = state.deadline;
        // While a body is unfinished, what arrives is the body's.
        while state.decoder.is_done() && state.io.read.len() < READ_AHEAD {
            match ready!(state.io.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Nothing came for too long: whoever reads the body learns it now.
    pub(crate) fn fail_body(&self) {
        let mut state = self.lock();
        state.failure = Some(BodyError::Idle);
        state.deadline = None;
        if let Some(waker) = state.body_waker.take() {
            waker.wake();
        }
    }

    /// The exchange is over: a body still held reads nothing any more. Says whether the body has ended, so that nobody
    /// needs to drain it, which is the usual case.
    pub(crate) fn revoke(&self) -> bool {
        let mut state = self.lock();
        state.generation += 1;
        state.lent = false;
        state.deadline = None;
        if let Some(waker) = state.body_waker.take() {
            waker.wake();
        }
        state.decoder.is_done()
    }

    /// Reads over what is left of the request body; ready with whether the next request can be reached.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>, drained: &mut u64) -> Poll<bool> {
        let state = &mut *self.lock();
        if state.failure.is_some() {
            return Poll::Ready(false);
        }
        loop {
            match state.decoder.step(&mut state.io.read) {
                Ok(Step::End | Step::Trailers(_)) => return Poll::Ready(true),
                Ok(Step::Data(data)) => *drained += data.len() as u64,
                Ok(Step::More) => match ready!(state.io.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Poll::Ready(false),
                },
                Err(_) => return Poll::Ready(false),
            }
            if *drained > DRAIN_BYTES {
                return Poll::Ready(false);
            }
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.lock().received
    }

    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }
}

impl State {
    /// Whether the request body is read, or near enough to its end to be read over.
    fn can_reach_next_request(&self, expects_continue: bool) -> bool {
        match self.decoder.remaining() {
            Some(0) => true,
            // The client may or may not send a body it was never told to send: nobody can tell what comes next.
            _ if expects_continue && self.continue_wanted => false,
            Some(left) => self.lent || left <= DRAIN_BYTES,
            None => self.failure.is_none(),
        }
    }

    /// A new request begins; returns the generation of its body, if it has one.
    pub(crate) fn begin(
        &mut self,
        body: Incoming,
        expects_continue: bool,
        idle_timeout: Duration,
    ) -> Option<u64> {
        self.decoder = Decoder::from(body);
        self.continue_wanted = expects_continue;
        self.responding = false;
        self.failure = None;
        self.deadline = None;
        self.idle_timeout = idle_timeout;
        self.received = 0;
        self.lent = body != Incoming::None;
        self.generation += 1;
        self.lent.then_some(self.generation)
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            self.interim.poll_write(cx, &mut self.io.stream)
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.failure.take() {
            // Stays failed: the rest of the body cannot be found any more.
            self.failure = Some(BodyError::Aborted);
            return Poll::Ready(Some(Err(error)));
        }
        if std::mem::take(&mut self.continue_wanted) && !self.responding {
            self.interim.head().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // On its way while the body is awaited; a failure shows when the body is read.
        let _ = self.poll_interim(cx);
        loop {
            match self.decoder.step(&mut self.io.read) {
                Ok(Step::Data(data)) => {
                    self.received += data.len() as u64;
                    self.deadline = None;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::Trailers(map)) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(reason) => return self.fail(BodyError::Malformed(reason)),
            }
            match self.io.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return self.fail(BodyError::Disconnected),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return self.fail(BodyError::Io(error)),
                Poll::Pending => {
                    self.deadline.get_or_insert_with(|| Instant::now() + self.idle_timeout);
                    remember(&mut self.body_waker, cx);
                    // The loop keeps the timer.
                    if let Some(waker) = self.loop_waker.as_ref().filter(|waker| !waker.will_wake(cx.waker()))
                    {
                        waker.wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn fail<T>(&mut self, error: BodyError) -> Poll<Option<Result<T, BodyError>>> {
        self.failure = Some(BodyError::Aborted);
        self.deadline = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Sink for &Shared {
    fn poll_queue(&mut self, cx: &mut Context<'_>, queue: &mut Queue) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let queued = queue.len();
        let done = queue.poll_write(cx, &mut state.io.stream);
        state.written += (queued - queue.len()) as u64;
        done
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

/// A request's body: reads from the connection it came on.
#[derive(Debug)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    generation: u64,
}

impl Inbound {
    pub(crate) fn new(shared: Arc<Shared>, generation: u64) -> Self {
        Self { shared, generation }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.shared.lock();
        if state.generation != self.generation {
            return Poll::Ready(Some(Err(BodyError::Aborted)));
        }
        state.poll_body(cx)
    }

    pub(crate) fn is_finished(&self) -> bool {
        let state = self.shared.lock();
        state.generation == self.generation && state.decoder.is_done()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.shared.lock().decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.generation == self.generation {
            state.lent = false;
            state.deadline = None;
        }
    }
}
