//! A body on its way through a filter: piece by piece, or held back until the filter has seen enough.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use outrigger_http::{Body, BodyError};
use tokio::time::{Instant, Sleep, sleep};

use super::abi::Side;
use super::local::Local;
use super::measures::Hold;
use super::passing::{Exchange, HELD_TOO_LONG, Released};
use super::stream::{At, Parts, Stream};
use crate::limits;
use crate::plugin::Gone;

pub(crate) struct Flow {
    exchange: Arc<Exchange>,
    side: Side,
    body: Body,
    /// What is still to be read of what the head says.
    length: Option<u64>,
    /// Ready to be read, in this order.
    data: Bytes,
    trailers: Option<HeaderMap>,
    state: State,
    /// Ends a pause nobody else does.
    pause: Option<Pin<Box<Sleep>>>,
    hold: Option<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Flowing,
    /// More may come, and the filter holds back what has.
    Held,
    /// Everything has come, and the filter holds it back.
    HeldToEnd,
    /// The filter has failed and is left out.
    Unfiltered,
    Ended,
}

/// What the filter makes of a piece.
enum Shown {
    /// These bytes go on, and these trailers.
    On(Bytes, Option<HeaderMap>),
    Held,
    /// There is an answer for the client that is not this body's message, whatever the filter says of the piece.
    Answered,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Flow {
    pub(crate) fn new(exchange: Arc<Exchange>, side: Side, body: Body, length: Option<u64>) -> Self {
        Self {
            exchange,
            side,
            body,
            length,
            data: Bytes::new(),
            trailers: None,
            state: State::Flowing,
            pause: None,
            hold: None,
        }
    }

    /// A piece has come: the filter is asked what to do with it.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), BodyError> {
        let (data, trailers, last) = match frame.map(Frame::into_data) {
            None => (Bytes::new(), None, true),
            Some(Ok(data)) => (data, None, false),
            Some(Err(frame)) => (Bytes::new(), frame.into_trailers().ok(), true),
        };
        let ended = last || self.body.is_end_stream();
        // What goes on should the filter fail and be left out; what it holds back is lost with it.
        let is_spared = self.exchange.plugin.is_open() && self.state != State::Held;
        let spare = is_spared.then(|| (data.clone(), trailers.clone()));
        match self.show(data, trailers, ended) {
            Ok(Shown::On(bytes, trailers)) => {
                self.put(bytes, trailers);
                self.state = if ended { State::Ended } else { State::Flowing };
            }
            Ok(Shown::Held) => {
                self.wait_on();
                self.state = if ended { State::HeldToEnd } else { State::Held };
            }
            Ok(Shown::Answered) => return Err(BodyError::Aborted),
            Err(Gone) => {
                let (data, trailers) = spare.ok_or(BodyError::Aborted)?;
                self.put(data, trailers);
                self.state = if ended { State::Ended } else { State::Unfiltered };
            }
        }
        Ok(())
    }

    fn show(&self, data: Bytes, trailers: Option<HeaderMap>, end: bool) -> Result<Shown, Gone> {
        let Exchange { plugin, cell, context } = &*self.exchange;
        let shown = cell.about(*context, |vm| {
            match trailers {
                Some(trailers) => vm.trailers(*context, self.side, trailers)?,
                None => vm.body(*context, self.side, data, end)?,
            }
            let stream = vm.state_mut().streams.get_mut(context);
            Ok(stream.map(|stream| self.decision(stream, end, plugin.max_buffer())))
        });
        shown?.ok_or(Gone)
    }

    fn decision(&self, stream: &mut Stream, end: bool, limit: usize) -> Shown {
        let message = stream.message(self.side);
        let is_paused = message.is_paused();
        if is_paused && message.body().len() > limit && self.side == Side::Request {
            stream.answer(Local::too_large());
        }
        if stream.local.is_some() {
            return Shown::Answered;
        }
        if is_paused {
            return Shown::Held;
        }
        let (bytes, trailers) = released(stream.message(self.side), end);
        Shown::On(bytes, trailers)
    }

    /// It has been asked just now, and may hold on for as long again.
    fn wait_on(&mut self) {
        self.exchange.hold(self.side, &mut self.hold);
        match &mut self.pause {
            Some(pause) => pause.as_mut().reset(Instant::now() + limits::PAUSE),
            None => self.pause = Some(Box::pin(sleep(limits::PAUSE))),
        }
    }

    fn put(&mut self, bytes: Bytes, trailers: Option<HeaderMap>) {
        (self.pause, self.hold) = (None, None);
        (self.data, self.trailers) = (bytes, trailers.filter(|trailers| !trailers.is_empty()));
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        if !self.data.is_empty() {
            return Some(Frame::data(std::mem::take(&mut self.data)));
        }
        self.trailers.take().map(Frame::trailers)
    }

    /// Whether the filter lets go of what it holds.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self.exchange.poll_released(self.side, cx) {
            Poll::Pending => {}
            Poll::Ready(Released::Go) => {
                let ended = self.state == State::HeldToEnd;
                let let_go = self
                    .exchange
                    .cell
                    .look(self.exchange.context, |stream| released(stream.message(self.side), ended));
                let (bytes, trailers) = let_go.map_err(|_| BodyError::Aborted)?;
                self.put(bytes, trailers);
                self.state = if ended { State::Ended } else { State::Flowing };
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Released::Answer(local)) => {
                // Taken by whoever sends the response; the body has no more to say.
                let _ = self.exchange.cell.look(self.exchange.context, |stream| stream.local = Some(local));
                return Poll::Ready(Err(BodyError::Aborted));
            }
            Poll::Ready(Released::Gone) => return Poll::Ready(Err(BodyError::Aborted)),
        }
        if self.holds_too_much() {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let forgotten = self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_ready());
        if !forgotten {
            return Poll::Pending;
        }
        self.exchange.fail(HELD_TOO_LONG);
        Poll::Ready(Err(BodyError::Idle))
    }

    fn holds_too_much(&self) -> bool {
        let limit = self.exchange.plugin.max_buffer();
        let held =
            self.exchange.cell.look(self.exchange.context, |stream| stream.message(self.side).body().len());
        held.is_ok_and(|held| held > limit)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(frame) = self.next() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match self.state {
                State::Ended => return Poll::Ready(None),
                State::Held | State::HeldToEnd => match self.poll_held(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending if self.state == State::HeldToEnd => return Poll::Pending,
                    Poll::Pending => {}
                },
                State::Unfiltered => return Pin::new(&mut self.body).poll_frame(cx),
                State::Flowing => {
                    if self.is_answered() {
                        return Poll::Ready(Some(Err(BodyError::Aborted)));
                    }
                }
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => self.take(Some(frame))?,
                Poll::Ready(None) => self.take(None)?,
            }
        }
    }

    /// Nothing more is read of it, and nothing more shown.
    fn give_up(&mut self) {
        (self.state, self.data, self.trailers) = (State::Ended, Bytes::new(), None);
        let Exchange { cell, context, .. } = &*self.exchange;
        let _ = cell.look(*context, |stream| stream.message(self.side).show(At::Nothing));
    }

    /// There is an answer for the client by now that is not this body's message.
    fn is_answered(&self) -> bool {
        self.exchange.cell.look(self.exchange.context, |stream| stream.local.is_some()).unwrap_or_default()
    }
}

/// A body of which something was let go before its head left.
pub(crate) struct Early {
    /// Or why nothing was.
    pub(crate) first: Option<Result<Frame<Bytes>, BodyError>>,
    pub(crate) rest: Body,
    /// What is still to be read of what the head says.
    pub(crate) left: Option<u64>,
}

impl http_body::Body for Early {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let frame = match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        };
        if let (Some(left), Poll::Ready(Some(Ok(frame)))) = (&mut this.left, &frame) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.map(|left| if self.is_end_stream() { 0 } else { left });
        left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// What goes on of a message. Trailers the filter has put there early wait for the body's end: nothing can follow them.
/// What has gone to its end is not the filter's to change any more.
fn released(message: &mut dyn Parts, ended: bool) -> (Bytes, Option<HeaderMap>) {
    if ended {
        message.show(At::Nothing);
    }
    let trailers = if ended { message.trailers().take() } else { None };
    (message.body().take(), trailers)
}

impl http_body::Body for Flow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let frame = this.poll(cx);
        if matches!(frame, Poll::Ready(Some(Err(_)))) {
            this.give_up();
        }
        if let (Some(left), Poll::Ready(Some(Ok(frame)))) = (&mut this.length, &frame) {
            let size = frame.data_ref().map_or(0, Bytes::len);
            *left = left.saturating_sub(size as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended && self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.length.map(|left| if self.is_end_stream() { 0 } else { left });
        left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
